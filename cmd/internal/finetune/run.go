package finetune

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/cmd/internal/ui"
	"d2nwg/eval"
	"d2nwg/hub"
	"d2nwg/internal/files"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/train"
)

// Result is what a fine-tune came to.
type Result struct {
	Dir     string  `json:"dir"`
	Kind    string  `json:"kind"`    // "adapter" or "checkpoint"
	Trained int64   `json:"trained"` // parameters
	Steps   int     `json:"steps"`   // taken
	Best    int     `json:"best"`    // steps after which the parameters were that are kept
	Loss    float64 `json:"loss"`    // of the last step, in nats per answer token
	Held    *Held   `json:"held,omitempty"`
}

// Held compares the start with the result on the held-out items. The result was chosen by their loss, so that its
// scores are a little too good; nothing is claimed from them.
type Held struct {
	Items      int     `json:"items"`
	LossBefore float64 `json:"loss_before"` // nats per answer token
	Loss       float64 `json:"loss"`
	Metric     string  `json:"metric"` // accuracy or bits_per_byte
	Before     float64 `json:"before"`
	After      float64 `json:"after"`
}

// Run trains, writes and scores. Killed at any moment, the same job continues; done, it returns the same result again.
func (j *Job) Run(ctx context.Context) (*Result, error) {
	done, err := j.begin()
	if done != nil || err != nil {
		return done, err
	}
	if n := j.data.seen(); n > 0 && j.opt.Warn != nil {
		j.opt.Warn("%d of %d held-out items are trained on, too: they don't tell when to stop", n, j.data.held.Items(heldSplit))
	}
	v, log, err := j.train(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.write(v); err != nil {
		return nil, err
	}
	if err := j.plot(log); err != nil {
		return nil, err
	}
	plan := j.Plan()
	result := &Result{
		Dir: filepath.Clean(j.opt.Out), Kind: plan.Kind, Trained: plan.Trained,
		Steps: len(log.Loss), Best: len(log.Loss), Loss: log.Loss[len(log.Loss)-1][0],
	}
	if j.data.held != nil {
		result.Best = log.Best[0]
		if result.Held, err = j.score(ctx, v, log); err != nil {
			return nil, err
		}
	}
	raw, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := files.Write(j.statePath(resultFile), append(raw, '\n')); err != nil {
		return nil, err
	}
	return result, os.RemoveAll(j.statePath(trainDir))
}

// train returns the trained variant of the base.
func (j *Job) train(ctx context.Context) (*llm.Variant, train.Log, error) {
	backend, err := j.opt.Backend(ctx, j.Recipe.Backend)
	if err != nil {
		return nil, train.Log{}, err
	}
	metrics, err := ui.OpenMetrics(j.statePath(MetricsFile))
	if err != nil {
		return nil, train.Log{}, err
	}
	defer metrics.Close()
	opt := pipeline.TrainOptions(j.Recipe.Train)
	opt.Backend, opt.StateDir = backend, j.statePath(trainDir)
	opt.Progress = ui.Tee(j.opt.Progress, metrics.Record)
	opt.Seed = pipeline.Seed(j.Recipe.Seed, "A", 0)
	if a := j.Recipe.LoRA.SharedA; a != nil {
		opt.Seed = *a
	}
	if j.data.held != nil {
		opt.Validate = &train.Validation{
			Every: j.Recipe.Stop.Every, Patience: j.Recipe.Stop.Patience,
			Data: []train.Data{j.data.rows}, Batches: j.data.rows.Batches(),
		}
	}
	if j.Recipe.Full {
		return j.trainFull(ctx, opt)
	}
	variants, log, err := train.Adapters(ctx, j.base, []train.Data{j.data.train}, j.lr, opt)
	if err != nil {
		return nil, log, err
	}
	return variants[0], log, nil
}

func (j *Job) trainFull(ctx context.Context, opt train.Options) (*llm.Variant, train.Log, error) {
	init := train.Weights{}
	for _, s := range j.base.Config.TensorShapes() {
		values, err := j.start.Weights(s.Name)
		if err != nil {
			return nil, train.Log{}, err
		}
		init[s.Name] = values
	}
	weights, log, err := train.Full(ctx, init, j.base.Config, j.data.train, opt)
	if err != nil {
		return nil, log, err
	}
	return &llm.Variant{Base: j.base, Replace: weights}, log, nil
}

// write puts the result at Out. What stands there already is this job's own, or was to be replaced.
func (j *Job) write(v *llm.Variant) error {
	text, err := recipe.Commented("The recipe that made this, complete. d2nwg finetune --recipe recipe.yaml repeats it.", j.Recipe)
	if err != nil {
		return err
	}
	extra := map[string][]byte{recipeFile: text}
	if j.Recipe.Full {
		return v.Write(j.opt.Out, llm.WriteOptions{Extra: extra, Force: true, Progress: j.opt.Progress})
	}
	return lora.Write(j.opt.Out, v, lora.WriteOptions{Base: baseName(j.Recipe.Base), Extra: extra, Force: true})
}

// baseName is what PEFT calls the base: a hub's org/name, or the folder.
func baseName(base string) string {
	if base == recipe.Bundled {
		return ""
	}
	if a, err := hub.Parse(base); err == nil {
		return a.Repo
	}
	return base
}

// score measures the start and the result on the held-out items.
func (j *Job) score(ctx context.Context, v *llm.Variant, log train.Log) (*Held, error) {
	model, err := engine.New(j.base, engine.Options{})
	if err != nil {
		return nil, err
	}
	scorer, err := eval.NewScorer(model, j.tok, j.data.held, eval.Options{})
	if err != nil {
		return nil, err
	}
	h := &Held{Items: scorer.Items(heldSplit), LossBefore: log.Held[0][0], Loss: log.Held[0][0], Metric: "accuracy"}
	for _, row := range log.Held {
		h.Loss = min(h.Loss, row[0])
	}
	before, err := scorer.Score(ctx, j.start, heldSplit)
	if err != nil {
		return nil, err
	}
	after, err := scorer.Score(ctx, v, heldSplit)
	if err != nil {
		return nil, err
	}
	h.Before, h.After = before.Mean(), after.Mean()
	if scorer.Metric() == eval.BitsPerByte {
		h.Metric, h.Before, h.After = eval.BitsPerByte, -h.Before, -h.After
	}
	return h, nil
}

// plot draws the losses.
func (j *Job) plot(log train.Log) error {
	series := []ui.Series{{Name: "training"}}
	for i, row := range log.Loss {
		series[0].Points = append(series[0].Points, ui.Point{X: float64(i), Y: row[0]})
	}
	if j.data.held != nil {
		held := ui.Series{Name: "held out"}
		for k, row := range log.Held {
			held.Points = append(held.Points, ui.Point{X: float64(log.HeldAt[k]), Y: row[0]})
		}
		series = append(series, held)
	}
	return ui.SaveLines(j.statePath(PlotBase), "Loss of the fine-tune", "step", "nats per token", series)
}
