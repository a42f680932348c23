package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"d2nwg/cmd/internal/evaluation"
	"d2nwg/cmd/internal/ui"
	"d2nwg/eval/taskrun"

	"github.com/urfave/cli/v2"
)

// evalTools are the commands around evaluations that need no model.
func evalTools() []*cli.Command {
	tasks := &cli.StringFlag{Name: "tasks", Required: true, Usage: "tasks, groups and tags, joined by commas"}
	model := &cli.StringFlag{Name: "model", Usage: "checkpoint folder whose chat template --apply_chat_template renders"}
	return []*cli.Command{{
		Name:        "requests",
		Usage:       "print what tasks ask of a model",
		UsageText:   "d2nwg eval requests --tasks NAMES [flags]",
		Description: describe("Prints every request as a line of JSON, with the document's hashes.", "d2nwg eval requests --tasks arc_challenge --num_fewshot 25 --limit 2", "the first prompts of the first leaderboard's ARC"),
		Flags:       append([]cli.Flag{tasks, model}, taskFlags()...),
		Action:      action(runEvalRequests),
	}, {
		Name:        "rescore",
		Usage:       "score recorded answers again, without a model",
		UsageText:   "d2nwg eval rescore SAMPLES --tasks NAMES [flags]",
		Description: describe("SAMPLES is a folder of samples_<task>_<time>.jsonl, or a results file beside them. The documents have to be\nthose the answers were given to; filters and metrics are the task files' own as they are now.", "d2nwg eval rescore out/my__model --tasks gsm8k --limit 20", "after a change of a filter"),
		Flags:       append(append([]cli.Flag{tasks, model}, taskFlags()...), outputFlags()...),
		Action:      action(runEvalRescore),
	}, {
		Name:      "verify",
		Usage:     "compare a results file's prompts and configuration with another's, or with the task files here",
		UsageText: "d2nwg eval verify RESULTS.json (--with OTHER.json | --tasks NAMES [flags])",
		Description: describe("Equal task hashes prove that every document, prompt and target was the same, character for character.\nExits 1 if anything differs.",
			"d2nwg eval verify published.json --with out/my__model/results_….json", "two results files",
			"d2nwg eval verify published.json --tasks arc_challenge --num_fewshot 25", "a published file and the prompts built here"),
		Flags:  append([]cli.Flag{&cli.StringFlag{Name: "with", Usage: "results file to compare with"}, &cli.StringFlag{Name: "tasks", Usage: tasks.Usage}, model}, taskFlags()...),
		Action: action(runEvalVerify),
	}, {
		Name:        "compare",
		Usage:       "what two evaluations differ by, document by document",
		UsageText:   "d2nwg eval compare A B",
		Description: describe("A and B are folders of samples files, or results files beside them. Differences are B minus A on the same documents,\nwith intervals; p-values are two-sided (McNemar's exact test for right and wrong, else a paired bootstrap) and corrected\nfor the number of comparisons (Holm).", "d2nwg eval compare out/base out/tuned", "is the second better?"),
		Flags: []cli.Flag{
			&cli.Float64Flag{Name: "alpha", Value: 0.05, Usage: "intervals hold with probability 1 - alpha"},
			&cli.IntFlag{Name: "resamples", Value: 10000, Usage: "of the paired bootstrap"},
		},
		Action: action(runEvalCompare),
	}}
}

// loadTasks builds the requests that a command line names.
func loadTasks(s *session) (*evaluation.Set, taskrun.Info, error) {
	began := time.Now()
	load, template, err := loadOptions(s, s.String("model"), began)
	if err != nil {
		return nil, taskrun.Info{}, err
	}
	set, err := evaluation.Load(load)
	return set, evalInfo(s, load, template, began), err
}

func runEvalRequests(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	set, _, err := loadTasks(s)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(s.UI.Out, 1<<16)
	for _, t := range set.Tasks {
		if err := t.WriteRequests(out); err != nil {
			return err
		}
	}
	return out.Flush()
}

func runEvalRescore(ctx context.Context, s *session) error {
	args, err := s.args("SAMPLES")
	if err != nil {
		return err
	}
	files, err := taskrun.SampleFiles(args[0])
	if err != nil {
		return err
	}
	set, info, err := loadTasks(s)
	if err != nil {
		return err
	}
	info.Model, info.DType = "rescored", "N/A"
	return finishEval(ctx, s, set, taskrun.FromSamples(files), info, nil)
}

// verification is the result of verify.
type verification struct {
	Same   bool            `json:"same"`
	Checks []taskrun.Check `json:"checks"`
}

func runEvalVerify(ctx context.Context, s *session) error {
	args, err := s.args("RESULTS.json")
	if err != nil {
		return err
	}
	if (s.String("with") == "") == (s.String("tasks") == "") {
		return usagef("verify needs exactly one of --with and --tasks")
	}
	file, err := taskrun.ReadResults(args[0])
	if err != nil {
		return err
	}
	var v verification
	if other := s.String("with"); other != "" {
		here, err := taskrun.ReadResults(other)
		if err != nil {
			return err
		}
		v.Checks = taskrun.Verify(file, here)
	} else {
		set, info, err := loadTasks(s)
		if err != nil {
			return err
		}
		here, err := taskrun.Prompts(set.Tasks, set.Groups, info)
		if err != nil {
			return err
		}
		v.Checks = slices.DeleteFunc(taskrun.Verify(file, here), func(c taskrun.Check) bool { return c.What == "task" }) // those not named
	}
	v.Same = len(v.Checks) > 0
	for _, c := range v.Checks {
		v.Same = v.Same && c.Same
	}
	if err := s.UI.Result(v, v.write); err != nil {
		return err
	}
	if !v.Same {
		return errDiffers
	}
	return nil
}

func (v verification) write(w io.Writer) {
	t := ui.NewTable("task", "what", "same", "file", "here")
	for _, c := range v.Checks {
		t.Row(c.Task, c.What, c.Same, shortened(c.File), shortened(c.Here))
	}
	t.Write(w)
}

func shortened(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		return string(runes[:39]) + "…"
	}
	return s
}

// comparison is the result of compare.
type comparison struct {
	Alpha       float64              `json:"alpha"`
	Differences []taskrun.Difference `json:"differences"`
}

func runEvalCompare(_ context.Context, s *session) error {
	args, err := s.args("A", "B")
	if err != nil {
		return err
	}
	alpha, resamples := s.Float64("alpha"), s.Int("resamples")
	if !(alpha > 0 && alpha < 0.5) || resamples < 100 {
		return usagef("--alpha has to lie between 0 and 0.5, --resamples at 100 or more")
	}
	all, err := taskrun.Compare(args[0], args[1], resamples, alpha)
	if err != nil {
		return err
	}
	c := comparison{alpha, all}
	return s.UI.Result(c, c.write)
}

func (c comparison) write(w io.Writer) {
	t := ui.NewTable("task", "metric", "n", "A", "B", "B - A", "interval", "p", "p (Holm)", "same prompts")
	for _, d := range c.Differences {
		t.Row(d.Task, d.Metric+","+d.Filter, d.N, d.A, d.B, fmt.Sprintf("%+.4f", d.Gain), fmt.Sprintf("[%+.4f, %+.4f]", d.Low, d.High), d.P, d.Adjusted, d.Prompts)
	}
	t.Write(w)
}
