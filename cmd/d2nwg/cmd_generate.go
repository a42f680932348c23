package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/zoo"

	"github.com/urfave/cli/v2"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "make the LoRA adapter of a task from a description or examples",
		UsageText: "d2nwg generate --generator DIR (--describe TEXT | --examples FILE.jsonl) --out DIR [flags]",
		Description: describe("The generator is what 'd2nwg zoo learn' trained; the result is a PEFT adapter of the same base, with generated.json\n"+
			"beside it: how far the description is from everything trained, and how near the adapter is to a trained one. Where the\n"+
			"zoo has nothing that resembles the description, the adapter of the most similar task or the mean of all is written, and\n"+
			"a line says so. Of 40 examples or more, a tenth is kept aside and tells each sample's accuracy. With --best the samples are\n"+
			"ranked on that tenth beside noise, the mean of the trained adapters, the nearest and interpolations; the best one is written\n"+
			"if it passes a gate on another tenth and a last one, opened once, shows that it is better than the base beyond doubt.\n"+
			"Without a verified gain nothing is written, and the exit code is 4.",
			"d2nwg generate --generator zoos/gen --describe \"Write the letters of the word backwards.\" --out adapters/reverse", "from words",
			"d2nwg generate --generator zoos/gen --examples few.jsonl --n 8 --out adapters/mine", "eight samples from examples",
			"d2nwg generate --generator zoos/gen --examples many.jsonl --n 16 --best --out adapters/mine", "the best of sixteen, if it is good",
			"d2nwg eval bundled --adapter adapters/reverse --tasks reverse.jsonl --json", "its score"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Value: "bundled", Usage: "checkpoint folder or address"},
			&cli.StringFlag{Name: "generator", Required: true, Usage: "folder of a trained generator"},
			&cli.StringFlag{Name: "describe", Usage: "what the adapter should do, in words"},
			&cli.StringFlag{Name: "examples", Usage: "JSONL file of {\"prompt\",\"answer\"}, or its address"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "the adapter's folder; with --n above 1 the folder of OUT/000, OUT/001, …"},
			&cli.IntFlag{Name: "n", Value: 1, Usage: "samples"},
			&cli.BoolFlag{Name: "best", DisableDefaultText: true, Usage: "write the best of --n samples, if it is verified on the examples"},
			&cli.StringFlag{Name: "ledger", DefaultText: "ledger.jsonl beside OUT", Usage: "with --best: file that records every opening of a test split"},
			&cli.Float64Flag{Name: "guidance", DefaultText: "the generator's", Usage: "classifier-free guidance; 1 = the conditional model alone"},
			&cli.Float64Flag{Name: "temperature", DefaultText: "the generator's", Usage: "scale of the sampler's noise"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "same seed, same bytes"},
			&cli.StringFlag{Name: "far", Value: zoo.FarNearest, Usage: "what to do about a description unlike everything trained: nearest (fall back, saying so) or generate"},
			&cli.StringFlag{Name: "backend", Value: "go", Usage: "go, onnx, xla or auto"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "replace an adapter in OUT"},
		},
		Action: action(runGenerate),
	}
}

func runGenerate(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	switch {
	case s.String("describe") == "" && s.String("examples") == "":
		return usagef("generate needs --describe or --examples")
	case s.Int("n") < 1:
		return usagef("--n must be at least 1, is %d", s.Int("n"))
	case s.Bool("best") && s.String("examples") == "":
		return usagef("--best needs --examples to judge by")
	case s.String("far") != zoo.FarNearest && s.String("far") != zoo.FarGenerate:
		return usagef("--far is %s or %s, not %q", zoo.FarNearest, zoo.FarGenerate, s.String("far"))
	}
	opt := zoo.GenerateOptions{
		BaseName: s.String("base"), Out: s.String("out"), Describe: s.String("describe"), N: s.Int("n"), Seed: s.Uint64("seed"), Far: s.String("far"),
		Force: s.Bool("force"), Ledger: s.String("ledger"), Warn: s.UI.Warnf, Progress: s.UI.Progress(),
	}
	if opt.Ledger == "" {
		opt.Ledger = filepath.Join(filepath.Dir(filepath.Clean(opt.Out)), "ledger.jsonl")
	}
	var err error
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return err
	}
	if opt.Generator, _, err = s.resolve(s.String("generator"), false); err != nil {
		return err
	}
	if s.String("examples") != "" {
		if opt.Examples, _, err = s.resolve(s.String("examples"), false); err != nil {
			return err
		}
	}
	for flag, to := range map[string]**float64{"guidance": &opt.Sample.Guidance, "temperature": &opt.Sample.Temperature} {
		if s.IsSet(flag) {
			v := s.Float64(flag)
			if !(v >= 0) {
				return usagef("--%s must not be negative, is %g", flag, v)
			}
			*to = &v
		}
	}
	if opt.Backend, err = openBackend(ctx, s, s.String("backend")); err != nil {
		return err
	}
	if s.Bool("best") {
		return generateBest(ctx, s, opt)
	}
	all, err := zoo.Generate(ctx, opt)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%v", err)
	}
	if err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(all, func(w io.Writer) { writeGenerated(w, all) })
}

func generateBest(ctx context.Context, s *session, opt zoo.GenerateOptions) error {
	if err := os.MkdirAll(filepath.Dir(opt.Ledger), 0o755); err != nil {
		return err
	}
	best, err := zoo.GenerateBest(ctx, opt)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%v", err)
	}
	if err != nil {
		return err
	}
	s.UI.Close()
	err = s.UI.Result(best, func(w io.Writer) {
		writeReport(w, best.Report)
		writeGenerated(w, best.Written)
	})
	if err == nil && !best.Checkpoint.Verified {
		return errNoImprovement
	}
	return err
}

func writeGenerated(w io.Writer, all []zoo.Generated) {
	for _, g := range all {
		fmt.Fprintf(w, "%s: %s", g.Dir, g.Source)
		if g.Novelty != nil {
			fmt.Fprintf(w, ", nearest trained adapter %s (cosine %.2f)", g.Novelty.Nearest, g.Novelty.Cosine)
			if g.Novelty.Copy {
				fmt.Fprint(w, ", a copy of it")
			}
		}
		if g.Accuracy != nil {
			fmt.Fprintf(w, ", %.3f of %d examples kept aside", *g.Accuracy, g.Held)
		}
		fmt.Fprintln(w)
	}
}
