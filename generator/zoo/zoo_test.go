package zoo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/internal/files"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// folder writes files below a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const line = `{"prompt": "a", "answer": "b"}` + "\n"

func TestReadTasks(t *testing.T) {
	dir := folder(t, map[string]string{
		"index.json": `[{"name": "a", "split": "train", "description": "A.", "family": 3},
			{"name": "b 2 (größer)", "split": "held-out:far", "descriptions": ["B.", "Bee."], "cheap": 0.5, "impossible": "a secret", "unseen": "Be."},
			{"name": "c", "description": "C.", "descriptions": ["See.", "C."]}, {"name": "d", "description": "D.", "descriptions": ["Dee."]}]`,
		"a.jsonl": line, "b 2 (größer).jsonl": line, "c.jsonl": line, "d.jsonl": line,
	})
	tasks, err := ReadTasks(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Task{
		{Name: "a", Split: "train", Descriptions: []string{"A."}},
		{Name: "b 2 (größer)", Split: "held-out:far", Descriptions: []string{"B.", "Bee."}, Cheap: 0.5, Impossible: "a secret", Unseen: "Be."},
		{Name: "c", Split: "train", Descriptions: []string{"See.", "C."}},
		{Name: "d", Split: "train", Descriptions: []string{"D.", "Dee."}},
	}
	if fmt.Sprintf("%+v", tasks) != fmt.Sprintf("%+v", want) {
		t.Errorf("tasks are %+v, want %+v", tasks, want)
	}
}

func TestHostileIndexes(t *testing.T) {
	good := `{"name": "a", "split": "train", "description": "A."}`
	named := func(name string) map[string]string {
		quoted, _ := json.Marshal(name)
		return map[string]string{"index.json": fmt.Sprintf(`[{"name": %s, "description": "x"}]`, quoted), "a.jsonl": line}
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no index":        {map[string]string{}, "index.json: no such file"},
		"no JSON":         {map[string]string{"index.json": "[\n\n{]"}, "index.json line 3"},
		"no list":         {map[string]string{"index.json": good}, "index.json"},
		"a number":        {map[string]string{"index.json": "[1]"}, "task 1"},
		"a numeric name":  {map[string]string{"index.json": `[{"name": 7}]`}, "task 1"},
		"no data":         {map[string]string{"index.json": "[" + good + "]"}, `questions of task "a" are missing`},
		"empty data":      {map[string]string{"index.json": "[" + good + "]", "a.jsonl": ""}, "a.jsonl, the questions of task"},
		"no description":  {map[string]string{"index.json": `[{"name": "a"}]`, "a.jsonl": line}, `"a" has no description`},
		"empty list":      {map[string]string{"index.json": `[{"name": "a", "descriptions": []}]`, "a.jsonl": line}, `"a" has no description`},
		"blank words":     {map[string]string{"index.json": `[{"name": "a", "descriptions": ["x", " "]}]`, "a.jsonl": line}, "empty description"},
		"cheap":           {map[string]string{"index.json": `[{"name": "a", "description": "x", "cheap": 7}]`, "a.jsonl": line}, "not between 0 and 1"},
		"no name":         {map[string]string{"index.json": `[{"description": "x"}]`}, `"name" is missing`},
		"twice":           {map[string]string{"index.json": "[" + good + "," + good + "]", "a.jsonl": line}, "tasks 1 and 2 have the same name"},
		"a path above":    {named("../a"), "can't be a file's"},
		"a path":          {named("b/a"), "can't be a file's"},
		"a backslash":     {named(`b\a`), "can't be a file's"},
		"hidden":          {named(".zoo"), "can't be a file's"},
		"a line break":    {named("a\nb"), "can't be a file's"},
		"a long name":     {named(strings.Repeat("a", 201)), "201 bytes"},
		"like a flag":     {named("-a"), "can't be a file's"},
		"escape sequence": {named("a\x1b[2J"), "can't be a file's"},
	} {
		_, err := ReadTasks(folder(t, c.files))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := folder(t, map[string]string{"index.json": "[" + good + "]"})
	if err := os.Mkdir(filepath.Join(dir, "a.jsonl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTasks(dir); !errors.Is(err, safetensors.ErrFormat) {
		t.Errorf("a folder in the place of a file: %v", err)
	}
}

func TestAppendTasksKeepsTheOthersAsTheyStand(t *testing.T) {
	dir := t.TempDir()
	if err := AppendTasks(dir); err != nil {
		t.Fatal(err)
	}
	if tasks, err := ReadTasks(dir); err != nil || len(tasks) != 0 {
		t.Fatalf("a new index holds %v (%v)", tasks, err)
	}
	write(t, filepath.Join(dir, IndexName), `[{"name": "a", "description": "A < B.", "family": {"x": 1}}]`)
	if err := AppendTasks(dir, Task{Name: "b", Split: "train", Descriptions: []string{"B."}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, IndexName))
	if err != nil || !strings.Contains(string(text), `"family"`) || !strings.Contains(string(text), "A < B.") || !strings.Contains(string(text), `"name": "b"`) {
		t.Errorf("the index is %s (%v)", text, err)
	}
}

const tensor = "model.layers.0.self_attn.q_proj.weight"

var tiny = llm.Config{
	VocabSize: 16, HiddenSize: 16, IntermediateSize: 24, Layers: 1, Heads: 2, KVHeads: 2, HeadDim: 8, MaxPositions: 16, RMSNormEps: 1e-5, RopeTheta: 10000,
	TieWordEmbeddings: true,
}

func tinyBase(t *testing.T, seed uint64) *llm.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := llm.RandomCheckpoint(dir, tiny, safetensors.F32, 0, seed); err != nil {
		t.Fatal(err)
	}
	base, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = base.Close() })
	return base
}

