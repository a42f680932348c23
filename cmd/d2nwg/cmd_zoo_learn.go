package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"d2nwg/cmd/internal/zoo"
	"d2nwg/generator/adapters"

	"github.com/urfave/cli/v2"
)

// learnFlags say what generator is trained, for zoo learn and zoo study.
func learnFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "preset", Value: adapters.Modern, Usage: "modern or paper"},
		&cli.IntFlag{Name: "steps", DefaultText: "the preset's", Usage: "optimizer steps of encoders and decoder"},
		&cli.IntFlag{Name: "diffusion-steps", DefaultText: "the preset's", Usage: "optimizer steps of the diffusion"},
		&cli.Float64Flag{Name: "lr", DefaultText: "the preset's", Usage: "peak learning rate"},
	}
}

// learnConfig reads the flags of learnFlags, seed and length.
func learnConfig(s *session) (adapters.Config, error) {
	cfg, err := adapters.Default(s.String("preset"))
	if err != nil {
		return cfg, usagef("%v", err)
	}
	cfg.Seed, cfg.Length = s.Uint64("seed"), s.Int("length")
	for flag, to := range map[string]*int{"steps": &cfg.Steps, "diffusion-steps": &cfg.Diffusion.Steps} {
		if s.IsSet(flag) {
			*to = s.Int(flag)
		}
	}
	if s.IsSet("lr") {
		cfg.LearningRate = s.Float64("lr")
	}
	if err := cfg.Check(); err != nil {
		return cfg, usagef("%v", err)
	}
	return cfg, nil
}

func learnCommand() *cli.Command {
	return &cli.Command{
		Name: "learn", Usage: "train the generator of a zoo's adapters", ArgsUsage: "DIR", UsageText: "d2nwg zoo learn DIR --out GENERATOR [flags]",
		Description: describe("Learns from every training task: its descriptions, its questions through the frozen base, and its adapters. Interrupted,\n"+
			"the same command continues.",
			"d2nwg zoo learn zoos/mine --out zoos/gen", "",
			"d2nwg zoo learn zoos/mine --out zoos/classic --preset paper", "reconstruction and alignment only, as in the paper"),
		Flags: append([]cli.Flag{
			zooBase(),
			&cli.StringFlag{Name: "out", Required: true, Usage: "the generator's folder"},
			&cli.IntFlag{Name: "tasks", Usage: "most training tasks to learn from, evenly over the index (0: all)"},
			&cli.IntFlag{Name: "length", Value: 32, Usage: "tokens of a row of questions; longer questions are left out"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of everything"},
			&cli.StringFlag{Name: "backend", Value: "auto", Usage: "training backend: auto, go, onnx or xla"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "replace a generator in OUT"},
		}, learnFlags()...),
		Action: action(runZooLearn),
	}
}

func runZooLearn(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	opt := zoo.LearnOptions{Dir: args[0], Out: s.String("out"), Tasks: s.Int("tasks"), Force: s.Bool("force"), Progress: s.UI.Progress()}
	if opt.Tasks < 0 || opt.Tasks == 1 {
		return usagef("--tasks must be at least 2, or 0 for all")
	}
	if opt.Config, err = learnConfig(s); err != nil {
		return err
	}
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return err
	}
	if opt.Backend, err = openBackend(ctx, s, s.String("backend")); err != nil {
		return err
	}
	sum, err := zoo.Learn(ctx, opt)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%v", err)
	}
	if err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(sum, func(w io.Writer) {
		fmt.Fprintf(w, "%s: learned from %d tasks and %d adapters; loss through the base %.4f nats a token, reconstruction error %.3f\n",
			opt.Out, sum.Tasks, sum.Adapters, sum.Functional, sum.Reconstruction)
	})
}
