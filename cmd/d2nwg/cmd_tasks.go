package main

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"

	"d2nwg/cmd/internal/ui"
	"d2nwg/eval/procedural"
	"d2nwg/internal/stats"

	"github.com/urfave/cli/v2"
)

func tasksCommand() *cli.Command {
	return &cli.Command{
		Name:      "tasks",
		Usage:     "list the procedural reasoning tasks, or draw questions from them",
		UsageText: "d2nwg tasks [list|sample NAME|export DIR] [flags]",
		Description: describe("Sixty small rules over words, number pairs and bit strings, each with a description in one sentence.\n"+
			"Only the 41 of split \"train\" are ever used for training.",
			"d2nwg tasks", "all tasks with their descriptions",
			"d2nwg tasks sample reverse --n 100 --seed 3 > reverse.jsonl", "questions as JSONL, ready for eval --tasks"),
		Action: action(runTasksList),
		Subcommands: []*cli.Command{
			{
				Name:        "list",
				Usage:       "list the tasks",
				UsageText:   "d2nwg tasks list [--json]",
				Description: describe("Lists name, input, split and description of every task.", "d2nwg tasks list --json", "as an array"),
				Action:      action(runTasksList),
			},
			{
				Name:      "sample",
				Usage:     "draw questions of one task as JSONL",
				UsageText: "d2nwg tasks sample NAME [--n N] [--seed S] [--described] [--split train|select|confirm|test]",
				Description: describe("Prints {\"prompt\",\"answer\"}, one a line. The same seed gives the same lines.",
					"d2nwg tasks sample sort --n 5", "five bare prompts (x>)",
					"d2nwg tasks sample reverse --described --split test", "with the description before x>, inputs kept for tests"),
				Flags: []cli.Flag{
					&cli.IntFlag{Name: "n", Value: 10, Usage: "how many"},
					&cli.Uint64Flag{Name: "seed", Usage: "the seed of the questions"},
					&cli.BoolFlag{Name: "described", DisableDefaultText: true, Usage: "put the task's description before x>"},
					&cli.StringFlag{Name: "split", Usage: "only inputs of this split: train, select, confirm or test (default: any)"},
				},
				Action: action(runTasksSample),
			},
			tasksExportCommand(),
		},
	}
}

// taskInfo is one task in the list.
type taskInfo struct {
	Name        string `json:"name"`
	Family      string `json:"family"`
	Input       string `json:"input"`
	Split       string `json:"split"`
	Description string `json:"description"`
}

func runTasksList(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	list := []taskInfo{}
	for _, t := range procedural.All() {
		list = append(list, taskInfo{t.Name, t.Family, t.Input, t.Split, t.Description})
	}
	return s.UI.Result(list, func(w io.Writer) {
		table := ui.NewTable("task", "input", "split", "description")
		for _, t := range list {
			table.Row(t.Name, t.Input, t.Split, t.Description)
		}
		table.Write(w)
	})
}

func runTasksSample(ctx context.Context, s *session) error {
	args, err := s.args("NAME")
	if err != nil {
		return err
	}
	task, err := procedural.Lookup(args[0])
	if err != nil {
		return usagef("%v", err)
	}
	split := stats.Split(s.String("split"))
	switch split {
	case "", stats.Train, stats.Select, stats.Confirm, stats.Test:
	default:
		return usagef("no split %q; use train, select, confirm or test", split)
	}
	description := ""
	if s.Bool("described") {
		description = task.Description
	}
	r := rand.New(rand.NewPCG(s.Uint64("seed"), 0))
	enc := json.NewEncoder(s.UI.Out)
	enc.SetEscapeHTML(false)
	for range s.Int("n") {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, y := task.Draw(r)
		if split != "" {
			x, y = task.DrawIn(r, split)
		}
		question := struct {
			Prompt string `json:"prompt"`
			Answer string `json:"answer"`
		}{procedural.Prompt(description, x), y}
		if err := enc.Encode(question); err != nil {
			return err
		}
	}
	return nil
}
