package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"d2nwg/cmd/internal/ui"
	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"

	"github.com/urfave/cli/v2"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name:      "eval",
		Usage:     "score a checkpoint on tasks, questions or text",
		UsageText: "d2nwg eval [flags] DIR (--tasks NAMES | --tasks FILE.jsonl | --mix NAME... | --text FILE)\n   d2nwg eval requests|rescore|verify|compare …",
		ArgsUsage: "DIR",
		Description: describe(`Scores by exact match of the greedy answer (questions) or bits per byte (text). Questions are a JSONL file
of {"prompt":…,"answer":…}, taken as they stand, or a mix of procedural tasks (see d2nwg tasks). A file is cut
by hash into train, select, confirm and test, the same way improve cuts it.

Tasks are those of lm-evaluation-harness, from its own files: names of tasks, groups and tags joined by commas, or
paths of task files. Prompts, metrics and results files are the harness' own, number for number; --profile names the
era. With --output_path every answer is kept, and the same command goes on after an interruption.`,
			"d2nwg eval models/m --tasks arc_challenge,hellaswag --limit 20", "tasks of an installed lm-evaluation-harness",
			"d2nwg eval models/m --tasks leaderboard_bbh --harness src/lm-evaluation-harness --output_path out --log_samples", "a group, its samples kept",
			"d2nwg eval models/m --tasks questions.jsonl", "every question of a file",
			"d2nwg eval models/m --mix reverse --mix add --split test --json", "a mix, bare prompts, as JSON",
			"d2nwg eval models/m --mix train --form each", "all training tasks, each with its description",
			"d2nwg eval models/m --adapter runs/demo/variant --text stories.txt.gz --split test", "a saved variant on text",
			"d2nwg eval models/m --adapter hf://org/adapter --tasks questions.jsonl --json", "a PEFT adapter, scored without merging"),
		Subcommands: evalTools(),
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "tasks", Usage: "tasks, groups and tags joined by commas; or a JSONL file of questions (.gz too)"},
			&cli.StringSliceFlag{Name: "mix", Usage: "procedural task; may be repeated; \"train\" and \"all\" stand for all such tasks with --form each"},
			&cli.StringFlag{Name: "text", Usage: "text file (.gz too), scored by bits per byte"},
			&cli.StringFlag{Name: "form", Value: "bare", Usage: "prompts of a mix: bare (x>), described (the mix's description first) or each (the task's own)"},
			&cli.StringFlag{Name: "split", Usage: "train, select, confirm, test or all (default: test of a mix, all of a file)"},
			&cli.IntFlag{Name: "n", Usage: "most questions of each task of a mix, or items of a file's split (0: 200 of a task, all of a file)"},
			&cli.Uint64Flag{Name: "seed", Usage: "the seed of a mix's questions"},
			adapterFlag("score"),
			arithmeticFlag("f32"),
			&cli.IntFlag{Name: "workers", Usage: "how many threads score (0: one a core); results do not depend on it"},
			&cli.IntFlag{Name: "max_length", Aliases: []string{"max-length"}, Usage: "tokens of context for tasks (0: what the model takes)"},
		}, taskFlags()...), outputFlags()...),
		Action: action(runEval),
	}
}

// scored is the result of eval on questions or text.
type scored struct {
	Data        string             `json:"data"`
	Split       string             `json:"split"`
	Metric      string             `json:"metric"`
	N           int                `json:"n"`
	Accuracy    *float64           `json:"accuracy,omitempty"`      // share of exact answers
	Margin      *float64           `json:"margin,omitempty"`        // mean log-likelihood margin of the answers' tokens
	BitsPerByte *float64           `json:"bits_per_byte,omitempty"` // of text; smaller is better
	Groups      map[string]float64 `json:"groups,omitempty"`        // accuracy by task
	Hashes      map[string]string  `json:"hashes"`                  // of each split scored
	Seconds     float64            `json:"seconds"`
}

func runEval(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	if namesTasks(s.String("tasks")) {
		return runEvalTasks(ctx, s, args[0])
	}
	data, splits, err := evalData(s)
	if err != nil {
		return err
	}
	c, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	tok, err := tokenizer.Open(c.Dir)
	if err != nil {
		return err
	}
	options, err := engineOptions(s)
	if err != nil {
		return err
	}
	model, err := engine.New(c, options)
	if err != nil {
		return err
	}
	variant := &llm.Variant{Base: c}
	if s.String("adapter") != "" {
		if variant, err = s.loadAdapter(c); err != nil {
			return err
		}
	}
	scorer, err := eval.NewScorer(model, tok, data, eval.Options{Workers: s.Int("workers")})
	if err != nil {
		return err
	}
	began := time.Now()
	result := scored{Data: data.Name, Split: joinSplits(splits), Metric: scorer.Metric(), Hashes: map[string]string{}}
	if err := result.score(ctx, scorer, variant, splits, s.UI.Progress()); err != nil {
		return err
	}
	result.Seconds = time.Since(began).Seconds()
	s.UI.Close()
	return s.UI.Result(result, result.write)
}

// evalData builds the data set the flags name, and the splits of it to score.
func evalData(s *session) (*eval.Dataset, []stats.Split, error) {
	mix := s.StringSlice("mix")
	given := 0
	for _, present := range []bool{s.String("tasks") != "", len(mix) > 0, s.String("text") != ""} {
		if present {
			given++
		}
	}
	if given != 1 {
		return nil, nil, usagef("eval needs exactly one of --tasks, --mix and --text, found %d", given)
	}
	n := s.Int("n")
	if n < 0 {
		return nil, nil, usagef("--n must not be negative, is %d", n)
	}
	splits, err := evalSplits(s.String("split"), len(mix) > 0)
	if err != nil {
		return nil, nil, err
	}
	var data *eval.Dataset
	if len(mix) > 0 {
		data, err = mixData(mix, s.String("form"), n, s.Uint64("seed"))
	} else {
		data, err = evalFile(s)
	}
	if err != nil {
		return nil, nil, err
	}
	if len(mix) == 0 {
		for _, split := range splits {
			data.Limit(split, n)
		}
	}
	return data, splits, nil
}

