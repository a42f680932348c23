package zoo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/generator/adapters"
	"d2nwg/generator/explore"
	"d2nwg/internal/files"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// Best is the best of n samples, judged beside the baselines at equal budget.
type Best struct {
	*explore.Report
	Written []Generated `json:"written"` // nothing, unless the gain over the base is verified
}

// GenerateBest ranks n samples on the select part of the examples, as well as noise, the mean of the trained adapters, the nearest of them and
// interpolations; the winners have to pass a gate on confirm, and only then test is opened, once, and noted in the ledger. The best sample is
// written if it's better than the base beyond doubt.
func GenerateBest(ctx context.Context, opt GenerateOptions) (*Best, error) {
	if _, err := os.Stat(opt.Out); err == nil && !opt.Force { // before an opening of test is spent
		return nil, fmt.Errorf("%s exists: choose another folder or overwrite with --force: %w", opt.Out, fs.ErrExist)
	}
	w, err := openWriter(opt)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for _, split := range []stats.Split{stats.Select, stats.Confirm, stats.Test} {
		if w.scorer == nil || w.scorer.Items(split) == 0 {
			return nil, fmt.Errorf("%s has too few examples for the best of several samples: none is left for the %s split; give 100 or more", opt.Examples, split)
		}
	}
	samples, err := w.g.Sample(ctx, w.features, opt.N, opt.Seed, opt.Sample)
	if err != nil {
		return nil, err
	}
	plan := explore.Plan{
		Base: w.base, Scorer: w.scorer, Budget: explore.Budget{Proposals: opt.N, Scales: []float64{1}}, Seed: opt.Seed,
		Ledger: opt.Ledger, Progress: opt.Progress, Relatives: w.relatives(),
		Sources: []explore.Source{explore.NewSource("generated", explore.Generator, func(_ context.Context, i int) (*llm.Variant, error) {
			return w.g.Variant(w.base, samples[i]), nil
		})},
	}
	if plan.Key, err = w.key(); err != nil {
		return nil, err
	}
	report, err := explore.Run(ctx, plan)
	if err != nil {
		return nil, err
	}
	best := &Best{Report: report, Written: []Generated{}}
	if !report.Checkpoint.Verified {
		return best, nil
	}
	number, err := w.winner(report, samples)
	if err != nil {
		return nil, err
	}
	best.Written, err = w.write(ctx, []sample{{number, samples[number]}}, "generated", stats.Test)
	return best, err
}

// winner is the number of the sample that won.
func (w *writer) winner(report *explore.Report, samples []map[string][]float32) (int, error) {
	won, err := report.Variant(report.Candidate)
	if err != nil {
		return 0, err
	}
	want, err := won.Hash()
	if err != nil {
		return 0, err
	}
	for i, b := range samples {
		if hash, err := w.g.Variant(w.base, b).Hash(); err != nil || hash == want {
			return i, err
		}
	}
	return 0, errors.New("the winner is none of the samples")
}

// relatives are the trained adapters, the most similar task's first.
func (w *writer) relatives() []explore.Relative {
	place := map[string]int{}
	for i, k := range w.g.Nearest(w.features) {
		place[w.g.Known()[k].Name] = i
	}
	var all []explore.Relative
	for i, m := range w.g.Members() {
		all = append(all, explore.Relative{
			Name: fmt.Sprintf("%s (%d)", m.Task, i), Variant: w.g.Variant(w.base, m.Weights), Similarity: -float64(place[m.Task]),
		})
	}
	return all
}

// key identifies what the samples depend on.
func (w *writer) key() (string, error) {
	o := w.opt
	file, err := files.Hash(filepath.Join(o.Generator, adapters.FileName))
	if err != nil {
		return "", err
	}
	data, err := json.Marshal([]any{file, w.features, o.N, o.Seed, o.Sample})
	return string(data), err
}
