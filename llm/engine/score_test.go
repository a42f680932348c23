package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"d2nwg/llm"
	"d2nwg/llm/engine/kernel"
)

// drawRequests makes requests that share prefixes of many kinds, also whole ones.
func drawRequests(t *rapid.T, vocab int) []Request {
	stems := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, vocab-1), 1, 40), 1, 4).Draw(t, "stems")
	var reqs []Request
	for i := range rapid.IntRange(1, 24).Draw(t, "requests") {
		stem := rapid.SampledFrom(stems).Draw(t, fmt.Sprint("stem", i))
		cut := rapid.IntRange(1, len(stem)).Draw(t, fmt.Sprint("cut", i))
		ids := append(append([]int{}, stem[:cut]...), rapid.SliceOfN(rapid.IntRange(0, 5), 0, 8).Draw(t, fmt.Sprint("tail", i))...)
		reqs = append(reqs, Request{ids, rapid.IntRange(1, len(ids)).Draw(t, fmt.Sprint("from", i))})
	}
	return reqs
}

// A response must be the same bits whatever the company and the number of workers, and what Logits say of it alone.
func TestScoreIsIndependentOfCompany(t *testing.T) {
	models := everyModel(t, 5)
	rapid.Check(t, func(rt *rapid.T) {
		m := models[rapid.SampledFrom(slices.Sorted(maps.Keys(models))).Draw(rt, "model")]
		reqs := drawRequests(rt, m.Config().VocabSize)
		got, err := m.Score(context.Background(), reqs, rapid.IntRange(1, 5).Draw(rt, "workers"))
		if err != nil {
			rt.Fatal(err)
		}
		checkEach(rt, m, reqs, got)
		i := rapid.IntRange(0, len(reqs)-1).Draw(rt, "alone")
		alone, err := m.Score(context.Background(), reqs[i:i+1], 1)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(alone[0], got[i]); d != "" {
			rt.Fatalf("request %d (−alone +in company): %s", i, d)
		}
		checkResponse(rt, m, reqs[i], got[i])
	})
}

// checkEach asks for the responses as they complete: each comes once, complete.
func checkEach(t *rapid.T, m *Model, reqs []Request, want []Response) {
	plan, err := m.NewPlan(reqs, 3)
	if err != nil {
		t.Fatal(err)
	}
	each := map[int]Response{}
	if _, err = m.ScorePlanEach(context.Background(), plan, func(i int, r Response) error {
		if _, twice := each[i]; twice {
			t.Fatalf("request %d was answered twice", i)
		}
		each[i] = Response{slices.Clone(r.LogProbs), slices.Clone(r.Margins), slices.Clone(r.Greedy)}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if d := cmp.Diff(w, each[i], cmpopts.EquateEmpty()); d != "" || len(each) != len(want) {
			t.Fatalf("request %d of %d, %d answered (−together +as it completed): %s", i, len(want), len(each), d)
		}
	}
	stop := errors.New("stop")
	if _, err := m.ScorePlanEach(context.Background(), plan, func(int, Response) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("an error of done gave %v", err)
	}
}

// checkResponse computes a response from Logits in float64.
func checkResponse(t *rapid.T, m *Model, r Request, got Response) {
	vocab := m.Config().VocabSize
	logits, err := m.Logits(r.IDs)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.IDs) - r.From; len(got.LogProbs) != n || len(got.Margins) != n || len(got.Greedy) != n {
		t.Fatalf("%d, %d and %d values for %d tokens", len(got.LogProbs), len(got.Margins), len(got.Greedy), n)
	}
	for j := range got.LogProbs {
		token := r.IDs[r.From+j]
		row := logits[(r.From+j-1)*vocab : (r.From+j)*vocab]
		sum, other, first := 0.0, math.Inf(-1), 0
		for i, v := range row {
			sum += math.Exp(float64(v))
			if i != token {
				other = max(other, float64(v))
			}
			if v > row[first] {
				first = i
			}
		}
		logProb := float64(row[token]) - math.Log(sum)
		if math.Abs(got.LogProbs[j]-logProb) > 2e-6*(1+math.Abs(float64(row[first]))) {
			t.Fatalf("log-probability %v, want %v", got.LogProbs[j], logProb)
		}
		if margin := float64(row[token]) - other; got.Margins[j] != margin {
			t.Fatalf("margin %v, want %v", got.Margins[j], margin)
		}
		if got.Greedy[j] != (first == token) {
			t.Fatalf("greedy %v, the argmax is %d and the token %d", got.Greedy[j], first, token)
		}
	}
}

