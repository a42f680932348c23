package zoo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"d2nwg/eval"
	"d2nwg/generator"
	"d2nwg/generator/adapters"
	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
)

// What stands in for a generated adapter when a description is far from everything trained.
const (
	FarNearest  = "nearest"  // the trained adapter of the most similar task, or their mean where nothing is similar
	FarGenerate = "generate" // generate all the same
)

// GenerateOptions say what is generated.
type GenerateOptions struct {
	Base, BaseName string // folder, and what the user calls it
	Generator      string // folder
	Out            string
	Describe       string // in words; "" = from examples alone
	Examples       string // JSONL file; "" = from words alone
	N              int
	Seed           uint64
	Far            string
	Sample         adapters.SampleOptions
	Force          bool
	Backend        *compute.Backend
	Ledger         string // of openings of a test split, for GenerateBest
	Warn           func(format string, args ...any)
	Progress       progress.Func
}

// Generated is the report of one generated adapter, generated.json in its folder.
type Generated struct {
	Dir      string               `json:"dir"`
	Describe string               `json:"description,omitempty"`
	Examples int                  `json:"examples,omitempty"`
	Seed     uint64               `json:"seed"`
	Number   int                  `json:"number"` // of the sample
	Source   string               `json:"source"` // generated, nearest (a trained adapter) or mean (of all)
	Distance *adapters.Distance   `json:"distance,omitempty"`
	Novelty  *generator.Neighbour `json:"novelty,omitempty"`  // against the trained adapters, by ΔW
	Zoo      *generator.Spread    `json:"zoo_l2,omitempty"`   // how far trained adapters lie from each other
	Accuracy *float64             `json:"accuracy,omitempty"` // on given examples that it was neither generated from nor chosen by
	Held     int                  `json:"held,omitempty"`
}

// reportName is the file beside a generated adapter.
const reportName = "generated.json"

// Generate writes n adapters for a description or examples: one to Out itself, several to folders below it.
func Generate(ctx context.Context, opt GenerateOptions) ([]Generated, error) {
	w, err := openWriter(opt)
	if err != nil {
		return nil, err
	}
	defer w.close()
	weights, source, err := w.weights(ctx)
	if err != nil {
		return nil, err
	}
	var all []sample
	for i, b := range weights {
		all = append(all, sample{i, b})
	}
	return w.write(ctx, all, source, stats.Select)
}

