package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/cmd/internal/ui"
	"d2nwg/generator/spectrum"
	"d2nwg/llm"

	"github.com/urfave/cli/v2"
)

func spectrumCommand() *cli.Command {
	return &cli.Command{
		Name:      "spectrum",
		Usage:     "rank weight matrices by signal-to-noise ratio",
		UsageText: "d2nwg spectrum [--percent P] [--without MODULE]... DIR",
		Description: describe(`Measures the singular values of every weight matrix, splits them at the Marchenko-Pastur edge of a noise
estimate and ranks the matrices of each module by the ratio of signal to noise (Spectrum, arXiv:2406.06623).
The best of each module are selected: the ones improve would work on.`,
			"d2nwg spectrum models/stories260K", "all matrices, the top 25 % of each module marked",
			"d2nwg spectrum --percent 50 --without embed_tokens --json models/stories260K", "as JSON, half selected, no embedding"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "percent", Value: 25, Usage: "how much of each module is selected, 1 to 100"},
			&cli.StringSliceFlag{Name: "without", Usage: "leave out a module, such as embed_tokens or lm_head; may be repeated"},
		},
		Action: action(runSpectrum),
	}
}

func runSpectrum(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	percent := s.Int("percent")
	if percent < 1 || percent > 100 {
		return usagef("--percent must be from 1 to 100, is %d", percent)
	}
	c, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer c.Close()

	without := s.StringSlice("without")
	known := map[string]bool{}
	for _, m := range llm.Modules() {
		known[m.Name] = true
	}
	for _, name := range without {
		if !known[name] {
			return usagef("--without: there is no module %q", name)
		}
	}
	layers, err := spectrum.Rank(ctx, c, percent, s.UI.Progress(), without...)
	if err != nil {
		return err
	}
	s.UI.Close() // the bars end before the table begins
	result := struct {
		Percent int              `json:"percent"`
		Layers  []spectrum.Layer `json:"layers"`
	}{percent, layers}
	return s.UI.Result(result, func(w io.Writer) { writeSpectrum(w, layers) })
}

func writeSpectrum(w io.Writer, layers []spectrum.Layer) {
	t := ui.NewTable("module", "layer", "rank", "snr", "signal", "threshold", "largest", "selected")
	selected := 0
	for _, l := range layers {
		layer, mark := fmt.Sprint(l.Layer), ""
		if l.Layer < 0 {
			layer = "-"
		}
		if l.Selected {
			mark = "*"
			selected++
		}
		t.Row(l.Module, layer, l.Rank, l.SNR, fmt.Sprintf("%d/%d", l.Signal, min(l.Shape[0], l.Shape[1])), l.Threshold, l.Largest, mark)
	}
	t.Write(w)
	fmt.Fprintf(w, "\n%d of %d matrices selected\n", selected, len(layers))
}
