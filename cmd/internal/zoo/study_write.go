package zoo

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/internal/files"
)

// Save writes study.json, study.md and its plots to a folder.
func (s *Study) Save(dir string) error {
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := files.Write(filepath.Join(dir, "study.json"), append(data, '\n')); err != nil {
		return err
	}
	var text strings.Builder
	s.write(&text, func(header ...string) sheet { return &markdown{header: header} })
	if err := files.Write(filepath.Join(dir, "study.md"), []byte(text.String())); err != nil {
		return err
	}
	if err := (&Table{Splits: s.Splits}).Plot(filepath.Join(dir, "study")); err != nil {
		return err
	}
	return s.plotTunes(dir)
}

// Write prints the study for people.
func (s *Study) Write(w io.Writer) { s.write(w, plain) }

func (s *Study) write(w io.Writer, kind func(header ...string) sheet) {
	fmt.Fprintf(w, "%d training tasks, %d of their adapters; seeds %v. Accuracy on held questions, means over the seeds:\n\n", s.Tasks, s.Adapters, s.Seeds)
	writeSplits(w, s.Splits, kind)
	fmt.Fprintf(w, "\nGenerated, seed by seed:\n\n")
	seeds := kind(append([]string{"split"}, texts(s.Seeds)...)...)
	for _, split := range s.Splits {
		cells := []any{split.Split}
		for _, one := range s.BySeed {
			cells = append(cells, cell(meansOf(one, split.Split), SourceGenerated, "%.3f"))
		}
		seeds.Row(cells...)
	}
	seeds.Write(w)
	if len(s.Tunes) > 0 {
		fmt.Fprintf(w, "\nAfter a short fine-tune, means over %d seeds:\n\n", s.TuneSeeds)
		writeTunes(w, s.Tunes, kind)
		s.writeSteps(w, kind)
	}
	if len(s.Breadths) > 0 {
		fmt.Fprintf(w, "\nGenerators that start from nothing, by the number of training tasks, seed %d:\n\n", s.Seeds[0])
		s.writeBreadths(w, kind)
	}
	fmt.Fprintf(w, "\nSeconds of learning: %.0f; of measuring: %.0f.\n", s.Seconds.Learn, s.Seconds.Measure)
}

func texts(seeds []uint64) []string {
	var out []string
	for _, x := range seeds {
		out = append(out, fmt.Sprint("seed ", x))
	}
	return out
}

func meansOf(splits []SplitResult, name string) map[string]float64 {
	if i := slices.IndexFunc(splits, func(s SplitResult) bool { return s.Split == name }); i >= 0 {
		return splits[i].Means
	}
	return nil
}

// curves lists the splits that were tuned on all examples.
func (s *Study) curves() []string {
	var out []string
	for _, t := range s.Tunes {
		if t.Shots == 0 && !slices.Contains(out, t.Split) {
			out = append(out, t.Split)
		}
	}
	return out
}

func (s *Study) writeSteps(w io.Writer, kind func(header ...string) sheet) {
	splits := s.curves()
	if len(splits) == 0 {
		return
	}
	fmt.Fprintf(w, "\nSteps on all examples to %.0f %% of the oracle's accuracy, of those tried:\n\n", 100*nearOracle)
	table := kind(append([]string{"split"}, starts...)...)
	for _, split := range splits {
		cells := []any{split}
		for _, start := range starts {
			if n := stepsTo(s.Tunes, split, start); n > 0 {
				cells = append(cells, n)
			} else {
				cells = append(cells, "more")
			}
		}
		table.Row(cells...)
	}
	table.Write(w)
}

func (s *Study) writeBreadths(w io.Writer, kind func(header ...string) sheet) {
	table := kind("training tasks", "split", SourceBase, SourceGenerated, SourceUnseen, SourceOracle, "of the oracle's gain")
	for _, b := range s.Breadths {
		for _, split := range b.Splits {
			table.Row(b.Tasks, split.Split, cell(split.Means, SourceBase, "%.3f"), cell(split.Means, SourceGenerated, "%.3f"),
				cell(split.Means, SourceUnseen, "%.3f"), cell(split.Means, SourceOracle, "%.3f"), split.recovered())
		}
	}
	table.Write(w)
}

// plotTunes draws the accuracy over the steps on all examples, a plot a split.
func (s *Study) plotTunes(dir string) error {
	for _, split := range s.curves() {
		lines := map[string][]ui.Point{}
		for _, t := range s.Tunes {
			if t.Shots != 0 || t.Split != split {
				continue
			}
			for _, start := range starts {
				lines[start] = append(lines[start], ui.Point{X: float64(t.Steps), Y: t.Means[start]})
			}
			lines[SourceOracle] = append(lines[SourceOracle], ui.Point{X: float64(t.Steps), Y: t.Oracle})
		}
		var series []ui.Series
		for _, name := range append(slices.Clone(starts), SourceOracle) {
			series = append(series, ui.Series{Name: name, Points: lines[name]})
		}
		file := "tuned-" + strings.ReplaceAll(split, ":", "-")
		if err := ui.SaveLines(filepath.Join(dir, file), "Fine-tunes of "+split+" tasks, by their start", "steps", "accuracy on held questions", series); err != nil {
			return err
		}
	}
	return nil
}

// markdown is a table in a Markdown document.
type markdown struct {
	header []string
	rows   [][]any
}

func (m *markdown) Row(cells ...any) { m.rows = append(m.rows, cells) }

func (m *markdown) Write(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(m.header)
	fmt.Fprintln(w, "|"+strings.Repeat("---|", len(m.header)))
	for _, r := range m.rows {
		var cells []string
		for _, c := range r {
			cells = append(cells, fmt.Sprint(c))
		}
		line(cells)
	}
}
