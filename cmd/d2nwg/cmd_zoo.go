package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/cmd/internal/zoo"
	zoos "d2nwg/generator/zoo"
	"d2nwg/internal/compute"
	"d2nwg/llm"

	"github.com/urfave/cli/v2"
)

func zooCommand() *cli.Command {
	base := func() *cli.StringFlag {
		return &cli.StringFlag{Name: "base", Value: "bundled", Usage: "checkpoint folder or address whose adapters these are"}
	}
	return &cli.Command{
		Name:      "zoo",
		Usage:     "train an adapter for each of many tasks: what a generator of adapters learns from",
		UsageText: "d2nwg zoo build|add|check|list|learn|table …",
		Description: describe("A zoo is a folder: index.json lists tasks, [{\"name\",\"split\",\"description\" or \"descriptions\"}], and NAME.jsonl holds each\n"+
			"one's questions, {\"prompt\",\"answer\"} a line. Adapters are trained for the tasks of the split \"train\".",
			"d2nwg zoo build zoos/mine", "an adapter for every training task of zoos/mine/index.json",
			"d2nwg zoo check zoos/mine", "duplicates, broken and useless members"),
		Subcommands: []*cli.Command{{
			Name: "build", Usage: "train and score the adapters of a folder of tasks", ArgsUsage: "DIR",
			UsageText: "d2nwg zoo build DIR [flags]",
			Description: describe("Many adapters train in one batch: the frozen base runs once for all of them. All share one frozen factor A, so that B\n"+
				"alone is stored. Interrupted, the same command continues. Questions are cut by hash into train 70 %, select 10 %,\n"+
				"confirm 10 % and test 10 %; adapters learn from the first part and are scored on the last.",
				"d2nwg zoo build zoos/mine --base models/m --seeds 2", "two adapters of every training task",
				"d2nwg zoo build zoos/mine --adapters 200 --oracles", "adapters for the first 200, and for the held-out tasks to measure against"),
			Flags: []cli.Flag{
				base(),
				&cli.IntFlag{Name: "adapters", Usage: "most training tasks that get adapters (0: all)"},
				&cli.IntFlag{Name: "seeds", Value: 1, Usage: "adapters of each task"},
				&cli.BoolFlag{Name: "oracles", DisableDefaultText: true, Usage: "adapters for held-out tasks too; a generator never learns from them"},
				&cli.IntFlag{Name: "rank", Value: 4, Usage: "of the adapters"},
				&cli.IntFlag{Name: "steps", Value: 150, Usage: "optimizer steps"},
				&cli.Float64Flag{Name: "lr", Value: 0.012, Usage: "peak learning rate"},
				&cli.IntFlag{Name: "rows", Value: 8, Usage: "rows of an adapter's batch"},
				&cli.IntFlag{Name: "length", Usage: "tokens of a row (0: what the longest question needs)"},
				&cli.IntFlag{Name: "group", Value: 32, Usage: "adapters in one batch"},
				&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "same seed, same bytes"},
				&cli.StringFlag{Name: "backend", Value: "auto", Usage: "training backend: auto, go, onnx or xla"},
				&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "start anew where the zoo was built with other settings"},
				&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "print what would be trained, and stop"},
			},
			Action: action(runZooBuild),
		}, {
			Name: "add", Usage: "import an adapter", ArgsUsage: "DIR ADAPTER", UsageText: "d2nwg zoo add DIR ADAPTER --name TASK [--description TEXT --data FILE.jsonl]",
			Description: describe("ADAPTER is a PEFT adapter or a saved variant of the base, a folder or an address. Of an adapter with factors A of its own\n"+
				"a generator learns the task alone.",
				"d2nwg zoo add zoos/mine hf://me/poems-lora --name poems --description \"Answer in rhyme.\" --data poems.jsonl", "with its task",
				"d2nwg zoo add zoos/mine adapters/sort --name sort", "one more adapter of a task that is there"),
			Flags: []cli.Flag{
				base(),
				&cli.StringFlag{Name: "name", Required: true, Usage: "of the adapter's task"},
				&cli.StringSliceFlag{Name: "description", Usage: "of the task, if the zoo doesn't have it (repeatable: paraphrases)"},
				&cli.StringFlag{Name: "data", Usage: "the task's questions, if the zoo doesn't have it"},
				&cli.StringFlag{Name: "split", Value: zoos.TrainSplit, Usage: "of the task: \"train\", or a name of held-out tasks"},
			},
			Action: action(runZooAdd),
		}, {
			Name: "check", Usage: "report duplicates, broken and useless members", ArgsUsage: "DIR", UsageText: "d2nwg zoo check DIR [--base BASE]",
			Description: describe("Exits 3 when a member is broken.", "d2nwg zoo check zoos/mine --json", "as JSON"),
			Flags:       []cli.Flag{base()},
			Action:      action(runZooCheck),
		}, {
			Name: "list", Usage: "list the members", ArgsUsage: "DIR", UsageText: "d2nwg zoo list DIR [--base BASE]",
			Description: describe("", "d2nwg zoo list zoos/mine", "tasks, scores, sizes"),
			Flags:       []cli.Flag{base()},
			Action:      action(runZooList),
		}, learnCommand(), zooTableCommand()},
	}
}

