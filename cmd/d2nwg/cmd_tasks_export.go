package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/zoo"
	zoos "d2nwg/generator/zoo"

	"github.com/urfave/cli/v2"
)

func tasksExportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write tasks of the space as a folder for 'd2nwg zoo build'", ArgsUsage: "DIR",
		UsageText: "d2nwg tasks export DIR [--n N] [--questions N] [--seed S]",
		Description: describe("Writes index.json and NAME.jsonl of N training tasks, the table's first, and of all held-out ones. No question that a zoo\n"+
			"keeps from training has an input that the bundled model was trained on.",
			"d2nwg tasks export zoos/mine --n 300", "300 training tasks and the held-out ones"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "n", Value: 300, Usage: "training tasks"},
			&cli.IntFlag{Name: "questions", Value: zoo.DefaultQuestions, Usage: "questions of a task, at most"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the choice and the questions"},
		},
		Action: action(runTasksExport),
	}
}

func runTasksExport(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	n, questions := s.Int("n"), s.Int("questions")
	if n < 1 || questions < 1 {
		return usagef("--n and --questions must be at least 1")
	}
	dir := args[0]
	if _, err := os.Stat(filepath.Join(dir, zoos.IndexName)); err == nil {
		return usagef("%s holds tasks already; choose another folder", dir)
	} else if !os.IsNotExist(err) {
		return err
	}
	f, err := zoo.Exported(n, questions, s.Uint64("seed"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := f.Write(dir, false); err != nil {
		return err
	}
	return s.UI.Result(map[string]any{"dir": dir, "tasks": len(f.Tasks), "training": n}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d tasks, %d of them to train on\n", dir, len(f.Tasks), n)
	})
}
