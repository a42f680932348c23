package taskrun

import (
	"fmt"
	"maps"
	"slices"

	"d2nwg/internal/stats"
)

// A Difference is how two evaluations differ on the same documents.
type Difference struct {
	Task     string  `json:"task"`
	Metric   string  `json:"metric"`
	Filter   string  `json:"filter"`
	N        int     `json:"n"` // documents of both
	A        float64 `json:"a"`
	B        float64 `json:"b"`
	Gain     float64 `json:"gain"` // mean of b − a
	Low      float64 `json:"low"`  // two-sided interval at 1 − alpha
	High     float64 `json:"high"`
	P        float64 `json:"p"`            // two-sided, of no difference
	Adjusted float64 `json:"p_holm"`       // corrected for all comparisons listed
	Better   int     `json:"b_better"`     // documents on which b is above a
	Worse    int     `json:"b_worse"`      // and below
	Prompts  bool    `json:"same_prompts"` // both asked the same
}

// Compare compares the samples of two evaluations, document by document. A task or document that only one of them has
// is left out.
func Compare(a, b string, resamples int, alpha float64) ([]Difference, error) {
	left, err := SampleFiles(a)
	if err != nil {
		return nil, err
	}
	right, err := SampleFiles(b)
	if err != nil {
		return nil, err
	}
	var all []Difference
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if right[name] == "" {
			continue
		}
		found, err := compareTask(name, left[name], right[name], resamples, alpha)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", name, err)
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s and %s have no task in common whose documents have numbers", a, b)
	}
	p := make([]float64, len(all))
	for i, d := range all {
		p[i] = d.P
	}
	for i, adjusted := range stats.Holm(p) {
		all[i].Adjusted = adjusted
	}
	return all, nil
}

// at is a document's place in a comparison.
type at struct {
	doc    string
	filter string
}

func compareTask(name, a, b string, resamples int, alpha float64) ([]Difference, error) {
	left, err := ReadSamples(a)
	if err != nil {
		return nil, err
	}
	right, err := ReadSamples(b)
	if err != nil {
		return nil, err
	}
	other := map[at]Sample{}
	for _, s := range right {
		other[s.place()] = s
	}
	type series struct {
		a, b []float64
		same bool
	}
	found := map[[2]string]*series{}
	var order [][2]string
	for _, s := range left {
		o, ok := other[s.place()]
		if !ok {
			continue
		}
		for _, metric := range s.Names() {
			x, _ := s.Value(metric)
			y, ok := o.Value(metric)
			if !ok {
				continue
			}
			key := [2]string{metric, s.Filter}
			if found[key] == nil {
				found[key] = &series{same: true}
				order = append(order, key)
			}
			f := found[key]
			f.a, f.b, f.same = append(f.a, x), append(f.b, y), f.same && s.Prompt == o.Prompt
		}
	}
	var out []Difference
	for _, key := range order {
		f := found[key]
		d, err := difference(f.a, f.b, resamples, alpha)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key[0], err)
		}
		d.Task, d.Metric, d.Filter, d.Prompts = name, key[0], key[1], f.same
		out = append(out, d)
	}
	return out, nil
}

func (s Sample) place() at {
	doc := s.DocHash
	if doc == "" {
		doc = fmt.Sprint(s.DocID)
	}
	return at{fmt.Sprint(s.DocID, " ", doc), s.Filter}
}

// difference is paired: McNemar's exact test where all values are 0 or 1, else the bootstrap's own p-value.
func difference(a, b []float64, resamples int, alpha float64) (Difference, error) {
	d := Difference{N: len(a), A: stats.Scores{Items: a}.Mean(), B: stats.Scores{Items: b}.Mean()}
	d.Gain = d.B - d.A
	for i := range a {
		switch {
		case b[i] > a[i]:
			d.Better++
		case b[i] < a[i]:
			d.Worse++
		}
	}
	interval, err := stats.PairedBootstrap(b, a, nil, resamples, 0, alpha)
	if err != nil {
		return d, err
	}
	d.Gain, d.Low, d.High = interval.Gain, interval.Low, interval.High
	oneSided := func(x, y []float64) (float64, error) {
		if (stats.Scores{Items: x}).Binary() && (stats.Scores{Items: y}).Binary() {
			_, _, p, err := stats.McNemar(x, y)
			return p, err
		}
		i, err := stats.PairedBootstrap(x, y, nil, resamples, 0, alpha)
		return i.P, err
	}
	up, err := oneSided(b, a)
	if err != nil {
		return d, err
	}
	down, err := oneSided(a, b)
	d.P = min(1, 2*min(up, down))
	return d, err
}
