package zoo

import (
	"fmt"
	"io"

	"d2nwg/cmd/internal/ui"
)

// sheet is a table for people: ui.Table, or Markdown.
type sheet interface {
	Row(cells ...any)
	Write(w io.Writer)
}

// Write prints the table for people.
func (t *Table) Write(w io.Writer) {
	writeSplits(w, t.Splits, plain)
	if len(t.Tunes) > 0 {
		fmt.Fprintln(w)
		writeTunes(w, t.Tunes, plain)
	}
}

// plain makes a table for a terminal.
func plain(header ...string) sheet { return ui.NewTable(header...) }

func writeSplits(w io.Writer, splits []SplitResult, kind func(header ...string) sheet) {
	present := map[string]bool{}
	for _, s := range splits {
		for source := range s.Means {
			present[source] = true
		}
	}
	header := []string{"split", "tasks"}
	for _, source := range Sources {
		if present[source] {
			header = append(header, source)
		}
	}
	table := kind(append(header, "of the oracle's gain", "p vs mean", "p vs nearest")...)
	for _, s := range splits {
		cells := []any{s.Split, s.Tasks}
		for _, source := range header[2:] {
			cells = append(cells, cell(s.Means, source, "%.3f"))
		}
		table.Row(append(cells, s.recovered(), cell(s.Versus, SourceMean, "%.4f"), cell(s.Versus, SourceNearest, "%.4f"))...)
	}
	table.Write(w)
}

// recovered is the share of the oracle's gain with its interval.
func (s SplitResult) recovered() string {
	if s.Recovered == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", s.Recovered.Gain, s.Recovered.Low, s.Recovered.High)
}

func cell(values map[string]float64, key, format string) string {
	if x, ok := values[key]; ok {
		return fmt.Sprintf(format, x)
	}
	return "-"
}

func writeTunes(w io.Writer, tunes []TuneResult, kind func(header ...string) sheet) {
	table := kind("fine-tuned", "split", "tasks", SourceZero, SourceMean, SourceNearest, SourceGenerated, "generated - best other", SourceOracle)
	for _, s := range tunes {
		cells := []any{fmt.Sprintf("%d steps on %s", s.Steps, s.examples()), s.Split, s.Tasks}
		for _, start := range starts {
			cells = append(cells, fmt.Sprintf("%.3f", s.Means[start]))
		}
		gain := "-"
		if s.Gain != nil {
			gain = fmt.Sprintf("%+.3f [%.3f, %.3f]", s.Gain.Gain, s.Gain.Low, s.Gain.High)
		}
		table.Row(append(cells, gain, fmt.Sprintf("%.3f", s.Oracle))...)
	}
	table.Write(w)
}

// Plot draws the means of every split.
func (t *Table) Plot(base string) error {
	var bars []ui.Bar
	for _, s := range t.Splits {
		for _, source := range Sources {
			if x, ok := s.Means[source]; ok {
				bars = append(bars, ui.Bar{Label: s.Split + ": " + source, Value: x, Low: x, High: x, Group: source})
			}
		}
	}
	return ui.SaveBars(base, "Adapters of tasks, by where they come from", "accuracy on held questions", bars)
}
