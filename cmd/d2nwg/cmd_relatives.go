package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"d2nwg/cmd/internal/pipeline"

	"github.com/urfave/cli/v2"
)

func relativesCommand() *cli.Command {
	return &cli.Command{
		Name:      "relatives",
		Usage:     "make checkpoints related to a base: what a generator learns from",
		UsageText: "d2nwg relatives [--recipe FILE] --out DIR [flags]",
		Description: describe("Does the first stage of improve: fine-tunes of the base on different mixes or parts of the train cut, many in one\n"+
			"batch, each with a description. They are variants (low-rank updates) in OUT/relatives.",
			"d2nwg relatives --recipe recipes/relatives.yaml --out runs/relatives", "how the bundled relatives were made",
			"d2nwg relatives --base models/mine --text corpus.txt --set relatives.make.count=16 --out runs/r", "for a text"),
		Flags:  runFlags(),
		Action: action(runRelatives),
	}
}

func runRelatives(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	r, err := openRun(s)
	if err != nil {
		return err
	}
	defer r.Close()
	relatives, err := r.Relatives(ctx)
	if err != nil {
		return err
	}
	type relative struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	all := []relative{}
	for _, x := range relatives {
		all = append(all, relative{x.Name, x.Description})
	}
	return s.UI.Result(all, func(w io.Writer) {
		where := filepath.Join(r.Dir, pipeline.RelativesDir)
		if from := r.Recipe.Relatives.From; len(from) > 0 {
			where = strings.Join(from, ", ") + "; none were made, because the recipe names them"
		}
		fmt.Fprintf(w, "%d relatives in %s\n", len(all), where)
	})
}
