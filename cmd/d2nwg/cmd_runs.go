package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/ui"
	"d2nwg/generator/explore"

	"github.com/urfave/cli/v2"
)

func runsCommand() *cli.Command {
	root := func() cli.Flag {
		return &cli.StringFlag{Name: "root", Value: "runs", Usage: "the folder that holds the runs' folders"}
	}
	return &cli.Command{
		Name:      "runs",
		Usage:     "list improve's runs, or show one",
		UsageText: "d2nwg runs list|show [flags]",
		Description: describe("Reads the folders that improve leaves: recipe.yaml, journal.jsonl, report.json, candidate/.",
			"d2nwg runs list", "every run below runs/",
			"d2nwg runs show demo", "the verdicts and the table of runs/demo"),
		Subcommands: []*cli.Command{
			{
				Name:      "list",
				Usage:     "list the runs below a folder",
				UsageText: "d2nwg runs list [--root DIR] [--json]",
				Description: describe("Newest first, with both verdicts where the run has ended.",
					"d2nwg runs list --root /data/runs --json", "another folder, as JSON"),
				Flags:  []cli.Flag{root()},
				Action: action(runRunsList),
			},
			{
				Name:      "show",
				Usage:     "show one run's sources and verdicts",
				UsageText: "d2nwg runs show [--root DIR] [--plot DIR] [--json] RUN",
				Description: describe("RUN is a folder, or the name of one below the root. --json prints its report.json.",
					"d2nwg runs show demo", "by name",
					"d2nwg runs show /data/runs/demo --plot plots", "by folder; its chart as plots/sources.svg and .png"),
				Flags: []cli.Flag{root(),
					&cli.StringFlag{Name: "plot", Usage: "also draw the sources' gains into this folder"}},
				Action: action(runRunsShow),
			},
		},
	}
}

// runSummary is one run in the list.
type runSummary struct {
	Name       string    `json:"name"`
	Dir        string    `json:"dir"`
	State      string    `json:"state"` // finished or unfinished
	Changed    time.Time `json:"changed"`
	Metric     string    `json:"metric,omitempty"`
	Checkpoint *bool     `json:"checkpoint_verified,omitempty"`
	Generator  *bool     `json:"generator_verified,omitempty"`
	Candidate  string    `json:"candidate,omitempty"` // folder of the written checkpoint
	Problem    string    `json:"problem,omitempty"`   // why the report cannot be read
}

func runRunsList(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	root := s.String("root")
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("listing runs: %w", err)
	}
	runs := []runSummary{}
	for _, e := range entries {
		if run, ok := summarizeRun(filepath.Join(root, e.Name())); ok {
			runs = append(runs, run)
		}
	}
	slices.SortStableFunc(runs, func(a, b runSummary) int { return b.Changed.Compare(a.Changed) })
	return s.UI.Result(runs, func(w io.Writer) {
		t := ui.NewTable("run", "state", "changed", "metric", "checkpoint", "generator", "candidate")
		for _, r := range runs {
			t.Row(r.Name, r.State+problem(r.Problem), r.Changed.Format("2006-01-02 15:04"), r.Metric, verified(r.Checkpoint), verified(r.Generator), r.Candidate)
		}
		t.Write(w)
	})
}

// summarizeRun reads a run's folder; ok is false for a folder that holds no run.
func summarizeRun(dir string) (runSummary, bool) {
	r := runSummary{Name: filepath.Base(dir), Dir: dir, State: "unfinished"}
	found := false
	for _, name := range []string{pipeline.RecipeFile, pipeline.JournalFile, pipeline.ReportFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			found = true
			if info.ModTime().After(r.Changed) {
				r.Changed = info.ModTime()
			}
		}
	}
	if !found {
		return r, false
	}
	if info, err := os.Stat(filepath.Join(dir, pipeline.CandidateDir)); err == nil && info.IsDir() {
		r.Candidate = filepath.Join(dir, pipeline.CandidateDir)
	}
	report, err := readReport(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		r.Problem = err.Error()
	default:
		r.State, r.Metric = "finished", report.Metric
		r.Checkpoint, r.Generator = &report.Checkpoint.Verified, &report.Generator.Verified
	}
	return r, true
}

// readReport reads a run's report.json.
func readReport(dir string) (*explore.Report, error) {
	path := filepath.Join(dir, pipeline.ReportFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var report explore.Report
	if err := json.Unmarshal(data, &report); err != nil {
		return nil, fmt.Errorf("%s is no report: %w", path, err)
	}
	return &report, nil
}

func runRunsShow(_ context.Context, s *session) error {
	args, err := s.args("RUN")
	if err != nil {
		return err
	}
	dir := args[0]
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Join(s.String("root"), args[0])
	}
	run, ok := summarizeRun(dir)
	if !ok {
		return fmt.Errorf("no run in %s: %w", dir, fs.ErrNotExist)
	}
	report, err := readReport(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s.UI.Result(run, func(w io.Writer) {
			fmt.Fprintf(w, "%s is unfinished; run the same improve command again to continue it\n", dir)
		})
	}
	if err != nil {
		return err
	}
	if plots := s.String("plot"); plots != "" {
		if err := plotReport(plots, report); err != nil {
			return err
		}
	}
	return s.UI.Result(report, func(w io.Writer) {
		writeReport(w, report)
		if run.Candidate != "" {
			fmt.Fprintf(w, "checkpoint written to %s\n", run.Candidate)
		}
	})
}

func problem(text string) string {
	if text == "" {
		return ""
	}
	return " (unreadable report)"
}

func verified(b *bool) string {
	if b == nil {
		return "-"
	}
	if *b {
		return "verified"
	}
	return "not verified"
}
