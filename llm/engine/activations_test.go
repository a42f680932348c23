package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/llm"
)

// keeping is a model with a budget, variants of it that begin to differ in layers 1, 2 and behind the last one, a plan,
// and what they score from layer 0 on.
type keeping struct {
	m        *Model
	variants []*Model
	plan     *Plan
	want     [][]Response
}

func newKeeping(t *testing.T, b Budget) *keeping {
	t.Helper()
	c := shapes()["grouped"]
	c.Layers = 3
	checkpoint, ref := randomModel(t, c, 5)
	m, err := New(checkpoint, Options{Keep: &b})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 7))
	var reqs []Request
	stem := randomIDs(random, 30, c.VocabSize)
	for i := range 60 {
		ids := append(slices.Clone(stem[:i%31]), randomIDs(random, 2+i%9, c.VocabSize)...)
		reqs = append(reqs, Request{ids, 1 + random.IntN(len(ids)-1)})
	}
	k := &keeping{m: m}
	if k.plan, err = m.NewPlan(reqs, 3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.plan.Release)
	for _, name := range []string{"model.layers.1.mlp.up_proj.weight", "model.layers.2.self_attn.q_proj.weight", "model.norm.weight"} {
		values := slices.Clone(ref.w[name])
		for i := range values {
			values[i] *= 1.25
		}
		v, err := m.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{name: values}})
		if err != nil {
			t.Fatal(err)
		}
		full := *v
		full.first = 0
		want, err := full.ScorePlan(context.Background(), k.plan)
		if err != nil {
			t.Fatal(err)
		}
		k.variants, k.want = append(k.variants, v), append(k.want, want)
	}
	return k
}

// score requires the bits of full passes.
func (k *keeping) score(t *testing.T, what string) {
	t.Helper()
	for i, v := range k.variants {
		got, err := v.ScorePlan(context.Background(), k.plan)
		if d := cmp.Diff(k.want[i], got); d != "" || err != nil {
			t.Fatalf("%s, variant %d: %v %s", what, i, err, d)
		}
	}
}

// layers counts those that the plan keeps.
func (k *keeping) layers() (disk, memory int) {
	for _, s := range k.plan.activations.layers {
		if s.file != nil {
			disk++
		} else {
			memory++
		}
	}
	return disk, memory
}

// Scores are the same bits wherever the base's residual streams are kept, also when a model alternates between them.
func TestBudget(t *testing.T) {
	layer := int64(4 * newKeeping(t, Budget{}).plan.Rows() * shapes()["grouped"].HiddenSize)
	for name, c := range map[string]struct {
		Budget
		disk, memory int
	}{
		"nothing":           {Budget{}, 0, 0},
		"memory":            {Budget{Memory: 3 * layer}, 0, 3},
		"disk":              {Budget{Disk: 3 * layer}, 3, 0},
		"one each":          {Budget{Memory: layer, Disk: layer}, 1, 1},
		"a byte too little": {Budget{Memory: layer - 1, Disk: 2*layer - 1}, 1, 0},
		"no such folder":    {Budget{Disk: 3 * layer, Dir: filepath.Join("no", "such")}, 0, 0},
	} {
		k := newKeeping(t, c.Budget)
		for range 2 {
			k.score(t, name)
		}
		if disk, memory := k.layers(); disk != c.disk || memory != c.memory {
			t.Errorf("%s: %d layers on disk and %d in memory, want %d and %d", name, disk, memory, c.disk, c.memory)
		}
		if d, m := k.m.kept.disk.Load(), k.m.kept.memory.Load(); d != layer*int64(c.disk) || m != layer*int64(c.memory) {
			t.Errorf("%s: %d and %d bytes are counted, a layer has %d", name, d, m, layer)
		}
		k.plan.Release()
		if d, m := k.m.kept.disk.Load(), k.m.kept.memory.Load(); d != 0 || m != 0 {
			t.Errorf("%s: %d and %d bytes are counted after Release", name, d, m)
		}
		k.score(t, name+", after Release")
	}
}

