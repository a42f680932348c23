package task

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The forms that the hub's documentation on "manual configuration" of data sets lists.
func TestCardPatterns(t *testing.T) {
	card := `---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: ["main/a.csv", "main/b*.csv"]
  - split: test
    path: main/test-*
- config_name: plain
  data_files: "*.jsonl"
- config_name: list
  data_dir: data
  data_files: [x.csv, y.csv]
- config_name: folder
  data_dir: data
  default: true
---
# A data set
`
	for name, want := range map[string]map[string][]string{
		"main":   {"train": {"main/a.csv", "main/b*.csv"}, "test": {"main/test-*"}},
		"plain":  {"train": {"*.jsonl"}},
		"list":   {"train": {"data/x.csv", "data/y.csv"}},
		"folder": {"": {"data/**"}},
		"":       {"": {"data/**"}},
		"other":  nil,
	} {
		got, err := CardPatterns([]byte(card), name)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v %v", name, err, cmp.Diff(want, got))
		}
	}
	for _, silent := range []string{"", "# no header", "---\nlicense: mit\n---\n", "---\nnever closed: 1\n"} {
		if got, err := CardPatterns([]byte(silent), "x"); got != nil || err != nil {
			t.Errorf("%q: %v %v", silent, got, err)
		}
	}
	for _, bad := range []string{"---\nconfigs: [\n---\n", "---\nconfigs:\n- config_name: x\n  data_files: {a: b}\n---\n", "---\nconfigs: 3\n---\n"} {
		if got, err := CardPatterns([]byte(bad), "x"); err == nil || !strings.Contains(err.Error(), "card") {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

func TestFolderFollowsItsCard(t *testing.T) {
	files := map[string]string{"README.md": "---\nconfigs:\n- config_name: a\n  data_files:\n  - split: test\n    path: \"a/*.jsonl\"\n  - split: train\n    path: \"**/more.jsonl\"\n---\n"}
	for _, f := range []string{"a/1.jsonl", "a/2.jsonl", "a/deep/3.jsonl", "b/4.jsonl", "more.jsonl", "b/c/more.jsonl"} {
		files[f] = "{}\n"
	}
	dir := folderOf(t, files)
	source, err := Folder(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for split, paths := range source.Splits {
		for _, p := range paths {
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				t.Fatal(err)
			}
			got[split] += rel + " "
		}
	}
	if want := map[string]string{"test": "a/1.jsonl a/2.jsonl ", "train": "b/c/more.jsonl more.jsonl "}; cmp.Diff(want, got) != "" {
		t.Error(cmp.Diff(want, got))
	}
	if source, err := Folder(dir, "unknown"); err != nil || len(source.Splits[""]) != 6 {
		t.Errorf("an unknown configuration: %v %v", source, err)
	}
}
