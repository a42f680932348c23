package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval"
	"d2nwg/generator/explore"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// BenchmarkImprove holds the search of improve, among the baselines, which need no training, twice: every candidate in a
// full pass over every question by itself, and as improve does it, with shared prefixes, the base's activations and
// races. Tokens are those that go into the engine.
func BenchmarkImprove(b *testing.B) {
	b.Run("bundled", func(b *testing.B) {
		var r recipe.Improve
		r.SetDefaults()
		r.Score.Mix, r.Score.Items = "rotl3+add+times", recipe.Items{Select: 200, Confirm: 200, Test: 600} // recipes/demo.yaml
		r.Relatives.From = []string{recipe.Bundled}
		run := openBench(b, r)
		relatives, err := run.Relatives(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		compareSearches(b, run, relatives, explore.Budget{Proposals: 8, Scales: []float64{1, 1.5}, Layers: 4, Tries: 2, Soup: 2})
	})
	b.Run("110m", func(b *testing.B) {
		r, relatives := largeRun(b)
		run := openBench(b, r)
		compareSearches(b, run, relatives(run.base), explore.Budget{Proposals: 3, Scales: []float64{1}, Layers: 2, Tries: 1})
	})
}

func openBench(b *testing.B, r recipe.Improve) *Run {
	b.Helper()
	run, err := Open(filepath.Join(b.TempDir(), "run"), r, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { run.Close() })
	return run
}

// largeRun is a random base of 110 million parameters, questions behind five examples, and relatives that differ from the
// base in the top quarter of the layers.
func largeRun(b *testing.B) (r recipe.Improve, relatives func(*llm.Checkpoint) []Relative) {
	b.Helper()
	dir := b.TempDir()
	r.SetDefaults()
	r.Base, r.Score.Tasks = filepath.Join(dir, "base"), filepath.Join(dir, "questions.jsonl")
	r.Score.Metric, r.Score.Arithmetic, r.Score.Items = eval.Margin, "bf16", recipe.Items{Select: 40, Confirm: 20, Test: 20}
	c := llm.Config{VocabSize: 32000, HiddenSize: 768, IntermediateSize: 2048, Layers: 12, Heads: 12, KVHeads: 12, HeadDim: 64,
		MaxPositions: 1024, RMSNormEps: 1e-5, RopeTheta: 1e4, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: safetensors.BF16}
	if err := llm.RandomCheckpoint(r.Base, c, safetensors.BF16, 0, 1); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Base, "tokenizer.json"), tokenizer.NewASCII(), 0o644); err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	word := func(n int) string {
		var w strings.Builder
		for range n {
			w.WriteByte(byte('a' + random.IntN(26)))
		}
		return w.String()
	}
	var shots, lines strings.Builder
	for range 5 {
		fmt.Fprintf(&shots, "Q: %s\nA: %s\n", word(24), word(4))
	}
	for range 600 {
		line, err := json.Marshal(eval.Question{Prompt: shots.String() + "Q: " + word(24) + "\nA: ", Answer: word(4)})
		if err != nil {
			b.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	if err := os.WriteFile(r.Score.Tasks, []byte(lines.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	return r, func(base *llm.Checkpoint) (all []Relative) {
		for i := range 3 {
			v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
			for _, t := range base.Config.TensorShapes() {
				if t.Layer < c.Layers*3/4 || len(t.Shape) != 2 {
					continue
				}
				low := llm.LowRank{Rank: 1, A: make([]float32, t.Shape[1]), B: make([]float32, t.Shape[0])}
				for _, x := range [][]float32{low.A, low.B} {
					for k := range x {
						x[k] = float32(random.NormFloat64() / 20)
					}
				}
				v.LowRank[t.Name] = low
			}
			all = append(all, Relative{Name: fmt.Sprint("relative ", i), Variant: v})
		}
		return all
	}
}

// compareSearches runs explore the plain way and improve's.
func compareSearches(b *testing.B, run *Run, relatives []Relative, budget explore.Budget) {
	b.Helper()
	fresh := func() *eval.Scorer { // no search starts from another one's plans and activations
		s, err := run.scorer()
		if err != nil {
			b.Fatal(err)
		}
		return s.(*eval.Scorer)
	}
	arithmetic, err := engine.ParseArithmetic(run.Recipe.Score.Arithmetic)
	if err != nil {
		b.Fatal(err)
	}
	model, err := engine.New(run.base, engine.Options{Arithmetic: arithmetic, Keep: &engine.Budget{}})
	if err != nil {
		b.Fatal(err)
	}
	c := counted{Scorer: fresh(), model: model, requests: map[stats.Split][]engine.Request{}, tokens: new(atomic.Int64)}
	encoder := eval.NewEncoder(run.tok)
	for split, questions := range c.Data().Questions {
		for _, q := range questions {
			prompt, answer, err := encoder.Pair(q.Prompt, q.Answer)
			if err != nil {
				b.Fatal(err)
			}
			c.requests[split] = append(c.requests[split], engine.Request{IDs: append(prompt, answer...), From: len(prompt)})
		}
	}
	search := func(s explore.Scorer, race float64) (seconds, tokens float64, report *explore.Report) {
		plan := explore.Plan{Base: run.base, Scorer: s, Budget: budget, RaceAlpha: race, Seed: 1, AcceptBaselines: true,
			Ledger: filepath.Join(b.TempDir(), "ledger.jsonl")}
		for _, r := range relatives {
			plan.Relatives = append(plan.Relatives, explore.Relative{Name: r.Name, Variant: r.Variant})
		}
		c.tokens.Store(0)
		start := time.Now()
		report, err := explore.Run(context.Background(), plan)
		if err != nil {
			b.Fatal(err)
		}
		return time.Since(start).Seconds(), float64(c.tokens.Load()), report
	}
	for b.Loop() {
		seconds, tokens, before := search(plain{c}, 0)
		c.Scorer = fresh()
		now, fewer, _ := search(c, 0)
		c.Scorer = fresh()
		raced, fewest, after := search(c, run.Recipe.Explore.Race.Alpha)
		candidates := 0
		for i, s := range after.Sources {
			candidates += s.Evaluations
			b.Logf("%s: winner %.4f raced, %.4f not; %d of %d items scored", s.Name, s.Select.Mean, before.Sources[i].Select.Mean,
				s.Items, s.FullItems)
		}
		b.ReportMetric(float64(candidates), "candidates")
		b.ReportMetric(seconds, "s-before")
		b.ReportMetric(now, "s-unraced")
		b.ReportMetric(raced, "s-after")
		b.ReportMetric(seconds/raced, "times-faster")
		b.ReportMetric(tokens, "tokens-before")
		b.ReportMetric(fewer, "tokens-unraced")
		b.ReportMetric(fewest, "tokens-after")
		b.ReportMetric(tokens/fewest, "times-fewer")
	}
	b.ReportMetric(0, "ns/op")
}

// counted is a scorer that counts the tokens that go into the engine.
type counted struct {
	*eval.Scorer
	model    *engine.Model
	requests map[stats.Split][]engine.Request
	tokens   *atomic.Int64
}

func (c counted) pick(split stats.Split, items []int) []engine.Request {
	reqs := make([]engine.Request, len(items))
	for at, i := range items {
		reqs[at] = c.requests[split][i]
	}
	return reqs
}

func (c counted) ScoreItems(ctx context.Context, v *llm.Variant, split stats.Split, items []int) (stats.Scores, error) {
	p, err := c.model.NewPlan(c.pick(split, items), 1)
	if err != nil {
		return stats.Scores{}, err
	}
	c.tokens.Add(int64(p.Rows()))
	return c.Scorer.ScoreItems(ctx, v, split, items)
}

func (c counted) Score(ctx context.Context, v *llm.Variant, split stats.Split) (stats.Scores, error) {
	p, err := c.model.NewPlan(c.requests[split], 1)
	if err != nil {
		return stats.Scores{}, err
	}
	c.tokens.Add(int64(p.Rows()))
	return c.Scorer.Score(ctx, v, split)
}

// plain scores every request by itself, as many at a time as there are processors.
type plain struct{ counted }

func (p plain) Score(ctx context.Context, v *llm.Variant, split stats.Split) (stats.Scores, error) {
	all := make([]int, len(p.requests[split]))
	for i := range all {
		all[i] = i
	}
	return p.ScoreItems(ctx, v, split, all)
}

func (p plain) ScoreItems(ctx context.Context, v *llm.Variant, split stats.Split, items []int) (stats.Scores, error) {
	m, err := p.model.With(v)
	if err != nil {
		return stats.Scores{}, err
	}
	reqs := p.pick(split, items)
	got, errs := make([]engine.Response, len(reqs)), make([]error, len(reqs))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(reqs); i = int(next.Add(1)) - 1 {
				var one []engine.Response
				if one, errs[i] = m.Score(ctx, reqs[i:i+1], 1); errs[i] == nil {
					got[i] = one[0]
				}
			}
		})
	}
	wait.Wait()
	var out stats.Scores
	for i, r := range got {
		if errs[i] != nil {
			return out, errs[i]
		}
		p.tokens.Add(int64(len(reqs[i].IDs) - 1))
		mean, exact := 0.0, 0.0
		for _, x := range r.Margins {
			mean += x / float64(len(r.Margins))
		}
		if r.AllGreedy() {
			exact = 1
		}
		if p.Metric() == eval.Margin {
			out.Items = append(out.Items, mean)
		} else {
			out.Items, out.Tie = append(out.Items, exact), append(out.Tie, mean)
		}
	}
	return out, nil
}
