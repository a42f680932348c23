package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/cmd/internal/ui"
	"d2nwg/cmd/internal/zoo"
	"d2nwg/eval/procedural"
	"d2nwg/eval/traindata"
	"d2nwg/generator/adapters"
	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
	"d2nwg/safetensors"

	"github.com/urfave/cli/v2"
)

func pretrainCommand() *cli.Command {
	return &cli.Command{
		Name:      "pretrain",
		Usage:     "train a small LLaMA on the procedural training tasks",
		UsageText: "d2nwg pretrain --recipe FILE --out DIR",
		Description: describe("Trains the kind of base model that ships with d2nwg: first on both prompt forms of the 41 training tasks, on the\n"+
			"training cut of their inputs; then, if the recipe says so, together with adapters made from the descriptions of all training\n"+
			"tasks of the procedural space, so that adapters can steer it. Interrupted, the same command continues where it was.",
			"d2nwg pretrain --recipe recipes/base.yaml --out runs/base", "how the bundled model was made"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "recipe", Required: true, Usage: "the recipe (see recipes/base.yaml)"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "the checkpoint folder to make; the training's state and metrics stand in OUT.state, what generators can start from in OUT.start.safetensors"},
		},
		Action: action(runPretrain),
	}
}

func runPretrain(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	r, err := recipe.Load[recipe.Pretrain](s.String("recipe"))
	if err != nil {
		return err
	}
	out := filepath.Clean(s.String("out"))
	if _, err := os.Stat(out); err == nil {
		return usagef("%s exists; remove it or choose another --out", out)
	}
	state := out + ".state"
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	metrics, err := ui.OpenMetrics(filepath.Join(state, "metrics.jsonl"))
	if err != nil {
		return err
	}
	defer metrics.Close()
	backend, err := openBackend(ctx, s, r.Backend)
	if err != nil {
		return err
	}
	cfg, files, data, err := pretrainInputs(r, state)
	if err != nil {
		return err
	}
	opt := pipeline.TrainOptions(r.Train)
	opt.Backend, opt.StateDir = backend, filepath.Join(state, "train")
	opt.Progress = ui.Tee(s.UI.Progress(), metrics.Record)
	weights, log, err := train.Full(ctx, train.InitWeights(cfg, r.Seed), cfg, data, opt)
	if err != nil {
		return err
	}
	loss := log.Loss[len(log.Loss)-1][0]
	var start *adapters.Start
	if r.Cotrain.Steps > 0 {
		c := zoo.CotrainOptions{Recipe: r, Config: cfg, Files: files, Weights: weights, State: state, Backend: backend, Progress: opt.Progress}
		cotrained, err := zoo.Cotrain(ctx, c)
		if err != nil {
			return err
		}
		weights, loss, start = cotrained.Base, cotrained.Last["adapted"], cotrained.Start
	}
	if files["recipe.yaml"], err = recipe.Commented("The recipe of this model, complete: d2nwg pretrain --recipe recipe.yaml", r); err != nil {
		return err
	}
	get := func(name string) ([]float32, error) { return weights[name], nil }
	if err := llm.WriteCheckpoint(out, cfg, safetensors.BF16, get, files); err != nil {
		return err
	}
	if start != nil {
		if err := saveStart(start, out); err != nil {
			return err
		}
	}
	result := struct {
		Dir        string  `json:"dir"`
		Parameters int64   `json:"parameters"`
		Loss       float64 `json:"loss"`
	}{out, cfg.Parameters(), loss}
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d parameters, last loss %.4f nats per answer token\n", result.Dir, result.Parameters, result.Loss)
	})
}

// saveStart writes what generators of adapters for the base can begin with, beside its folder.
func saveStart(start *adapters.Start, dir string) error {
	base, err := llm.Open(dir)
	if err != nil {
		return err
	}
	defer base.Close()
	if start.Base, err = base.Hash(); err != nil {
		return err
	}
	return start.Save(dir + ".start.safetensors")
}

// pretrainInputs makes the model's configuration, the files beside its weights and its training data.
func pretrainInputs(r recipe.Pretrain, dir string) (llm.Config, map[string][]byte, train.Data, error) {
	none := func(err error) (llm.Config, map[string][]byte, train.Data, error) { return llm.Config{}, nil, nil, err }
	files := map[string][]byte{
		"tokenizer.json":         tokenizer.NewASCII(),
		"tokenizer_config.json":  []byte(asciiTokenizerConfig),
		"generation_config.json": []byte(asciiGenerationConfig),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return none(err)
		}
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return none(err)
	}
	training, err := procedural.NewTraining(procedural.TrainTasks()...)
	if err != nil {
		return none(err)
	}
	m := r.Model
	cfg := llm.Config{
		VocabSize: tok.VocabSize(), HiddenSize: m.Hidden, IntermediateSize: m.FFN, Layers: m.Layers,
		Heads: m.Heads, KVHeads: m.KVHeads, HeadDim: m.Hidden / max(m.Heads, 1), MaxPositions: m.Context,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, DType: safetensors.BF16,
	}
	cfg.BOS, _ = tok.BOS()
	end, _ := tok.EOS()
	cfg.EOS = []int{end}
	data := traindata.Procedural{
		Tokenizer: tok, Training: training, Bare: r.Data.Bare, Rows: r.Data.Rows, Len: r.Data.Length, Seed: r.Seed,
	}
	return cfg, files, data, cfg.Validate()
}

// openBackend opens a training backend and says what would make it faster.
func openBackend(ctx context.Context, s *session, name string) (*compute.Backend, error) {
	backend, err := compute.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	s.UI.Notef("backend %s: %s", backend.Name, backend.Why)
	if backend.Warning != "" {
		s.UI.Warnf("%s", backend.Warning)
	}
	return backend, nil
}

const asciiTokenizerConfig = `{
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": "<s>",
  "eos_token": "</s>",
  "unk_token": "<unk>",
  "clean_up_tokenization_spaces": false
}
`

const asciiGenerationConfig = `{
  "bos_token_id": 1,
  "eos_token_id": 2,
  "do_sample": false
}
`
