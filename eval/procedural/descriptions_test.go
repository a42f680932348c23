package procedural

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"d2nwg/llm/tokenizer"
)

func TestWordingsAreComplete(t *testing.T) {
	seen := map[string]string{}
	unfilled := regexp.MustCompile(`[{}\[\]~]|%[^W]| $|^ |  |\.$|^[A-Z]|\x00`)
	blocks := readWordings()
	for _, p := range primitives() {
		delete(blocks, p.kind)
		if len(p.wordings) < 11 {
			t.Errorf("%s has %d wordings, want 10 and the unseen one", p.name, len(p.wordings))
		}
		for _, w := range p.wordings {
			if unfilled.MatchString(w) || !strings.Contains(w, "%W") {
				t.Errorf("%s: bad wording %q", p.name, w)
			}
			key := p.input + w
			if other, twice := seen[key]; twice {
				t.Errorf("%s and %s share %q", p.name, other, w)
			}
			seen[key] = p.name
		}
	}
	for kind := range blocks {
		t.Errorf("nothing uses the wordings of %q", kind)
	}
	if len(connectives) < 11 {
		t.Errorf("%d connectives", len(connectives))
	}
}

// No sentence may describe two tasks, and none that training may use may hold an unseen wording.
func TestDescriptionsTellTasksApart(t *testing.T) {
	tok, err := tokenizer.Parse(tokenizer.NewASCII())
	if err != nil {
		t.Fatal(err)
	}
	owner, known := map[string]string{}, map[string]bool{}
	var met []string // words of the unseen descriptions
	words := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	}
	least, most, longest, total := 1000, 0, 0, 0
	for _, task := range Space() {
		all := task.Descriptions()
		least, most = min(least, len(all)), max(most, len(all))
		if again := task.Descriptions(); !slices.Equal(again, all) || slices.Contains(all, task.Unseen()) {
			t.Errorf("%s: descriptions change or hold the unseen one", task.Name)
		}
		met = append(met, words(task.Unseen())...)
		if task.Split == TrainSplit {
			for _, w := range words(strings.Join(all, " ")) {
				known[w] = true
			}
		}
		for _, d := range append(all, task.Unseen()) {
			if other, twice := owner[d]; twice {
				t.Errorf("%s and %s are both described by %q", task.Name, other, d)
			}
			owner[d] = task.Name
			longest, total = max(longest, len(d)), total+1
			if strings.Contains(d, "%W") || strings.Contains(d, "\n") || d[len(d)-1] != '.' || d[:1] != strings.ToUpper(d[:1]) {
				t.Errorf("%s: no sentence: %q", task.Name, d)
			}
			if ids, err := tok.Encode(d, false); err != nil || tok.Decode(ids, true) != d {
				t.Errorf("%s: the bundled tokenizer doesn't know %q", task.Name, d)
			}
		}
		for _, p := range task.steps {
			unseen := p.wordings[len(p.wordings)-1]
			for _, part := range strings.Split(unseen, "%W") {
				for _, d := range all {
					if len(part) > 25 && strings.Contains(strings.ToLower(d), part) {
						t.Errorf("%s: the unseen wording %q is in %q", task.Name, unseen, d)
					}
				}
			}
		}
	}
	unknown := 0
	for _, w := range met {
		if !known[w] {
			unknown++
		}
	}
	t.Logf("%d sentences, %d to %d a task, the longest has %d characters; training knows %d words, and not %.3f of those in unseen wordings",
		total, least, most, longest, len(known), float64(unknown)/float64(len(met)))
	if unknown == 0 {
		t.Error("the unseen wordings have no unknown word")
	}
	if least < 10 {
		t.Errorf("a task has only %d training descriptions", least)
	}
}

func TestAnswersAreShort(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	for _, task := range Space() {
		for range 100 {
			if x, y := task.Draw(r); len(y) > maxAnswer || y == "" {
				t.Fatalf("%s(%q) = %q", task.Name, x, y)
			}
		}
	}
}