// The file has no name while it is used, and no descriptor afterwards.
func TestKeptFilesAreGone(t *testing.T) {
	dir := t.TempDir()
	k := newKeeping(t, Budget{Disk: 1 << 30, Dir: dir})
	k.score(t, "first") // starts the kernels' helpers
	k.plan.Release()
	before, files := runtime.NumGoroutine(), openFiles(t)
	for range 20 {
		k.score(t, "again")
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatal(left, err)
		}
		k.plan.Release()
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d open files, %d before", now, files)
	}
	if now := runtime.NumGoroutine(); now > before+2 { // helpers come and go
		t.Errorf("%d goroutines, %d before", now, before)
	}
}

// openFiles is the number of open descriptors, 0 where the system doesn't tell.
func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Log("open descriptors aren't counted:", err)
	}
	return len(entries)
}

// When the disk fails, everything on it is given up, and what it held is computed.
func TestDiskFails(t *testing.T) {
	readOnly := func(k *keeping) error {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		return k.swap(os.Open(path))
	}
	faults := map[string]func(k *keeping) error{
		"full":      func(k *keeping) error { return k.swap(os.OpenFile("/dev/full", os.O_RDWR, 0)) },
		"read-only": readOnly,
		"zeros": func(k *keeping) error {
			return errors.Join(k.plan.activations.file.Truncate(0), k.plan.activations.file.Truncate(1<<20))
		},
		"truncated": func(k *keeping) error { return k.plan.activations.file.Truncate(1000) },
		"empty":     func(k *keeping) error { return k.plan.activations.file.Truncate(0) },
		"closed":    func(k *keeping) error { return k.plan.activations.file.Close() },
	}
	for name, fault := range faults {
		for _, scored := range []int{1, 3} { // variants that left something on disk before
			k := newKeeping(t, Budget{Disk: 1 << 30})
			all := k.variants
			k.variants = all[:scored]
			k.score(t, name)
			if err := fault(k); errors.Is(err, os.ErrNotExist) {
				t.Logf("%s: not on this system: %v", name, err)
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			k.variants = all
			k.score(t, name)
			disk, memory := k.layers()
			if kept := k.m.kept.disk.Load(); disk != 0 || memory != 0 || kept != 0 || !k.m.kept.failed.Load() {
				t.Errorf("%s: %d layers are kept on disk, %d in memory, %d bytes counted", name, disk, memory, kept)
			}
		}
	}
}

// swap puts another file in the place of the plan's.
func (k *keeping) swap(f *os.File, err error) error {
	if err != nil {
		return err
	}
	a := &k.plan.activations
	old := a.file
	a.file = f
	for _, s := range a.layers {
		s.file = f
	}
	return old.Close()
}

// A plan may be released while others score with it.
func TestReleaseWhileScoring(t *testing.T) {
	k := newKeeping(t, Budget{Disk: 1 << 30})
	done := make(chan error)
	for i, v := range k.variants {
		go func() {
			for range 20 {
				got, err := v.ScorePlan(context.Background(), k.plan)
				if err == nil && !cmp.Equal(got, k.want[i]) {
					err = errors.New("other bits")
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for left := len(k.variants); left > 0; {
		select {
		case err := <-done:
			if left--; err != nil {
				t.Error(err)
			}
		default:
			k.plan.Release()
			runtime.Gosched()
		}
	}
	if k.m.kept.failed.Load() {
		t.Error("a released file is taken for a broken disk")
	}
}

// A run that is stopped leaves nothing reserved.
func TestKeepingStops(t *testing.T) {
	for _, b := range []Budget{{Memory: 1 << 30}, {Disk: 1 << 30}} {
		k := newKeeping(t, b)
		stopped, stop := context.WithCancel(context.Background())
		stop()
		if _, err := k.variants[0].ScorePlan(stopped, k.plan); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled context gives %v", err)
		}
		if d, m := k.m.kept.disk.Load(), k.m.kept.memory.Load(); d != 0 || m != 0 {
			t.Errorf("%d and %d bytes are counted", d, m)
		}
		k.score(t, "after it")
	}
}
