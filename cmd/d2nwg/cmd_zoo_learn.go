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
		&cli.StringFlag{Name: "start", DefaultText: "the bundled base's, for its zoos", Usage: "file that pretrain wrote beside the base: begin with the encoder and decoder that the base was trained with; none: begin from nothing"},
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
	opt := zoo.LearnOptions{Dir: args[0], Out: s.String("out"), Start: s.String("start"), Tasks: s.Int("tasks"), Force: s.Bool("force"), Progress: s.UI.Progress()}
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

func zooAuditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "tell whether a generator memorized its zoo", ArgsUsage: "GENERATOR", UsageText: "d2nwg zoo audit GENERATOR [flags]",
		Description: describe("Samples from the words of tasks whose adapters the generator learned from and compares what comes with every trained adapter, by\n"+
			"ΔW. A sample is a copy where it lies nearer to one than half the distance that nearly all of them keep from each other; of more\n"+
			"than a tenth copies the generator counts as memorized, and the exit code is 3.",
			"d2nwg zoo audit zoos/gen", "", "d2nwg zoo audit zoos/gen --n 256 --json", "more samples, as JSON"),
		Flags: []cli.Flag{
			zooBase(),
			&cli.IntFlag{Name: "n", Value: 64, Usage: "samples"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "same seed, same samples"},
			&cli.StringFlag{Name: "backend", Value: "go", Usage: "go, onnx, xla or auto"},
		},
		Action: action(runZooAudit),
	}
}

func runZooAudit(ctx context.Context, s *session) error {
	args, err := s.args("GENERATOR")
	if err != nil {
		return err
	}
	opt := zoo.AuditOptions{Samples: s.Int("n"), Seed: s.Uint64("seed")}
	if opt.Samples < 1 {
		return usagef("--n must be at least 1, is %d", opt.Samples)
	}
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return err
	}
	if opt.Generator, _, err = s.resolve(args[0], false); err != nil {
		return err
	}
	if opt.Backend, err = openBackend(ctx, s, s.String("backend")); err != nil {
		return err
	}
	a, err := zoo.RunAudit(ctx, opt)
	if err != nil {
		return err
	}
	s.UI.Close()
	err = s.UI.Result(a, func(w io.Writer) {
		fmt.Fprintf(w, "%d of %d samples copy one of the %d trained adapters; distance to the nearest one %.3f (among trained ones %.3f), medians\n",
			a.Copies, len(a.Samples), a.Adapters, a.Median, a.ZooL2.Median)
	})
	if err == nil && a.Memorized {
		return fmt.Errorf("%w: the generator repeats its zoo; train it on more tasks", errPartial)
	}
	return err
}
