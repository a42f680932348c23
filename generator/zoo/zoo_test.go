package zoo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// folder writes files below a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const line = `{"prompt": "a", "answer": "b"}` + "\n"

func TestReadTasks(t *testing.T) {
	dir := folder(t, map[string]string{
		"index.json": `[{"name": "a", "split": "train", "description": "A."}, {"name": "b-2", "split": "held-out:far", "descriptions": ["B.", "Bee."]},
			{"name": "c", "description": "C.", "descriptions": ["C.", "See."]}]`,
		"a.jsonl": line, "b-2.jsonl": line, "c.jsonl": line,
	})
	tasks, err := ReadTasks(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a [A.] true", "b-2 [B. Bee.] false", "c [C. See.] true"} {
		if got := fmt.Sprint(tasks[i].Name, " ", tasks[i].Wordings(), " ", tasks[i].Training()); got != want {
			t.Errorf("task %d is %s, want %s", i, got, want)
		}
	}
}

func TestHostileIndexes(t *testing.T) {
	good := `{"name": "a", "split": "train", "description": "A."}`
	for name, files := range map[string]map[string]string{
		"no index":          {},
		"no JSON":           {"index.json": "tasks"},
		"no list":           {"index.json": good},
		"an empty list":     {"index.json": "[]"},
		"no data":           {"index.json": "[" + good + "]"},
		"empty data":        {"index.json": "[" + good + "]", "a.jsonl": ""},
		"no description":    {"index.json": `[{"name": "a"}]`, "a.jsonl": line},
		"empty words":       {"index.json": `[{"name": "a", "descriptions": ["x", " "]}]`, "a.jsonl": line},
		"a name above":      {"index.json": `[{"name": "../a", "description": "x"}]`, "a.jsonl": line},
		"a name with slash": {"index.json": `[{"name": "b/a", "description": "x"}]`, "a.jsonl": line},
		"no name":           {"index.json": `[{"description": "x"}]`, "a.jsonl": line},
		"twice":             {"index.json": "[" + good + "," + strings.ToUpper(good[:0]) + `{"name": "A", "description": "x"}]`, "a.jsonl": line, "A.jsonl": line},
	} {
		if _, err := ReadTasks(folder(t, files)); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// planted is a zoo of adapters of a random base: two that are one, one with another hash, one that is no better than the base.
func planted(t *testing.T) (*Zoo, *llm.Checkpoint) {
	t.Helper()
	dir := folder(t, map[string]string{
		"index.json": `[{"name": "a", "description": "A."}, {"name": "b", "description": "B."}, {"name": "c", "description": "A."},
			{"name": "d", "description": "D."}, {"name": "e", "description": "E."}]`,
		"a.jsonl": line, "b.jsonl": line + line, "c.jsonl": line, "d.jsonl": line + line + line, "e.jsonl": line + "\n" + line,
	})
	cfg := llm.Config{
		VocabSize: 16, HiddenSize: 16, IntermediateSize: 24, Layers: 1, Heads: 2, KVHeads: 2, HeadDim: 8, MaxPositions: 16, RMSNormEps: 1e-5, RopeTheta: 10000,
		TieWordEmbeddings: true,
	}
	if err := llm.RandomCheckpoint(filepath.Join(dir, "base"), cfg, safetensors.F32, 0, 1); err != nil {
		t.Fatal(err)
	}
	base, err := llm.Open(filepath.Join(dir, "base"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = base.Close() })
	hash, err := base.Hash()
	if err != nil {
		t.Fatal(err)
	}
	z := &Zoo{Dir: dir, Manifest: Manifest{Format: 1, Base: hash, Rank: 2, SharedA: 9}}
	for i, task := range []string{"a", "b", "c", "d"} {
		from := uint64(i)
		if task == "b" {
			from = 0 // the update of a
		}
		r := rand.New(rand.NewPCG(from, 1))
		seed := uint64(9)
		const tensor = "model.layers.0.self_attn.q_proj.weight"
		l := llm.LowRank{Rank: 2, Seed: &seed, A: llm.SharedA(cfg, tensor, 2, 9), B: make([]float32, 32)}
		for k := range l.B {
			l.B[k] = float32(r.NormFloat64())
		}
		v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{tensor: l}}
		m := Member{Task: task, Dir: MemberDir(task, 0), Split: TrainSplit, Accuracy: 0.9, Base: 0.1, N: 50}
		if m.Hash, err = sum(v); err != nil {
			t.Fatal(err)
		}
		if m.Data, err = FileHash(filepath.Join(dir, task+".jsonl")); err != nil {
			t.Fatal(err)
		}
		if err := v.Save(filepath.Join(dir, m.Dir), task); err != nil {
			t.Fatal(err)
		}
		z.Manifest.Members = append(z.Manifest.Members, m)
	}
	if err := z.Save(); err != nil {
		t.Fatal(err)
	}
	return z, base
}

// sum stands for explore.HashVariant, which this package may not know.
func sum(v *llm.Variant) (string, error) {
	total := 0.0
	for _, l := range v.LowRank {
		for i, b := range l.B {
			total += float64(b) * math.Sin(float64(i+1))
		}
	}
	return fmt.Sprintf("%.6g", total), nil
}

func TestCheckFindsWhatWasPlanted(t *testing.T) {
	z, base := planted(t)
	z.Manifest.Members[2].Accuracy = 0.12 // no better than the base beyond doubt
	if err := os.WriteFile(filepath.Join(z.Dir, "d.jsonl"), []byte(line+line+line+line), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := z.Save(); err != nil {
		t.Fatal(err)
	}
	open, err := Open(z.Dir, base)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"duplicate c": true, "duplicate adapters/b-s0": true, "useless adapters/c-s0": true, "changed adapters/d-s0": true,
		"untrained e": true, "ambiguous c": true,
	}
	compare(t, open, want)
	if err := os.Truncate(filepath.Join(z.Dir, "adapters", "a-s0", "variant.safetensors"), 40); err != nil {
		t.Fatal(err)
	}
	open.Manifest.Members[1].Hash = "another"
	delete(want, "duplicate adapters/b-s0")
	want["broken adapters/a-s0"], want["broken adapters/b-s0"] = true, true
	compare(t, open, want)
}

func compare(t *testing.T, z *Zoo, want map[string]bool) {
	t.Helper()
	found, err := z.Check(sum)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range found {
		got[f.Kind+" "+f.Member] = true
		if !want[f.Kind+" "+f.Member] {
			t.Errorf("found %+v", f)
		}
	}
	for w := range want {
		if !got[w] {
			t.Errorf("didn't find %s", w)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	z, base := planted(t)
	for name, change := range map[string]func(*Manifest){
		"another base":   func(m *Manifest) { m.Base = "x" },
		"another format": func(m *Manifest) { m.Format = 2 },
		"no rank":        func(m *Manifest) { m.Rank = 0 },
		"a path above":   func(m *Manifest) { m.Members = []Member{{Dir: "../elsewhere"}} },
	} {
		changed := Zoo{Dir: z.Dir, Manifest: z.Manifest}
		change(&changed.Manifest)
		if err := changed.Save(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(z.Dir, base); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}
