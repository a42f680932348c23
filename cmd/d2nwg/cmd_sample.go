package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func sampleCommand() *cli.Command {
	return &cli.Command{
		Name:      "sample",
		Usage:     "draw new weights from a trained generator",
		UsageText: "d2nwg sample --out DIR [flags] RUN",
		Description: describe("RUN is the folder of a train or improve run. Samples are variants (what differs from the base), or whole\n"+
			"checkpoints with --checkpoint. Nothing is scored: see improve for verified weights.",
			"d2nwg sample runs/demo --out samples --n 4", "for the run's own description",
			`d2nwg sample runs/demo --out samples --describe "Add the two numbers."`, "for other words",
			"d2nwg sample runs/1b --out samples --layer 3 --checkpoint", "one layer, as a checkpoint"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Required: true, Usage: "the folder to make; sample i stands in OUT/i"},
			&cli.StringFlag{Name: "describe", Usage: "what is wanted, in words (default: the run's target)"},
			&cli.IntFlag{Name: "n", Value: 1, Usage: "how many samples"},
			&cli.Uint64Flag{Name: "seed", Usage: "same seed, same samples"},
			&cli.IntFlag{Name: "layer", Value: -1, Usage: "sample one layer only (-1: all)"},
			&cli.BoolFlag{Name: "checkpoint", DisableDefaultText: true, Usage: "write whole checkpoints"},
		},
		Action: action(runSample),
	}
}

func runSample(ctx context.Context, s *session) error {
	args, err := s.args("RUN")
	if err != nil {
		return err
	}
	if s.Int("n") < 1 {
		return usagef("--n is %d; it has to be at least 1", s.Int("n"))
	}
	if s.Int("layer") < -1 {
		return usagef("--layer is %d; it has to be at least -1", s.Int("layer"))
	}
	dir, err := hub.Parse(args[0])
	if err != nil {
		return err
	}
	if dir.Remote() {
		return usagef("a run is written to while it is sampled: bring it first, d2nwg pull %s --out DIR", args[0])
	}
	r, err := pipeline.Resume(dir.Repo, runOptions(s))
	if err != nil {
		return err
	}
	defer r.Close()
	dirs, err := r.Sample(ctx, pipeline.SampleOptions{
		Describe: s.String("describe"), Count: s.Int("n"), Seed: s.Uint64("seed"), Layer: s.Int("layer"),
		Out: s.String("out"), Checkpoint: s.Bool("checkpoint"),
	})
	if err != nil {
		return err
	}
	return s.UI.Result(dirs, func(w io.Writer) {
		for _, d := range dirs {
			fmt.Fprintln(w, d)
		}
	})
}
