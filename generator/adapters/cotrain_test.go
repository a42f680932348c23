package adapters

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
	"d2nwg/safetensors"
)

// plainBatch wants the token itself for an answer: what the base has to do without an adapter.
func plainBatch(step int) (*pack.Batch, error) {
	b := pack.NewBatch(1, 8)
	var all []pack.Example
	for i := range 4 {
		x := (4*step + i) % vocab
		all = append(all, pack.Example{Prompt: []int{x}, Answer: []int{x}})
	}
	b.Add(0, nil, all)
	return b, nil
}

func (w world) cotrain(t *testing.T, ctx context.Context, opt TrainOptions) (*Cotrained, error) {
	t.Helper()
	opt.Backend = w.backend
	return Cotraining{Set: w.set, Shares: slices.Repeat([]float64{1}, len(w.set.Tasks)), Plain: plainBatch, Rows: 1, Length: 8, Weight: 0.5}.Train(ctx, w.cfg, opt)
}

// A base that may change gets further with adapters from words than a frozen one in the same steps, and learns what it has to know alone.
func TestCotrainedBaseIsSteered(t *testing.T) {
	w := newWorld(t, 4)
	w.cfg.Steps = 300
	c, err := w.cotrain(t, t.Context(), TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	base, last := c.Base, c.Last
	frozen := w.train(t, TrainOptions{}).Summary().Functional
	t.Logf("loss with adapters: %.3f with the base, %.3f through the frozen one; without an adapter %.3f", last["adapted"], frozen, last["plain"])
	if !(last["adapted"] < 0.5*frozen) {
		t.Errorf("the loss with adapters is %.3f where the base learns, %.3f where it's frozen", last["adapted"], frozen)
	}
	if !(last["plain"] < 0.3) {
		t.Errorf("the loss without an adapter is %.3f", last["plain"])
	}
	for _, s := range w.set.Base.Config.TensorShapes() {
		if len(base[s.Name]) != s.Elements() {
			t.Errorf("%s has %d values, wants %d", s.Name, len(base[s.Name]), s.Elements())
		}
	}
}

// Stopped anywhere and continued, co-training ends with the same bytes.
func TestCotrainingContinues(t *testing.T) {
	w := newWorld(t, 3)
	w.cfg.Steps = 20
	want, err := w.cotrain(t, t.Context(), TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	state := func(stage string) *optim.Checkpoints {
		return &optim.Checkpoints{Path: filepath.Join(dir, stage), Key: "k", Every: 5}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = w.cotrain(t, ctx, TrainOptions{State: state, Progress: func(e progress.Event) {
		if e.Done == 13 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	first := int64(0)
	got, err := w.cotrain(t, t.Context(), TrainOptions{State: state, Progress: func(e progress.Event) {
		if first == 0 {
			first = e.Done
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if first != 14 {
		t.Errorf("continued at step %d, want 14", first)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the continued base is another one")
	}
}

// Shares that nothing can be drawn by are refused.
func TestCotrainingRefusesShares(t *testing.T) {
	w := newWorld(t, 2)
	for _, shares := range [][]float64{nil, {1}, {0, 0}, {2, -1}, {1, math.NaN()}} {
		_, err := Cotraining{Set: w.set, Shares: shares, Plain: plainBatch, Rows: 1, Length: 8}.Train(t.Context(), w.cfg, TrainOptions{Backend: w.backend})
		if err == nil || !strings.Contains(err.Error(), "share") {
			t.Errorf("%v: %v", shares, err)
		}
	}
	w.set.Tasks = nil
	if _, err := (Cotraining{Set: w.set, Plain: plainBatch, Rows: 1, Length: 8}).Train(t.Context(), w.cfg, TrainOptions{Backend: w.backend}); err == nil {
		t.Error("no tasks: no error")
	}
}

// A generator that starts from the co-training makes its adapters from the first step on, in whatever units its zoo's are.
func TestGeneratorStartsFromCotraining(t *testing.T) {
	w := newWorld(t, 4)
	w.cfg.Steps = 300
	c, err := w.cotrain(t, t.Context(), TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	get := func(name string) ([]float32, error) { return c.Base[name], nil }
	if err := llm.WriteCheckpoint(filepath.Join(dir, "base"), w.set.Base.Config, safetensors.F32, get, nil); err != nil {
		t.Fatal(err)
	}
	base, err := llm.Open(filepath.Join(dir, "base"))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	if err := c.Start.Save(filepath.Join(dir, "start")); err != nil {
		t.Fatal(err)
	}
	start, err := OpenStart(filepath.Join(dir, "start"))
	if err != nil {
		t.Fatal(err)
	}
	w.set.Base = base
	w.set.Tasks[1].Weights = []map[string][]float32{w.adapter(t, 4)} // whose deviation is the unit
	w.cfg.Steps, w.cfg.SetShare, w.cfg.WeightShare = 1, 0, 0
	first := map[bool]float64{}
	for _, from := range []bool{false, true} {
		if w.set.Start = nil; from {
			w.set.Start = start
		}
		w.train(t, TrainOptions{Progress: func(e progress.Event) {
			if e.Stage == "adapters" {
				first[from] = e.Values["functional"]
			}
		}})
	}
	t.Logf("loss of the first step: %.3f from nothing, %.3f from the start; %.3f in co-training", first[false], first[true], c.Last["adapted"])
	if !(first[true] < 2*c.Last["adapted"]) || !(first[true] < 0.5*first[false]) {
		t.Errorf("the first step's loss is %.3f from the start, %.3f from nothing, %.3f in co-training", first[true], first[false], c.Last["adapted"])
	}
	w.set.Seed++
	if _, err := Train(t.Context(), w.cfg, w.set, TrainOptions{Backend: w.backend}); err == nil {
		t.Error("a start on other factors A: no error")
	}
	if _, err := OpenStart(filepath.Join(dir, "base", "model.safetensors")); err == nil {
		t.Error("a checkpoint as a start: no error")
	}
}
