package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"d2nwg/cmd/internal/evaluation"
	"d2nwg/eval/lm"
	"d2nwg/eval/task"
	"d2nwg/eval/taskrun"
	"d2nwg/internal/jinja"
	"d2nwg/internal/journal"

	"github.com/urfave/cli/v2"
)

// evalJournal is the file of answers beside an evaluation's results.
const evalJournal = "answers.journal.jsonl"

// harnessNamed adds the spelling with hyphens to flags that the harness names with underscores.
func harnessNamed(flags ...cli.Flag) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Aliases = append(f.Aliases, hyphened(f.Name)...)
		case *cli.StringSliceFlag:
			f.Aliases = append(f.Aliases, hyphened(f.Name)...)
		case *cli.IntFlag:
			f.Aliases = append(f.Aliases, hyphened(f.Name)...)
		case *cli.BoolFlag:
			f.Aliases = append(f.Aliases, hyphened(f.Name)...)
		}
	}
	return flags
}

func hyphened(name string) []string {
	if other := strings.ReplaceAll(name, "_", "-"); other != name {
		return []string{other}
	}
	return nil
}

// taskFlags choose tasks and how their requests are built, under the harness' names.
func taskFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "profile", Value: string(task.Current), Usage: "the era of lm-evaluation-harness whose numbers to give: v1 (June 2023), v2 (0.4.0 to 0.4.9.1) or current"},
		&cli.StringFlag{Name: "harness", Usage: "folder of an lm-evaluation-harness, for its task files and texts (default: LM_EVAL_PATH, or beside Python)"},
		&cli.StringSliceFlag{Name: "data", Usage: "folder (or address) with data sets as <dataset_path>/<dataset_name>/<split>.jsonl (or .json, .csv, .parquet), or one data set as <dataset_path>=PLACE; repeatable (default: the hub's)"},
		&cli.Float64Flag{Name: "limit", Usage: "documents of each task; below 1 a share of them"},
		&cli.StringFlag{Name: "samples", Usage: "which documents: {\"task\": [0, 3]}, or a file of that"},
	}, harnessNamed(
		&cli.StringSliceFlag{Name: "include_path", Usage: "folder of further task files (repeatable)"},
		&cli.IntFlag{Name: "num_fewshot", Value: -1, DefaultText: "the task's own", Usage: "examples before each question"},
		&cli.BoolFlag{Name: "apply_chat_template", DisableDefaultText: true, Usage: "render prompts with the checkpoint's chat template"},
		&cli.BoolFlag{Name: "fewshot_as_multiturn", DisableDefaultText: true, Usage: "examples as turns of a conversation"},
		&cli.StringFlag{Name: "system_instruction", Usage: "what stands before every prompt"},
		&cli.StringFlag{Name: "gen_kwargs", Usage: "settings of generation, as max_gen_toks=64,temperature=0"})...)
}

// outputFlags say what becomes of the results.
func outputFlags() []cli.Flag {
	return harnessNamed(
		&cli.StringFlag{Name: "output_path", Usage: "folder (or file.json) for results, samples and the journal of answers; an interrupted evaluation goes on from it"},
		&cli.BoolFlag{Name: "log_samples", DisableDefaultText: true, Usage: "write every document with its answers and scores"},
		&cli.IntFlag{Name: "bootstrap_iters", Value: 100000, Usage: "resamples of standard errors that need them; 0: no standard errors"})
}

// namesTasks tells task names from a file of questions.
func namesTasks(tasks string) bool {
	for _, ending := range []string{".jsonl", ".jsonl.gz"} {
		if strings.HasSuffix(tasks, ending) {
			return false
		}
	}
	return tasks != ""
}

// loadOptions reads taskFlags; dir is the checkpoint whose chat template counts, "" = none.
func loadOptions(s *session, dir string, now time.Time) (o evaluation.LoadOptions, template string, err error) {
	o = evaluation.LoadOptions{
		Names: splitNames(s.String("tasks")), IncludePaths: s.StringSlice("include_path"), Harness: s.String("harness"), Fetch: s.dataset,
		Build: task.Options{
			Profile: task.Profile(s.String("profile")), Limit: s.Float64("limit"), SystemInstruction: s.String("system_instruction"),
			FewshotAsMultiturn: s.Bool("fewshot_as_multiturn"),
		},
	}
	switch p := o.Build.Profile; {
	case len(o.Names) == 0:
		return o, "", usagef("--tasks names no task")
	case p != task.V1 && p != task.V2 && p != task.Current:
		return o, "", usagef("no profile %q; use v1, v2 or current", p)
	case !(o.Build.Limit >= 0):
		return o, "", usagef("--limit must not be negative, is %g", o.Build.Limit)
	case s.IsSet("num_fewshot") && s.Int("num_fewshot") < 0:
		return o, "", usagef("--num_fewshot must not be negative, is %d", s.Int("num_fewshot"))
	case s.String("samples") != "" && o.Build.Limit != 0:
		return o, "", usagef("--limit and --samples don't go together")
	case o.Build.FewshotAsMultiturn && !s.Bool("apply_chat_template"):
		return o, "", usagef("--fewshot_as_multiturn needs --apply_chat_template")
	}
	if n := s.Int("num_fewshot"); n >= 0 {
		o.Build.NumFewshot = &n
	}
	if o.Data, err = s.dataPlaces(s.StringSlice("data")); err != nil {
		return o, "", err
	}
	if o.Samples, err = samplesFlag(s.String("samples")); err != nil {
		return o, "", err
	}
	if args := lm.ParseArgs(s.String("gen_kwargs")); len(args) > 0 {
		o.Build.GenKwargs = taskrun.Settings(args)
	}
	if s.Bool("apply_chat_template") {
		if dir == "" {
			return o, "", usagef("--apply_chat_template needs the checkpoint whose template it is; pass --model DIR")
		}
		o.Build.Chat, template, err = evaluation.ChatTemplate(dir, now)
	}
	return o, template, err
}

