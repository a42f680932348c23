package train

import (
	"context"
	"math"
	"slices"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// turning teaches one answer for some steps, then another.
func turning(cfg llm.Config, turn, first, then int) Data {
	return DataFunc(func(step int) (*pack.Batch, error) {
		if step < turn {
			return answerTask(cfg, first).Batch(step)
		}
		return answerTask(cfg, then).Batch(step)
	})
}

// answering is a base that has learnt one answer, so that every other one makes it worse at that.
func answering(t *testing.T, cfg llm.Config, answer int) *llm.Checkpoint {
	t.Helper()
	opt := Options{Steps: 30, LearningRate: 1e-2, Backend: openBackend(t, compute.Go)}
	w, _, err := Full(context.Background(), roughWeights(cfg, 2), cfg, answerTask(cfg, answer), opt)
	if err != nil {
		t.Fatal(err)
	}
	return writeBase(t, cfg, w)
}

// TestEarlyStopping trains three adapters: one whose task turns away from its held-out one, one that keeps learning, one that was never
// taught what it is held to. The parameters returned must be those with the lowest held-out loss, whatever the neighbours do.
func TestEarlyStopping(t *testing.T) {
	cfg := tiny()
	base := answering(t, cfg, 10)
	data := []Data{turning(cfg, 8, 5, 9), answerTask(cfg, 7), answerTask(cfg, 6)}
	heldOut := []Data{answerTask(cfg, 5), answerTask(cfg, 7), answerTask(cfg, 10)}
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			lr := LowRankOptions{Rank: 2, TrainA: true}
			opt := Options{Steps: 30, LearningRate: 2e-2, MinLearningRate: 2e-2, Backend: openBackend(t, name)}
			opt.Validate = &Validation{Every: 4, Patience: 2, Data: heldOut, Batches: 3}
			all, log, err := Adapters(context.Background(), base, data, lr, opt)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(log.HeldAt, []int{0, 4, 8, 12, 16, 20, 24, 28, 30}) || len(log.Held) != 9 || len(log.Loss) != 30 {
				t.Fatalf("%d measurements after %v steps of %d", len(log.Held), log.HeldAt, len(log.Loss))
			}
			if log.Best[0] < 4 || log.Best[0] > 12 || log.Best[1] < 28 || log.Best[2] != 0 {
				t.Fatalf("best after %v steps, want about 8, 30 and 0", log.Best)
			}
			for g := range data {
				lowest := slices.MinFunc(log.Held, func(a, b []float64) int { return int(math.Copysign(1, a[g]-b[g])) })[g]
				again := lr
				again.Init = []map[string]llm.LowRank{all[g].LowRank}
				one := opt
				one.Steps, one.Validate = 1, &Validation{Every: 1, Data: heldOut[g : g+1], Batches: 3}
				_, of, err := Adapters(context.Background(), base, data[g:g+1], again, one)
				if err != nil {
					t.Fatal(err)
				}
				if d := math.Abs(of.Held[0][0] - lowest); d > 1e-5 {
					t.Errorf("adapter %d: the returned factors have held-out loss %v, the lowest was %v", g, of.Held[0][0], lowest)
				}
			}
			for _, l := range all[2].LowRank {
				if slices.ContainsFunc(l.B, func(v float32) bool { return v != 0 }) {
					t.Fatal("an adapter that only got worse is not where it began")
				}
			}
			// It stopped after the second measurement, and stays as it was then.
			if log.Held[2][2] != log.Held[8][2] && name == compute.Go {
				t.Errorf("a stopped adapter went on from %v to %v", log.Held[2][2], log.Held[8][2])
			}

			alone := opt
			alone.Validate = &Validation{Every: 4, Patience: 2, Data: heldOut[:1], Batches: 3}
			one, short, err := Adapters(context.Background(), base, data[:1], lr, alone)
			if err != nil {
				t.Fatal(err)
			}
			if want := log.Best[0] + 8; len(short.Loss) != want || short.Best[0] != log.Best[0] {
				t.Errorf("alone it ran %d steps with the best after %d, want %d and %d", len(short.Loss), short.Best[0], want, log.Best[0])
			}
			closeFactors(t, all[0], one[0])
		})
	}
}

