// Package eval scores candidates: on questions with one right answer (procedural tasks, or a user's own), by exact match
// of the greedy answer, and on text, by bits per byte. A data set is cut by hash into train, select, confirm and test.
package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"d2nwg/eval/procedural"
	"d2nwg/internal/stats"
)

// A Question is a prompt with its one right answer. A model answers when it writes Answer and then its end token.
type Question struct {
	Prompt string `json:"prompt"`
	Answer string `json:"answer"`
	Group  string `json:"group,omitempty"` // task it belongs to, for tables
}

// A Dataset holds questions or documents, never both, in disjoint splits.
type Dataset struct {
	Name      string
	Questions map[stats.Split][]Question
	Documents map[stats.Split][]string
}

// Items is the number of questions or documents of a split.
func (d *Dataset) Items(split stats.Split) int {
	return len(d.Questions[split]) + len(d.Documents[split])
}

// Hash identifies a split by its contents and their order.
func (d *Dataset) Hash(split stats.Split) string {
	h := sha256.New()
	lines := json.NewEncoder(h) // one JSON value a line: no two different splits read the same
	for _, q := range d.Questions[split] {
		lines.Encode([2]string{q.Prompt, q.Answer})
	}
	for _, text := range d.Documents[split] {
		lines.Encode(text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// GroupMean is the mean score of one group of a split's items.
type GroupMean struct {
	Group string  `json:"group"`
	Items int     `json:"items"`
	Mean  float64 `json:"mean"`
}

// ByGroup averages a candidate's scores over the groups of a split's questions, in order of first appearance.
func (d *Dataset) ByGroup(split stats.Split, scores stats.Scores) []GroupMean {
	var means []GroupMean
	at := map[string]int{}
	for i, q := range d.Questions[split] {
		k, ok := at[q.Group]
		if !ok {
			k = len(means)
			at[q.Group] = k
			means = append(means, GroupMean{Group: q.Group})
		}
		means[k].Items++
		means[k].Mean += (scores.Items[i] - means[k].Mean) / float64(means[k].Items) // running mean
	}
	return means
}

// Limit keeps the first n items of a split; 0 keeps all.
func (d *Dataset) Limit(split stats.Split, n int) {
	if n <= 0 {
		return
	}
	if q := d.Questions[split]; len(q) > n {
		d.Questions[split] = q[:n]
	}
	if t := d.Documents[split]; len(t) > n {
		d.Documents[split] = t[:n]
	}
}

// FromMix asks a mix's tasks, perTask different inputs of each and split (fewer where an input has fewer), described by
// the mix's description or bare.
func FromMix(mix procedural.Mix, described bool, perTask int, seed uint64) *Dataset {
	d := &Dataset{Name: mix.Name(), Questions: map[stats.Split][]Question{}}
	description := ""
	if described {
		description = mix.Description()
	}
	d.ask(mix, description, perTask, seed)
	return d
}

// FromTasks asks every task described by its own sentence. Unlike a mix it may hold many tasks of one input.
func FromTasks(name string, tasks []procedural.Task, perTask int, seed uint64) (*Dataset, error) {
	d := &Dataset{Name: name, Questions: map[stats.Split][]Question{}}
	for _, t := range tasks {
		mix, err := procedural.NewMix(t)
		if err != nil {
			return nil, err
		}
		d.ask(mix, t.Description, perTask, seed)
	}
	return d, nil
}

func (d *Dataset) ask(mix procedural.Mix, description string, perTask int, seed uint64) {
	for _, split := range stats.Splits {
		for _, item := range mix.Items(split, perTask, seed) {
			d.Questions[split] = append(d.Questions[split],
				Question{Prompt: procedural.Prompt(description, item.X), Answer: item.Y, Group: item.Task})
		}
	}
}

// judged lists the splits a search needs.
var judged = [...]stats.Split{stats.Select, stats.Confirm, stats.Test}

// CheckJudged reports a data set that is too small for a search: every split but train needs at least two items.
func (d *Dataset) CheckJudged() error {
	for _, split := range judged {
		if n := d.Items(split); n < 2 {
			return fmt.Errorf("%s: split %s has %d items, a comparison needs at least 2: add data or change the shares of the splits", d.Name, split, n)
		}
	}
	return nil
}
