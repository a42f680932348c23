package pipeline

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAddressesArePinned: a run keeps the commits that its addresses stood for when it began, whatever they stand for
// later; a recipe that names them is repeated elsewhere with the same; another commit is another recipe.
func TestAddressesArePinned(t *testing.T) {
	dir, r := smallRun(t)
	base, questions := r.Base, r.Score.Tasks
	r.Base, r.Score.Tasks = "hf://a/base@main", "hf://datasets/a/q/questions.jsonl"
	head := "1"
	var asked []string
	resolve := func(address string, model bool) (string, string, error) {
		asked = append(asked, address)
		path, pinned := questions, address
		if model {
			path = base
		}
		if address == r.Base || address == r.Score.Tasks { // a branch, not a commit
			pinned = address + "-at-" + head
		}
		return path, pinned, nil
	}
	out := filepath.Join(dir, "run")
	for range 2 {
		run, err := Open(out, r, Options{Resolve: resolve})
		if err != nil {
			t.Fatal(err)
		}
		if run.Recipe.Base != base || run.target.data.Name != r.Score.Tasks {
			t.Errorf("base %s, data %s", run.Recipe.Base, run.target.data.Name)
		}
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
		head = "2"
	}
	if want := []string{r.Base, r.Score.Tasks, r.Base + "-at-1", r.Score.Tasks + "-at-1"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	kept, _, err := locate(out, r, resolve)
	if err != nil || kept.Resolved[r.Base] != r.Base+"-at-1" || kept.Base != r.Base {
		t.Fatalf("kept %v, %v", kept.Resolved, err)
	}
	asked = nil
	if err := openClose(t, filepath.Join(dir, "again"), kept, Options{Resolve: resolve}); err != nil || asked[0] != r.Base+"-at-1" {
		t.Errorf("repeated elsewhere with %v: %v", asked, err)
	}
	other := kept
	other.Resolved = map[string]string{r.Base: r.Base + "-at-2"}
	if err := openClose(t, out, other, Options{Resolve: resolve}); err == nil || !strings.Contains(err.Error(), "another recipe") {
		t.Errorf("another commit: %v", err)
	}
	lost := errors.New("lost")
	none := func(string, bool) (string, string, error) { return "", "", lost }
	fresh := filepath.Join(dir, "fresh")
	if err := openClose(t, fresh, r, Options{Resolve: none}); !errors.Is(err, lost) {
		t.Errorf("an address that can't be had: %v", err)
	}
	if found, _ := filepath.Glob(fresh); found != nil {
		t.Error("a run that can't begin leaves a folder")
	}
}
