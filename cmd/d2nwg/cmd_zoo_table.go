package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/zoo"

	"github.com/urfave/cli/v2"
)

func zooTableCommand() *cli.Command {
	return &cli.Command{
		Name: "table", Usage: "measure a generator beside every baseline", ArgsUsage: "DIR", UsageText: "d2nwg zoo table DIR --generator GENERATOR --out TABLE [flags]",
		Description: describe("On the held questions of every held-out task and of some training tasks: the base, the mean of all adapters, noise around\n"+
			"it, the adapter of the most similar task, generated adapters from the task's words, from a wording kept out of training,\n"+
			"from another task's words and from examples, and the oracle, an adapter trained on the task (zoo build --oracles). Writes\n"+
			"table.json and table.svg; interrupted, the same command continues.",
			"d2nwg zoo table zoos/mine --generator zoos/gen --out zoos/table", ""),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Value: "bundled", Usage: "checkpoint folder or address"},
			&cli.StringFlag{Name: "generator", Required: true, Usage: "folder of a trained generator"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "folder of the table"},
			&cli.IntFlag{Name: "training", Value: 60, Usage: "training tasks to measure"},
			&cli.IntFlag{Name: "items", Value: 100, Usage: "held questions of each task"},
			&cli.IntFlag{Name: "shots", Value: 16, Usage: "examples that an adapter is generated from"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the samples"},
			&cli.IntSliceFlag{Name: "few", Usage: "also fine-tune held-out tasks on so many examples, from zero, mean, nearest and generated starts (repeatable)"},
			&cli.IntFlag{Name: "few-steps", Value: 30, Usage: "steps of these fine-tunes"},
			&cli.Float64Flag{Name: "few-lr", Value: 0.006, Usage: "their learning rate"},
			&cli.IntFlag{Name: "length", Value: 32, Usage: "tokens of a row in them"},
			&cli.StringFlag{Name: "backend", Value: "go", Usage: "backend that samples: go, onnx, xla or auto"},
			&cli.StringFlag{Name: "train-backend", Value: "auto", Usage: "backend that fine-tunes"},
		},
		Action: action(runZooTable),
	}
}

func runZooTable(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	opt := zoo.TableOptions{
		Dir: args[0], Out: s.String("out"), TrainingTasks: s.Int("training"), Items: s.Int("items"), Shots: s.Int("shots"), Seed: s.Uint64("seed"),
		Progress: s.UI.Progress(),
	}
	if opt.TrainingTasks < 0 || opt.Items < 1 || opt.Shots < 0 {
		return usagef("--training and --shots must not be negative, --items must be at least 1")
	}
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return err
	}
	if opt.Generator, _, err = s.resolve(s.String("generator"), false); err != nil {
		return err
	}
	if opt.Backend, err = openBackend(ctx, s, s.String("backend")); err != nil {
		return err
	}
	if opt.FewShot.Shots = s.IntSlice("few"); len(opt.FewShot.Shots) > 0 {
		opt.FewShot.Steps, opt.FewShot.LearningRate = s.Int("few-steps"), s.Float64("few-lr")
		opt.FewShot.Rows, opt.FewShot.Length, opt.FewShot.Group = 4, s.Int("length"), 32
		if opt.Trainer, err = openBackend(ctx, s, s.String("train-backend")); err != nil {
			return err
		}
	}
	table, err := zoo.Measure(ctx, opt)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(table, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(opt.Out, "table.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := table.Plot(filepath.Join(opt.Out, "table")); err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(table, table.Write)
}
