package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/generator"

	"github.com/urfave/cli/v2"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name:      "train",
		Usage:     "learn the generator of a recipe, without searching",
		UsageText: "d2nwg train [--recipe FILE] --out DIR [flags]",
		Description: describe("Does improve's line up to the generator: relatives, VAE, reconstruction gate, diffusion. The generator stands in\n"+
			"OUT/generator; sample draws from it, and improve with the same recipe and folder goes on from there.",
			"d2nwg train --recipe recipes/demo.yaml --out runs/demo", "the demo's generator",
			"d2nwg train --recipe recipes/llama-3.2-1b.yaml --base models/1b --out runs/1b --set generator.vae.steps=2 --set generator.diffusion.steps=2", "try the sizes of a large base"),
		Flags:  runFlags(),
		Action: action(runTrain),
	}
}

func runTrain(ctx context.Context, s *session) error {
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
	g, _, gate, err := r.Train(ctx, relatives)
	if err != nil {
		return err
	}
	defer g.Close()
	result := struct {
		Generator string            `json:"generator"`
		Relatives int               `json:"relatives"`
		Gate      pipeline.Gate     `json:"gate"`
		Trained   generator.Summary `json:"trained"`
	}{filepath.Join(r.Dir, pipeline.GeneratorDir), len(relatives), gate, g.Summary()}
	return s.UI.Result(result, func(w io.Writer) {
		writeGate(w, gate)
		fmt.Fprintf(w, "reconstruction error %.4f of the variance\n", result.Trained.VAEError)
		if result.Trained.RidgeLambda > 0 {
			fmt.Fprintf(w, "the description explains %.1f %% of unseen latents' variance\n", 100*result.Trained.RidgeR2)
		} else {
			fmt.Fprintln(w, "no description tells where the latents' mean lies")
		}
		fmt.Fprintf(w, "the generator stands in %s\n", result.Generator)
	})
}
