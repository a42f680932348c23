package recipe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample has every kind of field a recipe uses.
type sample struct {
	Base   string         `yaml:"base" doc:"checkpoint folder"`
	Seed   uint64         `yaml:"seed" doc:"every other seed is derived from this one"`
	Rate   float64        `yaml:"rate" doc:"learning rate"`
	On     bool           `yaml:"on"`
	Names  []string       `yaml:"names" doc:"a long comment that has to be wrapped because it is longer than the width at which comments are wrapped, which is 88 columns"`
	Empty  []int          `yaml:"empty" doc:"none"`
	Search search         `yaml:"search" doc:"nested"`
	Stages []search       `yaml:"stages" doc:"a list of structs"`
	Extra  *search        `yaml:"extra" doc:"optional"`
	Table  map[string]int `yaml:"table" doc:"a map"`
	Wait   time.Duration  `yaml:"wait" doc:"a duration"`
	Hidden int            `yaml:"-"`
}

type search struct {
	Budget int    `yaml:"budget" doc:"candidates for every source"`
	Name   string `yaml:"name" doc:"name"`
}

func (s *sample) SetDefaults() {
	s.Rate = 0.5
	s.Search.Budget = 64
}

func (s *sample) Validate() error {
	if s.Search.Budget <= 0 {
		return Invalid("search.budget", "must be positive, is %d", s.Search.Budget)
	}
	return nil
}

func TestDefaultsStandUnlessTheFileSaysOtherwise(t *testing.T) {
	got, err := Parse[sample]("r.yaml", []byte("base: model\nsearch:\n  name: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := sample{Base: "model", Rate: 0.5, Search: search{Budget: 64, Name: "x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err = Parse[sample]("r.yaml", nil); err != nil || got.Rate != 0.5 {
		t.Errorf("an empty recipe: %+v, %v", got, err)
	}
}

func TestErrorsNameFileLineAndKey(t *testing.T) {
	for text, want := range map[string][]string{
		"base: m\nsede: 3\n":                          {"r.yaml:2:", `unknown key "sede"`, "did you mean seed"},
		"base: m\nsearch:\n  budgte: 3\n":             {"r.yaml:3:", `"budgte"`, "did you mean budget"},
		"base: m\nzzzzzzz: 1\nqqqqqqq: 2\n":           {"r.yaml:2:", `"zzzzzzz"; line 3: unknown key "qqqqqqq"`},
		"seed: many\n":                                {"r.yaml:1:", "many"},
		"base: m\nbase: n\n":                          {"r.yaml:2:", "base"},
		"base: [\n":                                   {"r.yaml:1:", "did not find"},
		"base: m\n---\nbase: n\n":                     {"r.yaml", "second"},
		"base: m\nsearch:\n  name: x\n  budget: -1\n": {"r.yaml:4:", "search.budget: must be positive, is -1"},
		"search: {budget: 0}\n":                       {"r.yaml:1:", "is 0"},
		"- a\n- b\n":                                  {"r.yaml:1:", "sample"},
	} {
		_, err := Parse[sample]("r.yaml", []byte(text))
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error %v, want ErrInvalid", text, err)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: an error of several lines: %v", text, err)
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: error %q lacks %q", text, err, part)
			}
		}
	}
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load[sample](filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing recipe: %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#", maxSize+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load[sample](big); !errors.Is(err, ErrInvalid) {
		t.Errorf("an oversized recipe: %v", err)
	}
}

func TestCommentedNamesEveryKeyAndReadsBack(t *testing.T) {
	value := sample{
		Base: "a: b # c", Seed: 1<<64 - 1, Rate: 3e-4, On: true, Names: []string{"x", "true", "007"},
		Search: search{Budget: 3, Name: "no"}, Stages: []search{{1, "one"}, {2, ""}},
		Extra: &search{Budget: 9}, Table: map[string]int{"b": 2, "a": 1}, Wait: 90 * time.Second,
	}
	text, err := Commented("A title\nof two lines", value)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse[sample]("r.yaml", text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	value.Empty = []int{}
	if diff := cmp.Diff(value, got); diff != "" {
		t.Errorf("%s\n%s", diff, text)
	}
	for _, part := range []string{
		"# A title\n# of two lines\n", "# checkpoint folder\nbase:", "  # candidates for every source\n  budget: 3",
		"# nested\nsearch:", "empty: []", "names: [x, \"true\", \"007\"]",
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%q is missing from\n%s", part, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if len(line) > commentWidth+6 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	if _, err := Commented("", 3); err == nil {
		t.Error("a number was written as a recipe")
	}
}

// FuzzParse checks that no input makes the reader panic, and that what it accepts it writes and reads
// back unchanged.
func FuzzParse(f *testing.F) {
	f.Add([]byte("base: model\nsearch:\n  name: x\n"))
	f.Add([]byte("stages: [{budget: 1}]\nextra: {name: y}\nwait: 3s\ntable: {a: 1}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse[sample]("r.yaml", data)
		if err != nil {
			return
		}
		text, err := Commented("", first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse[sample]("r.yaml", text)
		if err != nil {
			t.Fatalf("%v reading back\n%s", err, text)
		}
		again, err := Commented("", second)
		if err != nil || string(again) != string(text) {
			t.Fatalf("not stable: %v\n%s\n%s", err, text, again)
		}
	})
}