// A plan computes each distinct prefix of the inputs once, and every request's targets are in it once.
func TestPlan(t *testing.T) {
	checkpoint, _ := randomModel(t, shapes()["grouped"], 5)
	m := mustModel(t, checkpoint)
	rapid.Check(t, func(rt *rapid.T) {
		reqs := drawRequests(rt, 50)
		p, err := m.NewPlan(reqs, rapid.IntRange(1, 5).Draw(rt, "workers"))
		if err != nil {
			rt.Fatal(err)
		}
		prefixes := map[string]bool{}
		want := 0
		for _, r := range reqs {
			for n := 1; n <= len(r.input()); n++ {
				prefixes[fmt.Sprint(r.input()[:n])] = true
			}
			want += len(r.IDs) - r.From
		}
		rows, targets := 0, 0
		var count func(s *stage)
		count = func(s *stage) {
			for _, w := range slices.Concat(s.chunks, s.tasks) {
				rows += len(w.ids)
				targets += len(w.targets)
			}
			for _, next := range s.next {
				count(next)
			}
		}
		count(p.root)
		if rows != len(prefixes) || rows != p.Rows() || targets != want {
			rt.Fatalf("%d rows (it says %d) and %d targets, want %d and %d", rows, p.Rows(), targets, len(prefixes), want)
		}
	})
}

// A variant that starts from the base's activations gives the bits of one that doesn't.
func TestVariantsStartFromTheBase(t *testing.T) {
	for name, c := range shapes() {
		checkpoint, ref := randomModel(t, c, 5)
		m := mustModel(t, checkpoint)
		rapid.Check(t, func(rt *rapid.T) {
			p, err := m.NewPlan(drawRequests(rt, c.VocabSize), rapid.IntRange(1, 5).Draw(rt, "workers"))
			if err != nil {
				rt.Fatal(err)
			}
			for range 3 {
				tensor := rapid.SampledFrom(checkpoint.Tensors()).Draw(rt, "tensor").Name
				values := slices.Clone(ref.w[tensor])
				for i := range values {
					values[i] *= 1.25
				}
				v, err := m.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{tensor: values}})
				if err != nil {
					rt.Fatal(err)
				}
				got, err := v.ScorePlan(context.Background(), p)
				if err != nil {
					rt.Fatal(err)
				}
				first := v.first
				v.first = 0
				want, err := v.ScorePlan(context.Background(), p)
				if d := cmp.Diff(want, got); d != "" || err != nil {
					rt.Fatalf("%s, %s, from layer %d: %v %s", name, tensor, first, err, d)
				}
			}
		})
	}
}

func TestPlanFindsDescriptions(t *testing.T) {
	var reqs []Request
	random := rand.New(rand.NewPCG(1, 1))
	for range 3 { // three descriptions of 90 tokens, after <s> and with 20 questions of 9 each
		description := append([]int{1}, randomIDs(random, 90, 1000)...)
		for range 20 {
			reqs = append(reqs, Request{append(append([]int{}, description...), randomIDs(random, 10, 1000)...), 95})
		}
	}
	random.Shuffle(len(reqs), func(i, j int) { reqs[i], reqs[j] = reqs[j], reqs[i] })
	checkpoint, _ := randomModel(t, shapes()["grouped"], 1)
	m := mustModel(t, checkpoint)
	m.config.VocabSize, m.config.MaxPositions = 1000, 200 // of the plan alone
	p, err := m.NewPlan(reqs, 2)
	if err != nil {
		t.Fatal(err)
	}
	if most := 3*91 + 60*9; p.Rows() > most {
		t.Errorf("%d rows, %d suffice", p.Rows(), most)
	}
}

