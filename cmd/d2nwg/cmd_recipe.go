package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/generator"

	"github.com/urfave/cli/v2"
)

func recipeCommand() *cli.Command {
	return &cli.Command{
		Name:      "recipe",
		Usage:     "write a commented recipe",
		UsageText: "d2nwg recipe init [flags]",
		Description: describe("A recipe is a YAML file that holds everything that decides a run's outcome.",
			"d2nwg recipe init --mix rotl3+add+times > recipe.yaml", "every key with its default and what it means"),
		Subcommands: []*cli.Command{{
			Name:      "init",
			Usage:     "write a recipe that names and explains every key",
			UsageText: "d2nwg recipe init [--preset modern|paper] [--out FILE] [flags of improve]",
			Description: describe("Prints the recipe to standard output, or writes it to a new file.",
				"d2nwg recipe init --text corpus.txt --out recipe.yaml", "for a text",
				"d2nwg recipe init --preset paper --tasks q.jsonl", "with the paper's VAE and diffusion"),
			Flags: append(recipeFlags(),
				&cli.StringFlag{Name: "preset", Value: generator.Modern, Usage: "the generator's preset: modern or paper"},
				&cli.StringFlag{Name: "out", Usage: "a file to make (default: standard output)"}),
			Action: action(runRecipeInit),
		}},
	}
}

func runRecipeInit(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	if p := s.String("preset"); p != generator.Modern && p != generator.Paper {
		return usagef("no preset %q; use modern or paper", p)
	}
	sets := recipeSets(s)
	if s.IsSet("preset") { // else that of --recipe stays
		sets = append(sets, "generator.preset="+s.String("preset"))
	}
	if !s.IsSet("mix") && !s.IsSet("tasks") && !s.IsSet("text") && s.String("recipe") == "" {
		sets = append(sets, "score.mix=rotl3+add+times", "relatives.from=[bundled]")
	}
	r, err := recipe.LoadImprove(s.String("recipe"), sets)
	if err != nil {
		return err
	}
	text, err := recipe.Commented("A recipe of d2nwg improve. A key that is left out has its default.", r)
	if err != nil {
		return err
	}
	out := s.String("out")
	if out == "" {
		_, err = s.UI.Out.Write(text)
		return err
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists; remove it or choose another --out", out)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