// openWriter opens the base and the generator and encodes what is asked for.
func openWriter(opt GenerateOptions) (*writer, error) {
	w := &writer{opt: opt}
	if err := w.open(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *writer) open() (err error) {
	if w.base, err = llm.Open(w.opt.Base); err != nil {
		return err
	}
	if w.g, err = openGenerator(w.opt.Generator, w.base, w.opt.Backend); err != nil {
		return err
	}
	return w.conditions()
}

// openGenerator opens a generator of a base's adapters.
func openGenerator(dir string, base *llm.Checkpoint, backend *compute.Backend) (*adapters.Generator, error) {
	g, of, err := adapters.Open(dir, backend)
	if err != nil {
		return nil, err
	}
	hash, err := base.Hash()
	if err == nil && of != hash {
		err = fmt.Errorf("the generator %s makes adapters of another base than %s", dir, base.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (w *writer) close() {
	if w.g != nil {
		w.g.Close()
	}
	if w.base != nil {
		w.base.Close()
	}
}

// writer generates for one condition.
type writer struct {
	opt      GenerateOptions
	base     *llm.Checkpoint
	g        *adapters.Generator
	features []float32
	distance *adapters.Distance
	examples int
	model    *engine.Model
	scorer   *eval.Scorer // over examples kept aside; nil without
}

// conditions encodes the description and the examples; both together count the same.
func (w *writer) conditions() error {
	if w.opt.Describe != "" {
		f, err := w.g.TextFeatures(w.opt.Describe)
		if err != nil {
			return err
		}
		d, err := w.g.Distance(w.opt.Describe)
		if err != nil {
			return err
		}
		w.features, w.distance = f, &d
	}
	if w.opt.Examples == "" {
		return nil
	}
	f, err := w.read()
	if err != nil {
		return err
	}
	for i := range w.features {
		f[i] = (f[i] + w.features[i]) / 2
	}
	w.features = f
	return nil
}

// aside is how many examples there have to be before some are kept aside to judge samples by.
const aside = 40

// read encodes the examples.
func (w *writer) read() ([]float32, error) {
	tok, err := tokenizer.Open(w.opt.Base)
	if err != nil {
		return nil, err
	}
	if w.model, err = engine.New(w.base, engine.Options{}); err != nil {
		return nil, err
	}
	all, err := eval.ReadQuestions(w.opt.Examples, stats.DefaultShares)
	if err != nil {
		return nil, err
	}
	var shown []eval.Question
	judged := 0
	for _, split := range stats.Splits {
		judged += all.Items(split)
	}
	for _, split := range stats.Splits {
		if split == stats.Train || judged < aside {
			shown = append(shown, all.Questions[split]...)
		}
	}
	if judged >= aside && all.Items(stats.Select) > 0 {
		if w.scorer, err = eval.NewScorer(w.model, tok, all, eval.Options{}); err != nil {
			return nil, err
		}
	}
	w.examples = len(shown)
	states, err := States(w.model, tok, shown)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.opt.Examples, err)
	}
	return w.g.SetFeatures(states)
}

// weights are the samples, or what stands in for them where the description is far from everything trained.
func (w *writer) weights(ctx context.Context) (all []map[string][]float32, source string, err error) {
	if d := w.distance; d != nil && d.Far && w.opt.Examples == "" && w.opt.Far == FarNearest {
		if m := w.g.MemberOf(d.Nearest); m != nil && d.Unknown < 1 {
			w.opt.Warn("the description is far from everything trained (similarity %.2f, usual %.2f; %.0f %% unknown words): the adapter of the most similar task, %s, is written instead",
				d.Similarity, d.Usual, 100*d.Unknown, d.Nearest)
			return []map[string][]float32{m}, "nearest", nil
		}
		if m := w.g.Mean(); m != nil {
			w.opt.Warn("the description is far from everything trained (similarity %.2f, usual %.2f; %.0f %% unknown words): the mean of all trained adapters is written instead",
				d.Similarity, d.Usual, 100*d.Unknown)
			return []map[string][]float32{m}, "mean", nil
		}
		w.opt.Warn("the description is far from everything trained; there is no trained adapter to fall back to")
	}
	all, err = w.g.Sample(ctx, w.features, w.opt.N, w.opt.Seed, w.opt.Sample)
	return all, "generated", err
}

// sample is one adapter by its number among those of a seed.
type sample struct {
	number  int
	weights map[string][]float32
}

// write audits and writes adapters, and scores them on a split of the examples that they weren't generated from: it has to be another one
// than they were chosen by.
func (w *writer) write(ctx context.Context, all []sample, source string, split stats.Split) ([]Generated, error) {
	var novelty *generator.Novelty
	if len(w.g.Members()) >= 2 {
		var weights []map[string][]float32
		for _, s := range all {
			weights = append(weights, s.weights)
		}
		var err error
		if novelty, err = w.g.Audit(w.base, weights); err != nil {
			return nil, err
		}
	}
	var out []Generated
	for i, s := range all {
		r := Generated{
			Dir: w.opt.Out, Describe: w.opt.Describe, Examples: w.examples, Seed: w.opt.Seed, Number: s.number, Source: source, Distance: w.distance,
		}
		if len(all) > 1 {
			r.Dir = filepath.Join(w.opt.Out, fmt.Sprintf("%03d", i))
		}
		if novelty != nil {
			r.Novelty, r.Zoo = &novelty.Samples[i], &novelty.ZooL2
		}
		v := w.g.Variant(w.base, s.weights)
		if w.scorer != nil {
			scores, err := w.scorer.Score(ctx, v, split)
			if err != nil {
				return nil, err
			}
			mean := scores.Mean()
			r.Accuracy, r.Held = &mean, len(scores.Items)
		}
		report, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Clean(r.Dir)), 0o755); err != nil {
			return nil, err
		}
		err = lora.Write(r.Dir, v, lora.WriteOptions{Base: w.opt.BaseName, Force: w.opt.Force, Extra: map[string][]byte{reportName: append(report, '\n')}})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New("nothing was generated")
	}
	return out, nil
}
