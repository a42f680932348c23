package task

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shared(t), "golden", "eval", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenFewshotIndices(t *testing.T) {
	var golden map[string]struct {
		Pool    int     `json:"pool"`
		Shots   int     `json:"num_fewshot"`
		Draws   int     `json:"draws_per_doc"`
		Indices [][]int `json:"indices"`
	}
	readGolden(t, "fewshot_indices_first200.json", &golden)
	for _, name := range sorted(golden) {
		g := golden[name]
		s := &sampler{random: python.NewRandom(fewshotSeed), pool: make([]Doc, g.Pool), exclude: g.Draws == g.Shots+1}
		for i := range s.pool {
			s.pool[i] = jinja.NewDict()
		}
		other := jinja.NewDict()
		other.Put("another", "document")
		held := 0
		for i, want := range g.Indices {
			got, err := s.draw(g.Shots, other)
			if err != nil {
				t.Fatal(err)
			}
			if len(want) == g.Draws && s.exclude { // all that were drawn
				want = want[:g.Shots]
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s document %d: %v, want %v", name, i, got, want)
				continue
			}
			held++
		}
		t.Logf("%s: %d of %d held", name, held, len(g.Indices))
	}
}

func TestGoldenGPQAShuffles(t *testing.T) {
	var golden map[string]map[string]struct {
		Answers []string   `json:"answers"`
		Choices [][]string `json:"choices3"`
	}
	readGolden(t, "gpqa_shuffles.json", &golden)
	w := newWorld(t)
	for _, name := range sorted(golden) {
		words := strings.Fields(name)
		seed := 0
		if slices.Contains(words, "seed42") {
			seed = 42
		}
		names := strings.Split(words[0], ",")
		sel := w.opened(t, NewSession(&seed), names)
		held, all := 0, 0
		for task, want := range golden[name] {
			i := slices.IndexFunc(sel, func(o *Task) bool { return o.Config.Task == task })
			if i < 0 {
				t.Fatalf("%s: no task %s", name, task)
			}
			all++
			got := shuffled(sel[i].Docs, len(want.Answers))
			if !slices.Equal(got, want.Answers) {
				t.Errorf("%s %s: %v, want %v", name, task, got[:3], want.Answers[:3])
				continue
			}
			bad := false
			for k, choices := range want.Choices {
				for c, choice := range choices {
					v, _ := sel[i].Docs[k].Get("choice" + string(rune('1'+c)))
					bad = bad || v != choice
				}
			}
			if bad {
				t.Errorf("%s %s: other choices", name, task)
				continue
			}
			held++
		}
		t.Logf("%s: %d of %d tasks held", name, held, all)
	}
}

// opened opens names with the goldens' data, as Registry.Open does; tasks that the goldens have no data for get a
// document that their templates take.
func (w *world) opened(t *testing.T, s *Session, names []string) []*Task {
	t.Helper()
	o := &opener{r: w.reg, s: s, sel: &Selection{Children: map[string][]string{}}}
	o.load = func(c *Config) (*Dataset, error) {
		data := w.data(t, c)
		for _, split := range c.Splits() {
			if len(data.Splits[split]) == 0 {
				filler := jinja.NewDict()
				for _, column := range []string{"input", "problem", "solution"} {
					filler.Put(column, "?")
				}
				filler.Put("target", "?")
				filler.Put("level", "Level 5")
				data.Splits[split] = []Doc{filler}
			}
		}
		return data, nil
	}
	for _, name := range names {
		if _, err := o.member(Member{Name: name}, 0); err != nil {
			t.Fatal(err)
		}
	}
	return o.sel.Tasks
}

func shuffled(docs []Doc, n int) []string {
	var answers []string
	for _, doc := range docs[:min(n, len(docs))] {
		v, _ := doc.Get("answer")
		answers = append(answers, v.(string))
	}
	return answers
}

// TestGoldenHarnessFiles wants every task and group of the harness' files to be read, or to be refused by the name of
// what needs Python.
func TestGoldenHarnessFiles(t *testing.T) {
	w := newWorld(t)
	for _, err := range w.reg.Broken {
		t.Errorf("no task file: %v", err)
	}
	loaded, refused := 0, map[string]int{}
	for _, name := range w.reg.Tasks() {
		c, err := w.reg.Task(name)
		switch {
		case err == nil:
			loaded++
			if c.Task != name {
				t.Errorf("%s calls itself %s", name, c.Task)
			}
		case errors.Is(err, ErrHelper):
			_, helper, _ := strings.Cut(err.Error(), ErrHelper.Error())
			refused[helper]++
		default:
			t.Errorf("%s: %v", name, err)
		}
	}
	groups := 0
	for _, name := range w.reg.Groups() {
		if _, err := w.reg.Group(name); err != nil && !errors.Is(err, ErrHelper) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		groups++
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(shared(t), "harness"), func(path string, entry fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".yaml") {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files: %d tasks and %d groups read, %d tags, %d tasks refused: %v", files, loaded, groups, len(w.reg.Tags()), sum(refused), refused)
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}