// shared is an update on the zoo's shared A.
func shared(base *llm.Checkpoint, seed uint64) *llm.Variant {
	r := rand.New(rand.NewPCG(seed, 1))
	a := uint64(9)
	l := llm.LowRank{Rank: 2, Seed: &a, A: llm.SharedA(tiny, tensor, 2, a), B: make([]float32, 32)}
	for k := range l.B {
		l.B[k] = float32(r.NormFloat64())
	}
	return &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{tensor: l}}
}

// planted is a sound zoo of four tasks with adapters and one without.
func planted(t *testing.T) (*Zoo, *llm.Checkpoint) {
	t.Helper()
	base := tinyBase(t, 1)
	names := []string{"a", "b", "c", "d", "e"}
	files := map[string]string{"index.json": `[{"name": "a", "description": "A."}, {"name": "b", "description": "B."}, {"name": "c", "description": "C."},
		{"name": "d", "description": "D."}, {"name": "e", "description": "E."}]`}
	for _, name := range names {
		files[name+".jsonl"] = fmt.Sprintf(`{"prompt": "%s>", "answer": "b"}`, name)
	}
	z, err := Read(folder(t, files), base)
	if err != nil {
		t.Fatal(err)
	}
	z.Rank, z.SharedSeed = 2, 9
	for i, name := range names[:4] {
		m := Member{Task: name, Dir: AdaptersDir + "/" + name + "-s0", Split: TrainSplit, Accuracy: 0.9, BaseAccuracy: 0.1, Held: 50, P: 1e-9}
		plant(t, z, m, shared(base, uint64(i)))
	}
	return z, base
}

// plant saves a member and notes it in the manifest.
func plant(t *testing.T, z *Zoo, m Member, v *llm.Variant) {
	t.Helper()
	if err := v.SaveAs(z.path(m), m.Task, llm.SaveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Measure(&m); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.Data, err = files.Hash(z.Task(m.Task).File(z.Dir)); err != nil {
		t.Fatal(err)
	}
	z.Put(m)
	if err := z.Save(); err != nil {
		t.Fatal(err)
	}
}

// change edits a member in the manifest.
func change(t *testing.T, z *Zoo, dir string, edit func(*Member)) {
	t.Helper()
	edit(z.At(dir))
	if err := z.Save(); err != nil {
		t.Fatal(err)
	}
}

// A folder that isn't built yet can be checked; only to open it as a zoo is an error.
func TestUnbuilt(t *testing.T) {
	base := tinyBase(t, 1)
	dir := folder(t, map[string]string{"index.json": `[{"name": "a", "description": "A."}, {"name": "b", "split": "x", "description": "A."}]`, "a.jsonl": line, "b.jsonl": line + line})
	r, err := Check(dir, base, CheckOptions{})
	if err != nil || len(r.Findings) != 2 || r.Broken != 0 {
		t.Errorf("%+v (%v)", r, err)
	}
	if _, err := Open(dir, base); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "zoo build") {
		t.Errorf("opened: %v", err)
	}
}

func TestOpenRefusals(t *testing.T) {
	z, base := planted(t)
	for name, edit := range map[string]func(*Manifest){
		"another base":    func(m *Manifest) { m.Base = "x" },
		"a path above":    func(m *Manifest) { m.Members = []Member{{Dir: "../elsewhere"}} },
		"an oracle above": func(m *Manifest) { m.Oracles = []Member{{Dir: "/etc"}} },
	} {
		changed := Zoo{Dir: z.Dir, Manifest: z.Manifest}
		edit(&changed.Manifest)
		if err := changed.Save(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(z.Dir, base); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"another format": `{"d2nwg_zoo": 9}`, "no JSON": "{", "no object": "[]"} {
		write(t, filepath.Join(z.Dir, ManifestName), text)
		if _, err := Open(z.Dir, base); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManifestFollowsTheIndex(t *testing.T) {
	z, base := planted(t)
	plant(t, z, Member{Task: "c", Dir: "adapters/c-added1", Seed: 1, Split: TrainSplit, From: "elsewhere"}, shared(base, 8))
	plant(t, z, Member{Task: "a", Dir: "adapters/a-s1", Seed: 1, Split: TrainSplit}, shared(base, 9))
	dirs := func() (all []string) {
		for _, m := range z.Members {
			all = append(all, m.Dir)
		}
		return all
	}
	if got := fmt.Sprint(dirs()); got != "[adapters/a-s0 adapters/a-s1 adapters/b-s0 adapters/c-s0 adapters/c-added1 adapters/d-s0]" {
		t.Errorf("members stand as %s", got)
	}
	write(t, filepath.Join(z.Dir, IndexName), `[{"name": "d", "description": "Dee."}, {"name": "a", "split": "held-out", "description": "A."}]`)
	z, err := Open(z.Dir, base)
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Remove(z.Refresh()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(dirs()); got != "[adapters/c-added1 adapters/d-s0]" || z.At("adapters/d-s0").Descriptions[0] != "Dee." {
		t.Errorf("members are %s, described %v", got, z.At("adapters/d-s0").Descriptions)
	}
	left, err := filepath.Glob(filepath.Join(z.Dir, AdaptersDir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v (%v)", left, err)
	}
	if err := z.Remove(z.Clear()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(dirs()); got != "[adapters/c-added1]" || z.Rank != 0 {
		t.Errorf("after clearing, members are %s", got)
	}
}