func TestEarlyStoppingOfFull(t *testing.T) {
	cfg := tiny()
	backend := openBackend(t, compute.Go)
	opt := Options{Steps: 40, LearningRate: 1e-2, Backend: backend, Validate: &Validation{Every: 2, Patience: 2, Data: []Data{answerTask(cfg, 5)}, Batches: 1}}
	best, log, err := Full(context.Background(), InitWeights(cfg, 1), cfg, turning(cfg, 10, 5, 9), opt)
	if err != nil {
		t.Fatal(err)
	}
	if at := log.Best[0]; at < 8 || at > 12 || len(log.Loss) != at+4 {
		t.Fatalf("best after %d steps, %d steps taken", at, len(log.Loss))
	}
	// The same run that ends there without validation.
	stepped := map[int]Weights{}
	opt.Validate, opt.SnapshotAt = nil, []int{log.Best[0]}
	opt.Snapshot = func(s Snapshot) error { stepped[s.Step] = s.Weights; return nil }
	if _, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, turning(cfg, 10, 5, 9), opt); err != nil {
		t.Fatal(err)
	}
	sameWeights(t, best, stepped[log.Best[0]])
}

// TestHeldLossIsTheMeanOverTokens compares the held-out loss of uneven batches with that of one batch that holds them all.
func TestHeldLossIsTheMeanOverTokens(t *testing.T) {
	cfg := tiny()
	row := func(b *pack.Batch, at, n int) {
		examples := []pack.Example{{Prompt: []int{7, 3}, Answer: []int{7, 9, 4}}, {Prompt: []int{8, 3}, Answer: []int{8}}, {Prompt: []int{9}, Answer: []int{4, 4}}}
		b.Add(at, []int{1}, examples[:n])
	}
	held := func(rows ...[]int) Data {
		return DataFunc(func(i int) (*pack.Batch, error) {
			b := pack.NewBatch(len(rows[i]), 12)
			for at, n := range rows[i] {
				row(b, at, n)
			}
			return b, nil
		})
	}
	loss := func(v *Validation) float64 {
		v.Every = 1
		opt := Options{Steps: 1, Backend: openBackend(t, compute.Go), Validate: v}
		_, log, err := Full(context.Background(), roughWeights(cfg, 4), cfg, copyTask(cfg, 2, 12), opt)
		if err != nil {
			t.Fatal(err)
		}
		return log.Held[0][0]
	}
	apart := loss(&Validation{Data: []Data{held([]int{3}, []int{1}, []int{0}, []int{2})}, Batches: 4})
	together := loss(&Validation{Data: []Data{held([]int{3, 1, 0, 2})}, Batches: 1})
	if math.Abs(apart-together) > 1e-5*together {
		t.Errorf("%v in four batches, %v in one", apart, together)
	}
}

func TestValidationRefuses(t *testing.T) {
	cfg := tiny()
	good := copyTask(cfg, 2, 12)
	empty := DataFunc(func(int) (*pack.Batch, error) { return pack.NewBatch(2, 12), nil })
	for name, v := range map[string]*Validation{
		"no interval":   {Data: []Data{good}, Batches: 1},
		"no batches":    {Every: 1, Data: []Data{good}},
		"no data":       {Every: 1, Batches: 1},
		"nothing held":  {Every: 1, Batches: 1, Data: []Data{empty}},
		"uneven shapes": {Every: 1, Batches: 2, Data: []Data{DataFunc(func(i int) (*pack.Batch, error) { return copyTask(cfg, 2+i, 12).Batch(i) })}},
	} {
		opt := Options{Steps: 1, Backend: openBackend(t, compute.Go), Validate: v}
		if _, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, good, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
