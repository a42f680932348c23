package zoo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval/procedural"
	"d2nwg/eval/traindata"
	"d2nwg/generator/adapters"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// CotrainOptions say what a pretrained model is trained further with.
type CotrainOptions struct {
	Recipe   recipe.Pretrain
	Config   llm.Config
	Files    map[string][]byte // beside the weights: the tokenizer
	Weights  map[string][]float32
	State    string // folder
	Backend  *compute.Backend
	Progress progress.Func
}

// Cotrain trains a model together with the adapters of the procedural space's training tasks. Killed, the same call continues.
func Cotrain(ctx context.Context, opt CotrainOptions) (*adapters.Cotrained, error) {
	dir := filepath.Join(opt.State, "pretrained")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	get := func(name string) ([]float32, error) { return opt.Weights[name], nil }
	if err := llm.WriteCheckpoint(dir, opt.Config, safetensors.BF16, get, opt.Files); err != nil {
		return nil, err
	}
	base, err := llm.Open(dir)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return nil, err
	}
	r, seed := opt.Recipe.Cotrain, opt.Recipe.Seed
	cfg, err := adapters.Default(adapters.Modern)
	if err != nil {
		return nil, err
	}
	cfg.Seed, cfg.Steps, cfg.Warmup, cfg.LearningRate = seed, r.Steps, r.Warmup, r.LearningRate
	cfg.Groups, cfg.Rows, cfg.Length = r.Groups, r.Rows, r.Length
	c := adapters.Cotraining{Set: adapters.Set{Base: base, Rank: r.Rank, Seed: seed}, Rows: r.PlainRows, Length: opt.Recipe.Data.Length, Weight: r.PlainWeight}
	tasks := slices.DeleteFunc(procedural.Space(), func(t procedural.Task) bool { return t.Split != procedural.TrainSplit })
	bySteps := map[int]int{}
	for _, t := range tasks {
		bySteps[t.Steps()]++
	}
	var data []traindata.Procedural
	for _, t := range tasks {
		if t.Steps() > len(r.Shares) {
			return nil, fmt.Errorf("the recipe's cotrain.shares are %v; there are tasks of %d steps", r.Shares, t.Steps())
		}
		c.Shares = append(c.Shares, r.Shares[t.Steps()-1]/float64(bySteps[t.Steps()]))
		c.Set.Tasks = append(c.Set.Tasks, adapters.Task{Name: t.Name, Descriptions: t.Descriptions()})
		training, err := procedural.NewTraining(t)
		if err != nil {
			return nil, err
		}
		data = append(data, traindata.Procedural{
			Tokenizer: tok, Training: training, Bare: 1, Rows: r.Rows, Len: r.Length, Seed: pipeline.Seed(seed, "adapters of "+t.Name, 0),
		})
	}
	c.Set.Batch = func(task, step int) (*pack.Batch, error) { return data[task].Batch(step) }
	plain, err := procedural.NewTraining(procedural.TrainTasks()...)
	if err != nil {
		return nil, err
	}
	c.Plain = traindata.Procedural{
		Tokenizer: tok, Training: plain, Bare: opt.Recipe.Data.Bare, Rows: r.PlainRows, Len: opt.Recipe.Data.Length, Seed: pipeline.Seed(seed, "plain", 0),
	}.Batch
	return c.Train(ctx, cfg, adapters.TrainOptions{Backend: opt.Backend, Progress: opt.Progress, State: func(stage string) *optim.Checkpoints {
		return &optim.Checkpoints{Path: filepath.Join(opt.State, stage+".state.safetensors"), Key: fmt.Sprintf("%x", opt.Recipe), Every: r.SaveEvery}
	}})
}