func TestScoreStopsAndReports(t *testing.T) {
	checkpoint, ref := randomModel(t, shapes()["grouped"], 1)
	m := mustModel(t, checkpoint)
	reqs := []Request{{[]int{1, 2, 3}, 1}, {[]int{1, 2}, 2}, {[]int{4}, 1}}
	got, err := m.Score(context.Background(), reqs, 3)
	if err != nil || len(got) != 3 || len(got[1].LogProbs) != 0 || len(got[2].Greedy) != 0 {
		t.Errorf("nothing to score gives %v, %v", got, err)
	}
	if got, err := m.Score(context.Background(), nil, 2); err != nil || len(got) != 0 {
		t.Errorf("no requests give %v, %v", got, err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err := m.Score(stopped, reqs, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
	for _, name := range []string{"model.norm.weight", "model.layers.1.self_attn.k_proj.weight", "model.layers.0.mlp.gate_proj.weight"} {
		w := append([]float32{}, ref.w[name]...)
		w[3] = float32(math.NaN())
		broken, err := m.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{name: w}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broken.Score(context.Background(), reqs, 1); !errors.Is(err, ErrNotFinite) {
			t.Errorf("NaN in %s gives %v", name, err)
		}
		if _, err := broken.Greedy(context.Background(), []int{1, 2}, 3, nil); !errors.Is(err, ErrNotFinite) {
			t.Errorf("NaN in %s generates with %v", name, err)
		}
	}
}

// Greedy must give the argmax of Logits step by step.
func TestGreedyIsArgmaxOfLogits(t *testing.T) {
	for name, c := range shapes() {
		checkpoint, _ := randomModel(t, c, 11)
		model := mustModel(t, checkpoint)
		for i, k := range kernel.Available() {
			m := model.withKernels(k)
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for range 4 {
				prompt := randomIDs(random, 1+random.IntN(30), c.VocabSize)
				got, err := m.Greedy(context.Background(), prompt, 40, nil)
				if err != nil {
					t.Fatal(err)
				}
				all := append(append([]int{}, prompt...), got...)
				reading, err := m.Read(all)
				if err != nil {
					t.Fatal(err)
				}
				if want := reading.Argmax[len(prompt)-1 : len(all)-1]; !cmp.Equal(got, want) {
					t.Errorf("%s, %s: generated %v, the argmax is %v", name, k.Name(), got, want)
				}
			}
		}
	}
}

func TestGreedyEnds(t *testing.T) {
	checkpoint, _ := randomModel(t, shapes()["grouped"], 2)
	m := mustModel(t, checkpoint)
	free, err := m.Greedy(context.Background(), []int{1, 5}, 20, nil)
	if err != nil || len(free) != 20 {
		t.Fatalf("%v, %v", free, err)
	}
	stop := free[7]
	want := free[:7]
	for i, id := range free[:7] {
		if id == stop {
			want = free[:i]
			break
		}
	}
	got, err := m.Greedy(context.Background(), []int{1, 5}, 20, func(id int) bool { return id == stop })
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("stopping at %d gives %v, %v, want %v", stop, got, err, want)
	}
	positions := m.Config().MaxPositions
	got, err = m.Greedy(context.Background(), make([]int, positions-2), 20, nil)
	if !errors.Is(err, ErrTooLong) || len(got) != 3 { // the last token needs no position
		t.Errorf("at the end of the positions: %d tokens, %v", len(got), err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Greedy(stopped, []int{1}, 5, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
}

// A variant's model must be that of the checkpoint it is written to, and share what it leaves alone.
func TestWith(t *testing.T) {
	for name, c := range shapes() {
		checkpoint, ref := randomModel(t, c, 13)
		base := mustModel(t, checkpoint)
		random := rand.New(rand.NewPCG(3, 3))
		v := &llm.Variant{Base: checkpoint, Replace: map[string][]float32{}, LowRank: map[string]llm.LowRank{}}
		for i, s := range c.TensorShapes() {
			switch {
			case i%4 == 0:
				v.Replace[s.Name] = normal(random, s.Elements(), 0.2)
			case i%4 == 2 && len(s.Shape) == 2:
				v.LowRank[s.Name] = llm.LowRank{Rank: 2, A: normal(random, 2*s.Shape[1], 0.1), B: normal(random, 2*s.Shape[0], 1)}
			}
		}
		first, err := base.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{"model.norm.weight": normal(random, c.HiddenSize, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := first.With(v) // of the base, not of first
		if err != nil {
			t.Fatal(err)
		}
		changed := reference{c, map[string][]float32{}}
		for _, s := range c.TensorShapes() {
			if changed.w[s.Name], err = v.Weights(s.Name); err != nil {
				t.Fatal(err)
			}
		}
		ids := randomIDs(random, 20, c.VocabSize)
		checkModel(t, name+" variant", m, changed, ids)
		checkModel(t, name+" base", base, ref, ids)
		checkShared(t, name, base, m, v)
		if _, err := base.With(&llm.Variant{Base: &llm.Checkpoint{}}); err == nil {
			t.Error("a variant of another checkpoint is taken")
		}
	}
}

func checkModel(t *testing.T, name string, m *Model, ref reference, ids []int) {
	t.Helper()
	got, err := m.LogitsLast(ids)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := ref.logits(ids)
	if far := worst(got, want[len(want)-1]); far > tolerance {
		t.Errorf("%s: logits differ by %.2g deviations", name, far)
	}
}

// checkShared requires that a model shares the memory of just the tensors that its variant leaves alone.
func checkShared(t *testing.T, name string, base, m *Model, v *llm.Variant) {
	t.Helper()
	changed := map[string]bool{}
	for _, n := range v.Names() {
		changed[n] = true
	}
	for _, s := range m.config.TensorShapes() {
		var shared bool
		if l := m.linear(s.Module, s.Layer); l != nil {
			shared = &l.Data[0] == &base.linear(s.Module, s.Layer).Data[0]
		} else {
			shared = &(*m.vector(s.Module, s.Layer))[0] == &(*base.vector(s.Module, s.Layer))[0]
		}
		if shared == changed[s.Name] {
			t.Errorf("%s: %s is shared %v, changed %v", name, s.Name, shared, changed[s.Name])
		}
	}
}

func normal(random *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * random.NormFloat64())
	}
	return x
}

// The error for logits that aren't finite names the request they belong to.
func TestNotFiniteNamesTheRequest(t *testing.T) {
	checkpoint, ref := randomModel(t, shapes()["biased"], 5) // its head isn't the embedding
	embedding := slices.Clone(ref.w["model.embed_tokens.weight"])
	hidden := checkpoint.Config.HiddenSize
	for i := range hidden {
		embedding[7*hidden+i] = float32(math.NaN())
	}
	replace := map[string][]float32{"model.embed_tokens.weight": embedding}
	m, err := mustModel(t, checkpoint).With(&llm.Variant{Base: checkpoint, Replace: replace})
	if err != nil {
		t.Fatal(err)
	}
	reqs := []Request{{[]int{1, 2, 3}, 1}, {[]int{1, 7, 3}, 2}, {[]int{1, 4, 3}, 1}}
	if _, err := m.Score(context.Background(), reqs, 1); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "request 1:") {
		t.Errorf("got %v", err)
	}
}
