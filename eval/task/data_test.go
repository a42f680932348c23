package task

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"d2nwg/internal/jinja"
)

// asText prints rows as Python would.
func pythonText(t *testing.T, rows []Doc) string {
	t.Helper()
	var out []string
	for _, row := range rows {
		s, err := jinja.Repr(row)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func TestRowsOfFiles(t *testing.T) {
	dir := folderOf(t, map[string]string{
		"a.jsonl": "{\"n\": 1, \"s\": \"x\"}\n\n{\"s\": null, \"l\": [1.5, {\"k\": true}]}\n",
		"b.json":  `[{"a": 1}, {"b": 2}]`,
		"c.json":  `{"canary": "x", "examples": [{"input": "i", "target": "t"}]}`,
		"d.csv":   "\ufeffq,n,f\n\"a, \"\"b\"\"\",1,1\n,2,2.5\n",
	})
	for name, want := range map[string]string{
		"a.jsonl": "{'n': 1, 's': 'x', 'l': None}\n{'n': None, 's': None, 'l': [1.5, {'k': True}]}",
		"b.json":  "{'a': 1, 'b': None}\n{'a': None, 'b': 2}",
		"c.json":  "{'input': 'i', 'target': 't'}",
		"d.csv":   "{'q': 'a, \"b\"', 'n': 1, 'f': 1.0}\n{'q': None, 'n': 2, 'f': 2.5}",
	} {
		rows, _, err := readRows(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fill(rows)
		if got := pythonText(t, rows); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestParquet(t *testing.T) {
	type choices struct {
		Text  []string `parquet:"text,list"`
		Label []string `parquet:"label,list"`
	}
	type row struct {
		Question string    `parquet:"question"`
		Choices  choices   `parquet:"choices"`
		Answer   *int64    `parquet:"answer,optional"`
		Score    float64   `parquet:"score"`
		Nested   [][]int32 `parquet:"nested,list"`
		Right    bool      `parquet:"right"`
		Structs  []choices `parquet:"structs,list"`
	}
	two := int64(2)
	rows := []row{
		{"q é", choices{[]string{"a", "b"}, []string{"A", "B"}}, &two, .5, nil, true, []choices{{[]string{"x"}, nil}, {nil, []string{"y", "z"}}}},
		{"", choices{[]string{""}, nil}, nil, -1, nil, false, nil},
	}
	var file bytes.Buffer
	if err := parquet.Write(&file, rows); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test-00000-of-00001.parquet")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got, sum, err := readRows(path)
	if err != nil || len(sum) != 64 {
		t.Fatal(sum, err)
	}
	want := "{'question': 'q é', 'choices': {'text': ['a', 'b'], 'label': ['A', 'B']}, 'answer': 2, 'score': 0.5, 'nested': [], " +
		"'right': True, 'structs': [{'text': ['x'], 'label': []}, {'text': [], 'label': ['y', 'z']}]}\n" +
		"{'question': '', 'choices': {'text': [''], 'label': []}, 'answer': None, 'score': -1.0, 'nested': [], 'right': False, 'structs': []}"
	if text := pythonText(t, got); text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	for cut := 0; cut < file.Len(); cut += 7 { // no panic
		if _, err := readParquet("", file.Bytes()[:cut]); err == nil {
			t.Errorf("the first %d bytes were read", cut)
		}
	}
}

func TestSplitsOfFolders(t *testing.T) {
	files := []string{"d/ARC-Challenge/train-00000-of-00001.parquet", "d/ARC-Challenge/test-00000-of-00001.parquet",
		"d/ARC-Easy/test-00000-of-00001.parquet", "d/dev/x.jsonl", "d/dev/y.jsonl", "d/small_object_placements.json"}
	for _, c := range []struct {
		subset, split string
		want          []string
	}{
		{"ARC-Challenge", "test", files[1:2]}, {"ARC-Challenge", "train", files[:1]}, {"", "dev", files[3:5]},
		{"", "validation", files[3:5]}, {"", "object_placements", files[5:]}, {"ARC-Easy", "train", nil},
	} {
		if got := matching(files, c.subset, c.split); !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %v, want %v", c.subset, c.split, got, c.want)
		}
	}
	plain := []string{"bbh/navigate.json", "bbh/snarks.json"} // no name tells a split
	if got := matching(plain, "snarks", "test"); !slices.Equal(got, plain[1:]) {
		t.Errorf("a subset's only file: %v", got)
	}
	if got := matching(plain, "", "test"); got != nil {
		t.Errorf("two files are no split: %v", got)
	}
}

func TestInlineTasksAndOverrides(t *testing.T) {
	dir := folderOf(t, map[string]string{"tasks/mine.yaml": okTask, "data/test.jsonl": `{"q": "Q", "a": 0, "c": ["x"]}`,
		"tasks/g.yaml": "group: g\ntask:\n  - task: mine\n    description: 'D. '\n  - task: other\n    dataset_path: data\n" +
			"    test_split: test\n    doc_to_text: q\n    doc_to_target: a\n  - group: sub\n    task: [tagged]\n",
		"tasks/t.yaml": strings.ReplaceAll(okTask, "task: mine", "task: third\ntag: tagged")})
	reg, err := Index(filepath.Join(dir, "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	sel, err := reg.Open(NewSession(nil), func(path, name string) (Source, error) { return Folder(filepath.Join(dir, path), name) }, "g")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, task := range sel.Tasks {
		in, err := task.Build(Options{})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, task.Config.Task+" "+in[0].Requests[0].Context)
	}
	if want := []string{"mine D. Q", "g::other Q", "third Q"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if want := []string{"mine", "g::other", "g::sub"}; !slices.Equal(sel.Children["g"], want) || !slices.Equal(sel.Children["g::sub"], []string{"third"}) {
		t.Errorf("children %v", sel.Children)
	}
}

func TestFindHarness(t *testing.T) {
	dir := folderOf(t, map[string]string{"lm_eval/tasks/x.yaml": "task: x", "venv/lib/python3.12/site-packages/lm_eval/tasks/x.yaml": ""})
	tasks := filepath.Join(dir, "lm_eval", "tasks")
	t.Setenv("LM_EVAL_PATH", "")
	t.Setenv("PATH", "")
	t.Setenv("VIRTUAL_ENV", filepath.Join(dir, "venv"))
	for given, want := range map[string]string{dir: tasks, filepath.Join(dir, "lm_eval"): tasks, tasks: tasks,
		"": filepath.Join(dir, "venv/lib/python3.12/site-packages/lm_eval/tasks")} {
		if got, err := FindHarness(given); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
	t.Setenv("VIRTUAL_ENV", "")
	if _, err := FindHarness(""); err == nil {
		t.Error("a harness was found where there is none")
	}
}
