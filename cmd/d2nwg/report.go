package main

import (
	"fmt"
	"io"
	"path/filepath"

	"d2nwg/cmd/internal/ui"
	"d2nwg/generator/explore"
	"d2nwg/internal/stats"
)

// writeReport prints a run's report for people: the splits, every source beside the base, both verdicts.
func writeReport(w io.Writer, r *explore.Report) {
	fmt.Fprintf(w, "metric %s, seed %d\n", r.Metric, r.Seed)
	for _, split := range []explore.Split{stats.Select, stats.Confirm, stats.Test} {
		if info, ok := r.Splits[split]; ok {
			fmt.Fprintf(w, "%-7s  %d items\n", split, info.Items)
		}
	}
	fmt.Fprintln(w)

	t := ui.NewTable("source", "kind", "scored", "items", "select", "confirm", "gate", "test", "gain on test", "interval")
	base := []any{"base", "-", "-", "-", r.BaseScores[stats.Select].Mean, r.BaseScores[stats.Confirm].Mean, "-", "-", "-", "-"}
	if test, ok := r.BaseScores[stats.Test]; ok {
		base[7] = test.Mean
	}
	t.Row(base...)
	for _, s := range r.Sources {
		gate := "no"
		if s.Passed {
			gate = "yes"
		}
		row := []any{s.Name, s.Kind, s.Evaluations, share(s.Items, s.FullItems), s.Select.Mean, s.Confirm.Mean, gate, "-", "-", "-"}
		if s.Test != nil {
			row[7] = s.Test.Mean
		}
		if s.TestGain != nil {
			row[8], row[9] = fmt.Sprintf("%+.4f", s.TestGain.Gain.Gain), interval(s.TestGain.Gain)
		}
		t.Row(row...)
	}
	t.Write(w)

	fmt.Fprintln(w)
	writeVerdict(w, "checkpoint", r.Checkpoint)
	writeVerdict(w, "generator", r.Generator)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
}

func writeVerdict(w io.Writer, name string, v explore.Verdict) {
	word := "NO VERIFIED IMPROVEMENT"
	if v.Verified {
		word = "VERIFIED"
	}
	fmt.Fprintf(w, "%s verdict: %s. %s\n", name, word, v.Reason)
}

// share is what races left of the full cost.
func share(part, all int) string {
	if all == 0 {
		return "-" // a report of a version that held none
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(all))
}

func interval(i stats.Interval) string { return fmt.Sprintf("[%+.4f, %+.4f]", i.Low, i.High) }

// plotReport saves sources.svg and sources.png: each source's gain over the base, on test where it was
// opened, else on confirm.
func plotReport(dir string, r *explore.Report) error {
	on := stats.Confirm
	for _, s := range r.Sources {
		if s.TestGain != nil {
			on = stats.Test
		}
	}
	var bars []ui.Bar
	for _, s := range r.Sources {
		gain := s.ConfirmGain.Gain
		if on == stats.Test {
			if s.TestGain == nil {
				continue
			}
			gain = s.TestGain.Gain
		}
		bars = append(bars, ui.Bar{Label: s.Name, Value: gain.Gain, Low: gain.Low, High: gain.High, Group: s.Kind})
	}
	return ui.SaveBars(filepath.Join(dir, "sources"), "Gain over the base on "+string(on), r.Metric, bars)
}
