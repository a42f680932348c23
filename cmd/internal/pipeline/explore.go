package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/evaluation"
	"d2nwg/eval"
	"d2nwg/eval/task"
	"d2nwg/eval/taskrun"
	"d2nwg/generator"
	"d2nwg/generator/explore"
	"d2nwg/llm"
)

// Report is what a run found: explore's report, with what led to it.
type Report struct {
	*explore.Report
	Target    string             `json:"target"` // data scored on
	Describe  string             `json:"describe,omitempty"`
	Relatives int                `json:"relatives"`
	Gate      Gate               `json:"gate"`
	Trained   generator.Summary  `json:"trained"`
	Novelty   *generator.Novelty `json:"novelty,omitempty"`
	Written   string             `json:"written,omitempty"` // source whose winner stands in candidate/
	Stages    []Stage            `json:"stages"`
}

// scorer scores candidates on the target.
func (r *Run) scorer() (explore.Scorer, error) {
	model, err := r.engine()
	if err != nil {
		return nil, err
	}
	if r.target.judged != nil {
		o, err := evaluation.TokenOptions(r.base.Dir, model.Config(), task.Profile(r.Recipe.Score.Profile))
		if err != nil {
			return nil, err
		}
		return taskrun.NewScorer(model, r.tok, o, r.target.judged, r.Recipe.Score.Metric)
	}
	return eval.NewScorer(model, r.tok, r.target.data, eval.Options{Metric: r.Recipe.Score.Metric})
}

// Improve carries the whole recipe out.
func (r *Run) Improve(ctx context.Context) (*Report, error) {
	relatives, err := r.Relatives(ctx)
	if err != nil {
		return nil, err
	}
	g, l, gate, err := r.Train(ctx, relatives)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	out := &Report{
		Target: r.target.data.Name, Describe: r.target.description, Relatives: len(relatives), Gate: gate, Trained: g.Summary(),
	}
	if err := r.stage("explore", func() error { return r.explore(ctx, l, g, out) }); err != nil {
		return nil, err
	}
	if err := r.stage("candidate", func() error { return r.write(out) }); err != nil {
		return nil, err
	}
	if out.Stages, err = r.Stages(); err != nil {
		return nil, err
	}
	return out, saveJSON(r.path(ReportFile), out)
}

// explore searches with every source and reaches the verdicts.
func (r *Run) explore(ctx context.Context, l *learned, g *generator.Generator, out *Report) error {
	scorer, err := r.scorer()
	if err != nil {
		return err
	}
	layers, err := r.spectrum(ctx)
	if err != nil {
		return err
	}
	e := r.Recipe.Explore
	plan := explore.Plan{
		Base: r.base, Scorer: scorer, Sources: r.sources(l, g),
		Budget: explore.Budget{Proposals: e.Proposals, Scales: e.Scales, Layers: e.Layers, Tries: e.Tries, Soup: e.Soup},
		Alpha:  e.Alpha, RaceAlpha: e.Race.Alpha, Resamples: e.Resamples, Seed: r.seed("explore", 0), AcceptBaselines: e.AcceptBaselines,
		Journal: r.journal, Ledger: r.ledger(), Progress: r.opt.Progress,
	}
	if plan.Key, err = r.key(l); err != nil {
		return err
	}
	for _, x := range layers {
		plan.Order = append(plan.Order, x.Tensor)
	}
	similar := l.similarities(l.wanted)
	for i, m := range l.members {
		plan.Relatives = append(plan.Relatives, explore.Relative{Name: m.Name, Variant: m.Variant, Similarity: similar[i]})
	}
	if out.Report, err = explore.Run(ctx, plan); err != nil {
		return err
	}
	out.Report.Seed = r.Recipe.Seed // the one a user knows
	out.Novelty, err = r.novelty(ctx, l, g)
	return err
}

// ledger is the file of test openings; beside the run's folder by default, so that the runs of one place share it.
func (r *Run) ledger() string {
	if l := r.Recipe.Explore.Ledger; l != "" {
		return l
	}
	dir, err := filepath.Abs(r.Dir) // the parent of "." has no other name
	if err != nil {
		dir = r.Dir
	}
	return filepath.Join(filepath.Dir(dir), "ledger.jsonl")
}

// sources are the generator, decoding alone, and the controls that tell what the generator's parts are worth: the
// conditional mean without diffusion, a shuffled description, none.
func (r *Run) sources(l *learned, g *generator.Generator) []explore.Source {
	sample := func(name, kind string, condition func(i int) []float32) explore.Source {
		return explore.NewSource(name, kind, func(ctx context.Context, i int) (*llm.Variant, error) {
			sets, err := g.Sample(ctx, condition(i), 1, r.seed("sample", i))
			if err != nil {
				return nil, err
			}
			return l.candidate(sets[0])
		})
	}
	all := []explore.Source{
		sample("generated", explore.Generator, func(int) []float32 { return l.wanted }),
		explore.NewSource("decode-only", explore.Baseline, func(_ context.Context, i int) (_ *llm.Variant, err error) {
			var weights map[string][]float32
			if order := l.nearest(len(l.members)); len(order) > 0 {
				weights = l.set.Weights[order[i%len(order)]]
			} else if weights, err = l.ownWeights(); err != nil {
				return nil, err
			}
			again, err := g.Reconstruct(weights)
			if err != nil {
				return nil, err
			}
			return l.candidate(again)
		}),
	}
	if r.Recipe.Explore.Controls && l.wanted != nil {
		all = append(all,
			explore.NewSource("conditional mean", explore.Control, func(context.Context, int) (*llm.Variant, error) {
				mean, err := g.ConditionalMean(l.wanted)
				if err != nil {
					return nil, err
				}
				return l.candidate(mean)
			}),
			sample("shuffled description", explore.Control, func(i int) []float32 {
				k := rand.New(rand.NewPCG(r.seed("shuffle", i), 0)).IntN(len(l.set.Conditions))
				return l.set.Conditions[k]
			}),
			sample("no description", explore.Control, func(int) []float32 { return nil }))
	}
	return all
}

// key identifies what proposals depend on: the trained generator and the wanted condition.
func (r *Run) key(l *learned) (string, error) {
	h := sha256.New()
	for _, name := range []string{"config.json", "generator.safetensors"} {
		data, err := os.ReadFile(r.path(GeneratorDir, name))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	fmt.Fprint(h, l.wanted)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// write leaves the candidate as a checkpoint: the verdict's, or else the generator's winner, whatever was verified.
func (r *Run) write(out *Report) error {
	out.Written = out.Candidate
	if out.Written == "" {
		out.Written = "generated"
	}
	v, err := out.Report.Variant(out.Written)
	if err != nil {
		return err
	}
	dir := r.path(CandidateDir)
	if isCheckpoint(dir) {
		return nil
	}
	return v.Write(dir, llm.WriteOptions{})
}

// novelty compares a few samples with the relatives.
func (r *Run) novelty(ctx context.Context, l *learned, g *generator.Generator) (*generator.Novelty, error) {
	if len(l.members) < 2 {
		return nil, nil
	}
	samples, err := g.Sample(ctx, l.wanted, noveltySamples, r.seed("novelty", 0))
	if err != nil {
		return nil, err
	}
	return generator.Compare(l.set, samples)
}

const noveltySamples = 8
