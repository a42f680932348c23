package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/ui"
)

// dryRun prints what a recipe would do.
func dryRun(ctx context.Context, s *session) error {
	r, err := loadRecipe(s)
	if err != nil {
		return err
	}
	p, err := pipeline.Preview(ctx, s.String("out"), r, runOptions(s))
	if err != nil {
		return err
	}
	return s.UI.Result(p, func(w io.Writer) {
		fmt.Fprintf(w, "base       %s, %s parameters\n", p.Base, ui.Count(p.Parameters))
		fmt.Fprintf(w, "target     %s: %d items to select, %d to confirm, %d to test\n", p.Target, p.Select, p.Confirm, p.Test)
		if p.Describe != "" {
			fmt.Fprintf(w, "wanted     %s\n", p.Describe)
		}
		fmt.Fprintf(w, "relatives  %d\n", p.Relatives)
		fmt.Fprintf(w, "learned    %s values in %d tokens, %d latent numbers each\n", ui.Count(p.Values), p.Tokens, p.Latent)
		fmt.Fprintf(w, "search     %d sources, %d evaluations each\n", p.Sources, p.PerSource)
		fmt.Fprintf(w, "test       opening %d of this split, level %.4f: a true gain of %.3f %s is found with power 0.8\n",
			p.Opening, p.Alpha, p.Gain, p.GainUnit)
		fmt.Fprintf(w, "memory     about %s\n", ui.Bytes(p.Memory))
		t := ui.NewTable("stage", "seconds, roughly")
		for _, stage := range p.Seconds {
			t.Row(stage.Name, fmt.Sprintf("%.0f", stage.Seconds))
		}
		t.Write(w)
	})
}
