package zoo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"
)

// A folder of others works as it is: other keys in lines, blank lines, repeated lines.
func TestQuestions(t *testing.T) {
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "{\"id\": %d, \"prompt\": \"%d + 1 = \", \"answer\": \" %d\"}\n\n", i, i, i+1)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.jsonl"), []byte(text.String()+`{"prompt": "0 + 1 = ", "answer": " 1"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := dataset(dir, zoo.Task{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	cut := set.Questions
	n := 0
	for split, questions := range cut {
		n += len(questions)
		for _, q := range questions {
			if stats.DefaultShares.Cut(q.Prompt) != split {
				t.Errorf("%q is in %s", q.Prompt, split)
			}
		}
	}
	if n != 300 || len(cut[stats.Train]) < 180 || len(cut[stats.Test]) < 12 || cut[stats.Train][0].Answer[0] != ' ' {
		t.Errorf("%d questions, %d of them in train, %d in test, the first %+v", n, len(cut[stats.Train]), len(cut[stats.Test]), cut[stats.Train][0])
	}
}