func splitNames(tasks string) (names []string) {
	for _, name := range strings.Split(tasks, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// samplesFlag reads --samples: JSON, or the path of a file of JSON.
func samplesFlag(text string) (samples map[string][]int, err error) {
	if text == "" {
		return nil, nil
	}
	data := []byte(text)
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		if data, err = os.ReadFile(text); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(data, &samples); err != nil {
		return nil, usagef("--samples: not {\"task\": [0, 3]}: %v", err)
	}
	return samples, nil
}

// runEvalTasks evaluates a checkpoint on tasks.
func runEvalTasks(ctx context.Context, s *session, dir string) error {
	for _, flag := range []string{"mix", "text", "split", "n", "form", "seed"} {
		if s.IsSet(flag) {
			return usagef("--%s goes with questions and texts, not with task names", flag)
		}
	}
	began := time.Now()
	load, template, err := loadOptions(s, dir, began)
	if err != nil {
		return err
	}
	options, err := engineOptions(s)
	if err != nil {
		return err
	}
	path, _, err := s.resolve(dir, true)
	if err != nil {
		return err
	}
	adapter := ""
	if s.String("adapter") != "" {
		if adapter, _, err = s.resolve(s.String("adapter"), true); err != nil {
			return err
		}
	}
	m, err := evaluation.OpenModel(evaluation.ModelOptions{
		Dir: path, Adapter: adapter, Engine: options, Profile: load.Build.Profile, MaxLength: s.Int("max_length"), Workers: s.Int("workers"),
	})
	if err != nil {
		return err
	}
	defer m.Close()
	set, err := evaluation.Load(load)
	if err != nil {
		return err
	}
	info := evalInfo(s, load, template, began)
	info.Model, info.SHA, info.Parameters, info.DType = dir, m.SHA, m.Parameters, s.String("arithmetic")
	j, err := answersJournal(s.String("output_path"), info)
	if err != nil {
		return err
	}
	answer := taskrun.FromModel(m.LM, m.Key, j, s.UI.Progress())
	return errors.Join(finishEval(ctx, s, set, answer, info, j), j.Close())
}

func evalInfo(s *session, load evaluation.LoadOptions, template string, began time.Time) taskrun.Info {
	return taskrun.Info{
		Limit: load.Build.Limit, Resamples: s.Int("bootstrap_iters"), GenKwargs: load.Build.GenKwargs, FewshotSeed: 1234,
		SystemInstruction: load.Build.SystemInstruction, ChatTemplate: template, FewshotAsMultiturn: load.Build.FewshotAsMultiturn,
		Profile: load.Build.Profile, Version: buildVersion().Version, Started: began,
	}
}

// answersJournal opens the journal beside the results; without an output path there is none.
func answersJournal(output string, info taskrun.Info) (*journal.Journal, error) {
	if output == "" {
		return nil, nil
	}
	j, err := journal.Open(filepath.Join(taskrun.Folder(output, info.Model), evalJournal))
	if err != nil {
		return nil, err
	}
	j.SyncEvery(256) // a killed process loses nothing; a machine that dies loses at most these answers
	return j, nil
}

// finishEval asks, judges, writes and prints.
func finishEval(ctx context.Context, s *session, set *evaluation.Set, answer taskrun.Answerer, info taskrun.Info, j *journal.Journal) error {
	e, err := taskrun.Evaluate(ctx, set.Tasks, set.Groups, answer, taskrun.Options{Resamples: info.Resamples})
	if err != nil {
		return err
	}
	info.Seconds = time.Since(info.Started).Seconds()
	s.UI.Close()
	if output := s.String("output_path"); output != "" {
		path, err := e.Write(output, info, s.Bool("log_samples"), j)
		if err != nil {
			return err
		}
		s.UI.Notef("results in %s", path)
	}
	results := e.Results(info)
	return s.UI.Result(json.RawMessage(taskrun.StrictJSON(results)), func(w io.Writer) { writeEval(w, results) })
}

// writeEval prints results for people.
func writeEval(w io.Writer, results *jinja.Dict) {
	_, _ = io.WriteString(w, taskrun.Table(results)+taskrun.Summary(results))
}
