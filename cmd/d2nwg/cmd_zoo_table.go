package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"

	"d2nwg/cmd/internal/zoo"
	"d2nwg/internal/files"

	"github.com/urfave/cli/v2"
)

const tableSources = "On the held questions of every held-out task and of some training tasks: the base, the mean of all adapters, noise around\n" +
	"it, one adapter trained on all training tasks, the adapter of the most similar task, generated adapters from the task's words,\n" +
	"from a wording kept out of training, from another task's words and from examples, and the oracle, an adapter trained on the\n" +
	"task (zoo build --oracles)."

// tableFlags are what zoo table and zoo study share.
func tableFlags() []cli.Flag {
	return []cli.Flag{
		zooBase(),
		&cli.IntFlag{Name: "training", Value: 60, Usage: "training tasks to measure"},
		&cli.IntFlag{Name: "items", Value: 100, Usage: "held questions of each task"},
		&cli.IntFlag{Name: "shots", Value: 16, Usage: "examples that an adapter is generated from"},
		&cli.IntSliceFlag{Name: "few", Usage: "also fine-tune held-out tasks on so many examples, from zero, mean, nearest and generated starts (repeatable)"},
		&cli.IntFlag{Name: "few-steps", Value: 30, Usage: "steps of these fine-tunes"},
		&cli.IntSliceFlag{Name: "curve", Usage: "also fine-tune so many steps on all examples, to see when the oracle is reached (repeatable)"},
		&cli.IntFlag{Name: "curve-tasks", Value: 16, Usage: "tasks of each held-out split that this is done with (0: all)"},
		&cli.Float64Flag{Name: "tune-lr", Value: 0.006, Usage: "learning rate of these fine-tunes"},
		&cli.IntFlag{Name: "length", Value: 32, Usage: "tokens of a row in training"},
		&cli.StringFlag{Name: "backend", Value: "go", Usage: "backend that samples: go, onnx, xla or auto"},
		&cli.StringFlag{Name: "train-backend", Value: "auto", Usage: "backend that trains"},
	}
}

func zooTableCommand() *cli.Command {
	return &cli.Command{
		Name: "table", Usage: "measure a generator beside every baseline", ArgsUsage: "DIR", UsageText: "d2nwg zoo table DIR --generator GENERATOR --out TABLE [flags]",
		Description: describe(tableSources+" Writes table.json and table.svg; interrupted, the same\ncommand continues.",
			"d2nwg zoo table zoos/mine --generator zoos/gen --out zoos/table", "",
			"d2nwg zoo table zoos/mine --generator zoos/gen --out zoos/table --few 4 --few 16", "and as starts of short fine-tunes"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "generator", Required: true, Usage: "folder of a trained generator"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "folder of the table"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the samples"},
		}, tableFlags()...),
		Action: action(runZooTable),
	}
}

// tableOptions reads the flags of tableFlags.
func tableOptions(ctx context.Context, s *session) (zoo.TableOptions, error) {
	opt := zoo.TableOptions{
		TrainingTasks: s.Int("training"), Items: s.Int("items"), Shots: s.Int("shots"), Sources: zoo.Sources, Progress: s.UI.Progress(),
		Tune: zoo.TuneOptions{PerSplit: s.Int("curve-tasks"), LearningRate: s.Float64("tune-lr"), Rows: 4, Length: s.Int("length"), Group: 32},
	}
	for _, k := range s.IntSlice("few") {
		opt.Tune.Tunes = append(opt.Tune.Tunes, zoo.Tune{Shots: k, Steps: s.Int("few-steps")})
	}
	for _, n := range s.IntSlice("curve") {
		opt.Tune.Tunes = append(opt.Tune.Tunes, zoo.Tune{Steps: n})
	}
	bad := slices.ContainsFunc(opt.Tune.Tunes, func(t zoo.Tune) bool { return t.Shots < 0 || t.Steps < 1 }) || slices.Contains(s.IntSlice("few"), 0)
	if bad || min(opt.TrainingTasks, opt.Shots, opt.Tune.PerSplit) < 0 || min(opt.Items, opt.Tune.Length) < 1 {
		return opt, usagef("--training, --shots and --curve-tasks must not be negative; --items, --length, --few, --few-steps and --curve must be at least 1")
	}
	var err error
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return opt, err
	}
	if opt.Backend, err = openBackend(ctx, s, s.String("backend")); err != nil {
		return opt, err
	}
	opt.Trainer, err = openBackend(ctx, s, s.String("train-backend"))
	return opt, err
}

func runZooTable(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	opt, err := tableOptions(ctx, s)
	if err != nil {
		return err
	}
	opt.Dir, opt.Out, opt.Seed = args[0], s.String("out"), s.Uint64("seed")
	opt.Multitask = filepath.Join(opt.Out, "multitask")
	if opt.Generator, _, err = s.resolve(s.String("generator"), false); err != nil {
		return err
	}
	table, err := zoo.Measure(ctx, opt)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(table, "", " ")
	if err != nil {
		return err
	}
	if err := files.Write(filepath.Join(opt.Out, "table.json"), append(data, '\n')); err != nil {
		return err
	}
	if err := table.Plot(filepath.Join(opt.Out, "table")); err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(table, table.Write)
}

func zooStudyCommand() *cli.Command {
	return &cli.Command{
		Name: "study", Usage: "train generators and measure them beside every baseline", ArgsUsage: "DIR", UsageText: "d2nwg zoo study DIR --out STUDY [flags]",
		Description: describe("Trains a generator for every seed, fills the table of all baselines, and sums it up over the seeds. "+tableSources+"\n"+
			"Writes study.md, study.json and plots; interrupted, the same command continues.",
			"d2nwg zoo study zoos/mine --out runs/study --seeds 3", "",
			"d2nwg zoo study zoos/mine --out runs/study --few 16 --curve 10 --curve 40 --breadth 100", "with short fine-tunes, and a generator of 100 tasks"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "out", Required: true, Usage: "folder of the study"},
			&cli.IntFlag{Name: "seeds", Value: 3, Usage: "generators that learn from all training tasks"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the first one"},
			&cli.IntSliceFlag{Name: "breadth", Usage: "also a generator that starts from nothing, of so many training tasks, evenly over the index (repeatable)"},
			&cli.IntFlag{Name: "tune-seeds", Value: 1, Usage: "seeds whose generators are also starts of fine-tunes"},
		}, append(learnFlags(), tableFlags()...)...),
		Action: action(runZooStudy),
	}
}

func runZooStudy(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	opt := zoo.StudyOptions{Start: s.String("start"), Seeds: s.Int("seeds"), Breadths: s.IntSlice("breadth"), TuneSeeds: s.Int("tune-seeds")}
	if opt.Seeds < 1 || opt.TuneSeeds < 0 || slices.ContainsFunc(opt.Breadths, func(n int) bool { return n < 2 }) {
		return usagef("--seeds must be at least 1, --breadth at least 2, --tune-seeds not negative")
	}
	if opt.Config, err = learnConfig(s); err != nil {
		return err
	}
	if opt.Table, err = tableOptions(ctx, s); err != nil {
		return err
	}
	opt.Table.Dir, opt.Table.Out = args[0], s.String("out")
	study, err := zoo.RunStudy(ctx, opt)
	if err != nil {
		return err
	}
	if err := study.Save(opt.Table.Out); err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(study, study.Write)
}