func runZooBuild(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	base, _, err := s.resolve(s.String("base"), true)
	if err != nil {
		return err
	}
	b, err := zoo.Open(zoo.Options{
		Dir: args[0], Base: base, Force: s.Bool("force"), Progress: s.UI.Progress(), Note: s.UI.Notef,
		Settings: zoo.Settings{
			Rank: s.Int("rank"), Seed: s.Uint64("seed"), Seeds: s.Int("seeds"), Adapters: s.Int("adapters"), Oracles: s.Bool("oracles"),
			Steps: s.Int("steps"), Warmup: min(10, s.Int("steps")), LearningRate: s.Float64("lr"), Rows: s.Int("rows"), Length: s.Int("length"), Group: s.Int("group"),
		},
		Backend: func(ctx context.Context) (*compute.Backend, error) { return openBackend(ctx, s, s.String("backend")) },
	})
	if err != nil {
		return err
	}
	defer b.Close()
	if s.Bool("dry-run") {
		p := b.Plan()
		return s.UI.Result(p, func(w io.Writer) {
			fmt.Fprintf(w, "%d tasks, %d of them to train on; %d adapters in %d batches, rows of %d tokens\n", p.Tasks, p.Training, p.Adapters, p.Batches, p.Length)
		})
	}
	sum, err := b.Build(ctx)
	if err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(sum, func(w io.Writer) {
		fmt.Fprintf(w, "%d adapters, %s of factors; accuracy %.3f on held questions, the base's %.3f\n", sum.Adapters, ui.Bytes(sum.Bytes), sum.Accuracy, sum.Base)
		if sum.Oracles > 0 {
			fmt.Fprintf(w, "held-out tasks' own adapters: %.3f\n", sum.Oracles)
		}
		if sum.Trained > 0 {
			fmt.Fprintf(w, "%.0f s, %.2f s an adapter\n", sum.Seconds, sum.Seconds/float64(sum.Trained))
		}
		if len(sum.Weak) > 0 {
			fmt.Fprintf(w, "below one half: %s\n", strings.Join(sum.Weak, " "))
		}
	})
}

func runZooAdd(ctx context.Context, s *session) error {
	args, err := s.args("DIR", "ADAPTER")
	if err != nil {
		return err
	}
	opt := zoo.AddOptions{
		Dir: args[0], From: args[1], Task: zoos.Task{Name: s.String("name"), Split: s.String("split"), Descriptions: s.StringSlice("description")},
	}
	for _, place := range []struct {
		to      *string
		address string
		model   bool
	}{{&opt.Base, s.String("base"), true}, {&opt.Adapter, args[1], true}, {&opt.Data, s.String("data"), false}} {
		if place.address == "" {
			continue
		}
		if *place.to, _, err = s.resolve(place.address, place.model); err != nil {
			return err
		}
	}
	m, err := zoo.Add(ctx, opt)
	if err != nil {
		return err
	}
	return s.UI.Result(m, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %.3f of %d held questions, the base's %.3f\n", m.Dir, m.Accuracy, m.N, m.Base)
	})
}

// openZoo opens the zoo of a command line with its base.
func openZoo(s *session) (*zoos.Zoo, *llm.Checkpoint, error) {
	args, err := s.args("DIR")
	if err != nil {
		return nil, nil, err
	}
	base, err := s.openCheckpoint(s.String("base"))
	if err != nil {
		return nil, nil, err
	}
	z, err := zoos.Open(args[0], base)
	if err != nil {
		_ = base.Close()
	}
	return z, base, err
}

func runZooCheck(_ context.Context, s *session) error {
	z, base, err := openZoo(s)
	if err != nil {
		return err
	}
	defer base.Close()
	found, err := z.Check((*llm.Variant).Hash)
	if err != nil {
		return err
	}
	broken := 0
	for _, f := range found {
		if f.Kind == zoos.Broken {
			broken++
		}
	}
	err = s.UI.Result(map[string]any{"members": len(z.Manifest.Members), "tasks": len(z.Tasks), "findings": append([]zoos.Finding{}, found...)}, func(w io.Writer) {
		for _, f := range found {
			fmt.Fprintf(w, "%-10s %s: %s\n", f.Kind, f.Member, f.What)
		}
		fmt.Fprintf(w, "%d members of %d tasks, %d findings\n", len(z.Manifest.Members), len(z.Tasks), len(found))
	})
	if err == nil && broken > 0 {
		err = fmt.Errorf("%w: %d members are broken", errPartial, broken)
	}
	return err
}

func runZooList(_ context.Context, s *session) error {
	z, base, err := openZoo(s)
	if err != nil {
		return err
	}
	defer base.Close()
	return s.UI.Result(z.Manifest, func(w io.Writer) {
		t := ui.NewTable("task", "seed", "split", "accuracy", "base", "held", "loss")
		for _, m := range z.Manifest.Members {
			t.Row(m.Task, m.Seed, m.Split, m.Accuracy, m.Base, m.N, m.Loss)
		}
		t.Write(w)
	})
}
