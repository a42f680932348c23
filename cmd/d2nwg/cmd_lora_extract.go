package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"d2nwg/cmd/internal/ui"
	"d2nwg/llm"
	"d2nwg/llm/lora"

	"github.com/urfave/cli/v2"
)

func loraExtractCommand() *cli.Command {
	return &cli.Command{
		Name:      "extract",
		Usage:     "write the adapter that turns one checkpoint into another, as near as its rank allows",
		UsageText: "d2nwg lora extract BASE TUNED --rank R --out DIR [flags]",
		Description: describe(`For every matrix that differs it finds the update of rank R nearest to the difference (truncated singular value
decomposition); norms that differ are stored whole (modules_to_save). It tells how much of each difference is kept:
all of it where TUNED is a merged adapter of no larger rank.`,
			"d2nwg lora extract models/base models/tuned --rank 16 --out adapters/tuned", "every tensor that differs",
			"d2nwg lora extract models/base models/tuned --rank 16 --ignore embed_tokens --ignore lm_head --out adapters/tuned", "but for the embedding and the head",
			"d2nwg lora extract hf://org/base hf://org/tuned --rank 64 --whole embed_tokens --dtype bf16 --out adapters/tuned", "the embedding whole"),
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "rank", Required: true, Usage: "rank of every update"},
			&cli.StringSliceFlag{Name: "whole", Usage: "module or tensor to store whole (repeatable)"},
			&cli.StringSliceFlag{Name: "ignore", Usage: "module or tensor to leave as the base has it (repeatable)"},
		}, adapterOutputs()...),
		Action: action(runLoraExtract),
	}
}

// extraction is the result of lora extract.
type extraction struct {
	Dir     string           `json:"dir"`
	Rank    int              `json:"rank"`
	Kept    float64          `json:"kept"` // share of the squared norm of the whole difference
	Tensors []lora.Extracted `json:"tensors"`
}

func runLoraExtract(ctx context.Context, s *session) error {
	args, err := s.args("BASE", "TUNED")
	if err != nil {
		return err
	}
	if s.Int("rank") < 1 {
		return usagef("--rank is 1 or more")
	}
	options, err := s.adapterOptions(args[0])
	if err != nil {
		return err
	}
	base, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer base.Close()
	tuned, err := s.openCheckpoint(args[1])
	if err != nil {
		return err
	}
	defer tuned.Close()
	result := extraction{Dir: s.String("out"), Rank: s.Int("rank")}
	v, tensors, err := lora.Extract(ctx, base, tuned, lora.ExtractOptions{
		Rank: result.Rank, Whole: s.StringSlice("whole"), Ignore: s.StringSlice("ignore"), Progress: s.UI.Progress()})
	if err != nil {
		return err
	}
	if err := lora.Write(result.Dir, v, options); err != nil {
		return err
	}
	result.Tensors = tensors
	all := 0.0
	for _, e := range tensors {
		result.Kept += e.Kept * e.Norm * e.Norm
		all += e.Norm * e.Norm
	}
	result.Kept /= all
	s.UI.Close()
	return s.UI.Result(result, result.write)
}

// write prints one line for the tensors of one module and kind.
func (x extraction) write(w io.Writer) {
	type line struct{ module, kind string }
	type sum struct {
		count               int
		squares, kept, less float64
	}
	var order []line
	sums := map[line]*sum{}
	for _, e := range x.Tensors {
		module, _, _ := llm.ParseName(e.Tensor)
		key := line{module, e.Kind}
		if sums[key] == nil {
			order, sums[key] = append(order, key), &sum{less: 1}
		}
		s := sums[key]
		s.count++
		s.squares += e.Norm * e.Norm
		s.kept += e.Kept * e.Norm * e.Norm
		s.less = min(s.less, e.Kept)
	}
	t := ui.NewTable("module", "count", "kind", "‖ΔW‖ of all", "kept", "least kept")
	for _, key := range order {
		s := sums[key]
		t.Row(key.module, s.count, key.kind, math.Sqrt(s.squares), s.kept/s.squares, s.less)
	}
	t.Write(w)
	fmt.Fprintf(w, "\n%s: rank %d, %.4g of the difference's squared norm\n", x.Dir, x.Rank, x.Kept)
}