// evalFile reads the file at --tasks or --text, a path or an address, and calls it what the user calls it.
func evalFile(s *session) (*eval.Dataset, error) {
	address := cmp.Or(s.String("tasks"), s.String("text"))
	path, _, err := s.resolve(address, false)
	if err != nil {
		return nil, err
	}
	var data *eval.Dataset
	if s.String("tasks") != "" {
		data, err = eval.ReadQuestions(path, stats.DefaultShares)
	} else {
		data, err = eval.ReadDocuments(path, "", stats.DefaultShares)
	}
	if err != nil {
		return nil, err
	}
	data.Name = address
	return data, nil
}

// evalSplits reads --split.
func evalSplits(name string, mix bool) ([]stats.Split, error) {
	switch {
	case name == "all" || name == "" && !mix:
		return stats.Splits[:], nil
	case name == "":
		return []stats.Split{stats.Test}, nil
	case slices.Contains(stats.Splits[:], stats.Split(name)):
		return []stats.Split{stats.Split(name)}, nil
	}
	return nil, usagef("no split %q; use train, select, confirm, test or all", name)
}

// mixData builds questions of procedural tasks; names may also be joined by "+".
func mixData(names []string, form string, perTask int, seed uint64) (*eval.Dataset, error) {
	if perTask == 0 {
		perTask = 200
	}
	if form == "each" {
		tasks, err := lookupTasks(names)
		if err != nil {
			return nil, err
		}
		return eval.FromTasks(strings.Join(names, "+"), tasks, perTask, seed)
	}
	if form != "bare" && form != "described" {
		return nil, usagef("no form %q; use bare, described or each", form)
	}
	mix, err := procedural.ParseMix(strings.Join(names, "+"))
	if err != nil {
		return nil, usagef("--mix: %v", err)
	}
	return eval.FromMix(mix, form == "described", perTask, seed), nil
}

func lookupTasks(names []string) ([]procedural.Task, error) {
	var tasks []procedural.Task
	for _, name := range strings.Split(strings.Join(names, "+"), "+") {
		switch name {
		case "train":
			tasks = append(tasks, procedural.TrainTasks()...)
		case "all":
			tasks = append(tasks, procedural.All()...)
		default:
			task, err := procedural.Lookup(name)
			if err != nil {
				return nil, usagef("--mix: %v", err)
			}
			tasks = append(tasks, task)
		}
	}
	return tasks, nil
}

// score fills in everything that is measured.
func (e *scored) score(ctx context.Context, scorer *eval.Scorer, v *llm.Variant, splits []stats.Split, report progress.Func) error {
	var all stats.Scores
	var groups []string
	for i, split := range splits {
		report.Report(progress.Event{Stage: "eval", Done: int64(i), Total: int64(len(splits)), Note: string(split)})
		if scorer.Items(split) == 0 {
			continue
		}
		scores, err := scorer.Score(ctx, v, split)
		if err != nil {
			return err
		}
		all.Items = append(all.Items, scores.Items...)
		all.Tie = append(all.Tie, scores.Tie...)
		all.Weights = append(all.Weights, scores.Weights...)
		for _, q := range scorer.Data().Questions[split] {
			groups = append(groups, q.Group)
		}
		e.Hashes[string(split)] = scorer.Hash(split)
	}
	report.Report(progress.Event{Stage: "eval", Done: int64(len(splits)), Total: int64(len(splits))})
	if len(all.Items) == 0 {
		return fmt.Errorf("%s has no items in %s", e.Data, e.Split)
	}
	e.N = len(all.Items)
	mean := all.Mean()
	if e.Metric == eval.BitsPerByte {
		mean = -mean
		e.BitsPerByte = &mean
		return nil
	}
	margin := all.TieMean()
	e.Accuracy, e.Margin = &mean, &margin
	e.Groups = groupMeans(all.Items, groups)
	return nil
}

// groupMeans averages items by group; nil when there are fewer than two groups.
func groupMeans(items []float64, groups []string) map[string]float64 {
	sum, count := map[string]float64{}, map[string]float64{}
	for i, g := range groups {
		sum[g] += items[i]
		count[g]++
	}
	if len(sum) < 2 {
		return nil
	}
	for g := range sum {
		sum[g] /= count[g]
	}
	return sum
}

func (e scored) write(w io.Writer) {
	fmt.Fprintf(w, "%s, %s: %d items in %.2f s\n", e.Data, e.Split, e.N, e.Seconds)
	if e.BitsPerByte != nil {
		fmt.Fprintf(w, "bits per byte  %.4f\n", *e.BitsPerByte)
		return
	}
	fmt.Fprintf(w, "accuracy  %.4f\nmargin    %.4f\n", *e.Accuracy, *e.Margin)
	if len(e.Groups) == 0 {
		return
	}
	names := make([]string, 0, len(e.Groups))
	for name := range e.Groups {
		names = append(names, name)
	}
	slices.Sort(names)
	t := ui.NewTable("task", "accuracy")
	for _, name := range names {
		t.Row(name, e.Groups[name])
	}
	fmt.Fprintln(w)
	t.Write(w)
}

func joinSplits(splits []stats.Split) string {
	if len(splits) == len(stats.Splits) {
		return "all"
	}
	return string(splits[0])
}
