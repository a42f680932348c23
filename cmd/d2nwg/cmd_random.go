package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"

	"github.com/urfave/cli/v2"
)

func randomCommand() *cli.Command {
	return &cli.Command{
		Name:      "random",
		Usage:     "write a checkpoint of random weights, for tests and measurements",
		UsageText: "d2nwg random --shape SHAPE --out DIR [flags]",
		Description: describe("Writes a complete LLaMA checkpoint with random weights. The same flags give the same bytes.",
			"d2nwg random --shape tiny --out models/tiny", "ten thousand parameters",
			"d2nwg random --shape llama-3.2-1b --dtype bf16 --out models/random-1b --seed 7", "2.5 GB of LLaMA-3.2-1B's shape",
			"d2nwg random --shape tiny --shard-bytes 20000 --out models/sharded", "in several files with an index"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "shape", Value: "tiny", Usage: "architecture: " + strings.Join(shapeNames(), ", ")},
			&cli.StringFlag{Name: "dtype", Value: "bf16", Usage: "how weights are stored: f32, f16 or bf16"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "the folder to make; it must not exist"},
			&cli.Int64Flag{Name: "shard-bytes", Usage: "the most bytes of one weight file (0: 5 GB)"},
			&cli.Uint64Flag{Name: "seed", Usage: "the seed of every weight"},
		},
		Action: action(runRandom),
	}
}

// shapes are the architectures random knows. All of them get the tokenizer of the bundled model, whose 355 tokens are
// the first of any larger vocabulary, so that prompts can be scored.
var shapes = map[string]func() llm.Config{
	"llama-3.2-1b": llm.Llama32_1B,
	"110m":         func() llm.Config { return storiesConfig(768, 2048, 12) },
	"15m":          func() llm.Config { return storiesConfig(288, 768, 6) },
	"tiny":         tinyConfig,
}

// storiesConfig is the shape of a small LLaMA trained on stories: all heads have keys of their own.
func storiesConfig(hidden, intermediate, layers int) llm.Config {
	return llm.Config{
		VocabSize: 32000, HiddenSize: hidden, IntermediateSize: intermediate, Layers: layers, Heads: layers, KVHeads: layers,
		HeadDim: hidden / layers, MaxPositions: 2048, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true,
		BOS: 1, EOS: []int{2},
	}
}

// tinyConfig is a LLaMA of ten thousand parameters with the printable-ASCII vocabulary.
func tinyConfig() llm.Config {
	return llm.Config{
		VocabSize: 355, HiddenSize: 16, IntermediateSize: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 4,
		MaxPositions: 256, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2},
	}
}

func shapeNames() []string {
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func runRandom(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	shape, ok := shapes[s.String("shape")]
	if !ok {
		return usagef("no shape %q; use one of %s", s.String("shape"), strings.Join(shapeNames(), ", "))
	}
	dtypes := map[string]safetensors.DType{"f32": safetensors.F32, "f16": safetensors.F16, "bf16": safetensors.BF16}
	dtype, ok := dtypes[strings.ToLower(s.String("dtype"))]
	if !ok {
		return usagef("no dtype %q; use f32, f16 or bf16", s.String("dtype"))
	}
	cfg := shape()
	cfg.DType = dtype
	out := s.String("out")
	if err := llm.RandomCheckpoint(out, cfg, dtype, s.Int64("shard-bytes"), s.Uint64("seed")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "tokenizer.json"), tokenizer.NewASCII(), 0o644); err != nil {
		return fmt.Errorf("writing the tokenizer: %w", err)
	}
	result := struct {
		Dir        string `json:"dir"`
		Parameters int64  `json:"parameters"`
	}{out, cfg.Parameters()}
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d parameters\n", result.Dir, result.Parameters)
	})
}
