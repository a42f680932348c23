package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/ui"

	"github.com/urfave/cli/v2"
)

func improveCommand() *cli.Command {
	return &cli.Command{
		Name:      "improve",
		Usage:     "checkpoint in, verified better checkpoint (or an honest no) out",
		UsageText: "d2nwg improve [--recipe FILE] --out DIR [flags]",
		Description: describe("Reads the base and its relatives (or makes them), learns their weights with a VAE and a latent diffusion model,\n"+
			"samples new ones for the description, and gives every source of proposals, baselines too, the same search. The test\n"+
			"split is opened once, for two verdicts: is the candidate better than the base, and is the generator better than\n"+
			"every baseline? Exits 0 when the checkpoint is verified, 4 when not. Killed at any moment, the same command\n"+
			"continues. The candidate stands in OUT/candidate, the report in OUT/report.json.",
			"d2nwg improve --recipe recipes/demo.yaml --out runs/demo", "what 'make demo' does",
			"d2nwg improve --base models/mine --tasks questions.jsonl --out runs/mine", "on your own questions",
			"d2nwg improve --base models/mine --text corpus.txt.gz --out runs/text", "by bits per byte of a text",
			"d2nwg improve --recipe r.yaml --out runs/x --dry-run", "what it would do, cost and be able to show"),
		Flags: append(runFlags(),
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "print the plan and stop"}),
		Action: action(runImprove),
	}
}

func runImprove(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	if s.Bool("dry-run") {
		return dryRun(ctx, s)
	}
	r, err := openRun(s)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := r.Improve(ctx)
	if err != nil {
		return err
	}
	if err := plotReport(r.Dir, report.Report); err != nil {
		s.UI.Warnf("the chart could not be drawn: %v", err)
	}
	if err := s.UI.Result(report, func(w io.Writer) { writeRun(w, r.Dir, report) }); err != nil {
		return err
	}
	if !report.Checkpoint.Verified {
		return errNoImprovement
	}
	return nil
}

// writeRun prints a finished run for people.
func writeRun(w io.Writer, dir string, r *pipeline.Report) {
	fmt.Fprintf(w, "target %s, %d relatives\n", r.Target, r.Relatives)
	writeGate(w, r.Gate)
	if n := r.Novelty; n != nil {
		nearest := make([]float64, len(n.Samples))
		for i, sample := range n.Samples {
			nearest[i] = sample.L2
		}
		slices.Sort(nearest)
		fmt.Fprintf(w, "novelty: %d of %d samples copy a relative; median distance to the nearest relative %.3f (among relatives: %.3f)\n",
			n.Copies, len(n.Samples), nearest[len(nearest)/2], n.ZooL2.Median)
	}
	writeReport(w, r.Report)
	fmt.Fprintln(w)
	t := ui.NewTable("stage", "seconds")
	for _, stage := range r.Stages {
		t.Row(stage.Name, fmt.Sprintf("%.1f", stage.Seconds))
	}
	t.Write(w)
	word := "NOT verified"
	if r.Checkpoint.Verified {
		word = "verified"
	}
	fmt.Fprintf(w, "\nthe winner of %q (%s) stands in %s\n", r.Written, word, filepath.Join(dir, pipeline.CandidateDir))
}

func writeGate(w io.Writer, g pipeline.Gate) {
	fmt.Fprintf(w, "reconstruction gate: base %.4f, decoded %.4f", g.Base, g.DecodedBase)
	if g.Tried > 0 {
		fmt.Fprintf(w, "; %d nearest relatives %.4f, decoded %.4f", g.Tried, g.Relatives, g.Decoded)
	}
	fmt.Fprintln(w, map[bool]string{true: ": passed", false: ": NOT passed"}[g.Passed])
}
