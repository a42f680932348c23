package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval/procedural"
	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"

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
			&cli.IntFlag{Name: "questions", Value: 400, Usage: "questions of a task, at most"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the choice and the questions"},
		},
		Action: action(runTasksExport),
	}
}

func runTasksExport(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	n, questions := s.Int("n"), s.Int("questions")
	if n < 1 || questions < 1 {
		return usagef("--n and --questions must be at least 1")
	}
	dir := args[0]
	if _, err := os.Stat(filepath.Join(dir, zoo.IndexName)); err == nil {
		return usagef("%s holds tasks already; choose another folder", dir)
	} else if !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	chosen := chooseTasks(n, s.Uint64("seed"))
	index := make([]zoo.Task, len(chosen))
	for i, t := range chosen {
		if err := ctx.Err(); err != nil {
			return err
		}
		index[i] = zoo.Task{Name: t.Name, Split: t.Split, Descriptions: t.Descriptions(), Unseen: t.Unseen(), Impossible: t.Impossible}
		if share := t.Majority(); share >= procedural.CheapShare {
			index[i].Cheap = share
		}
		data, err := exportQuestions(t, questions, pipeline.Seed(s.Uint64("seed"), "questions of "+t.Name, 0))
		if err != nil {
			return err
		}
		if err := os.WriteFile(index[i].File(dir), data, 0o644); err != nil {
			return err
		}
	}
	// The index last: where it is, all of it is.
	if err := zoo.WriteIndex(dir, index); err != nil {
		return err
	}
	return s.UI.Result(map[string]any{"dir": dir, "tasks": len(index), "training": n}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d tasks, %d of them to train on\n", dir, len(index), min(n, len(index)))
	})
}

// chooseTasks takes n training tasks, the table's first and then others by chance, and every held-out task, in the space's order.
func chooseTasks(n int, seed uint64) []procedural.Task {
	all := procedural.Space()
	wanted := map[string]bool{}
	for _, t := range procedural.TrainTasks() {
		if len(wanted) < n {
			wanted[t.Name] = true
		}
	}
	r := rand.New(rand.NewPCG(seed, 0x657870))
	for _, i := range r.Perm(len(all)) {
		if len(wanted) < n && all[i].Split == procedural.TrainSplit {
			wanted[all[i].Name] = true
		}
	}
	var out []procedural.Task
	for _, t := range all {
		if wanted[t.Name] || t.Split != procedural.TrainSplit {
			out = append(out, t)
		}
	}
	return out
}

// exportQuestions draws different questions as JSON lines. Both cuts of an input have to agree whether it may be trained on: the zoo's, by
// the prompt, and procedural's, by which the bundled model was trained.
func exportQuestions(t procedural.Task, n int, seed uint64) ([]byte, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	seen := map[string]bool{}
	const enough = 2000 // draws without a new input: there are no more
	for misses := 0; len(seen) < n && misses < enough; misses++ {
		x, y := t.Draw(r)
		prompt := procedural.Prompt("", x)
		if seen[x] || (stats.DefaultShares.Cut(prompt) == stats.Train) != (procedural.Cut(x) == stats.Train) {
			continue
		}
		seen[x], misses = true, 0
		question := struct {
			Prompt string `json:"prompt"`
			Answer string `json:"answer"`
		}{prompt, y}
		if err := enc.Encode(question); err != nil {
			return nil, err
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("the task %s has no question: %w", t.Name, fs.ErrNotExist)
	}
	return out.Bytes(), nil
}
