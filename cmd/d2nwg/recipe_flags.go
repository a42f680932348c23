package main

import (
	"strconv"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"

	"github.com/urfave/cli/v2"
)

// recipeFlags choose and change a recipe; the commands of improve's line share them.
func recipeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "recipe", Usage: "recipe file (see 'd2nwg recipe init'); flags below override it"},
		&cli.StringFlag{Name: "base", Usage: "checkpoint folder or address, or 'bundled'"},
		&cli.StringFlag{Name: "mix", Usage: "judge by procedural tasks joined by '+'"},
		&cli.StringFlag{Name: "tasks", Usage: "judge by a JSONL file of {\"prompt\",\"answer\"}, its address, or a task of lm-evaluation-harness"},
		&cli.StringFlag{Name: "harness", Usage: "folder of an lm-evaluation-harness with the task's file"},
		&cli.StringFlag{Name: "data", Usage: "folder with the task's data (see 'd2nwg eval --help')"},
		&cli.StringFlag{Name: "text", Usage: "judge by bits per byte of a text file, or the address of one"},
		&cli.StringFlag{Name: "describe", Usage: "what is wanted, in words"},
		&cli.StringSliceFlag{Name: "relatives", Usage: "folder or address of related checkpoints or variants (repeatable)"},
		&cli.StringFlag{Name: "backend", Usage: "training backend: auto, go, onnx or xla"},
		&cli.Uint64Flag{Name: "seed", Usage: "every other seed is derived from it"},
		&cli.StringSliceFlag{Name: "set", Usage: "any other key of the recipe, as key=value (repeatable): generator.vae.steps=500"},
	}
}

// loadRecipe reads the recipe a command line describes.
func loadRecipe(s *session) (recipe.Improve, error) {
	return recipe.LoadImprove(s.String("recipe"), recipeSets(s))
}

// recipeSets turns the flags of a command line into settings of recipe keys.
func recipeSets(s *session) []string {
	var sets []string
	text := func(key, value string) { sets = append(sets, key+"="+strconv.Quote(value)) }
	for flag, key := range map[string]string{"base": "base", "describe": "describe", "backend": "backend", "harness": "score.harness", "data": "score.data"} {
		if s.IsSet(flag) {
			text(key, s.String(flag))
		}
	}
	sets = append(sets, scoreSets(s)...)
	if s.IsSet("seed") {
		sets = append(sets, "seed="+strconv.FormatUint(s.Uint64("seed"), 10))
	}
	if s.IsSet("relatives") {
		list := ""
		for _, dir := range s.StringSlice("relatives") {
			list += strconv.Quote(dir) + ","
		}
		sets = append(sets, "relatives.from=["+list+"]")
	}
	return append(sets, s.StringSlice("set")...)
}

// scoreSets turns --mix, --tasks and --text into what the recipe is judged by; those of a recipe that aren't named again
// are cleared.
func scoreSets(s *session) (sets []string) {
	named := map[string]string{}
	for _, kind := range []string{"mix", "tasks", "text"} {
		if !s.IsSet(kind) {
			continue
		}
		key := kind
		if kind == "tasks" && namesTasks(s.String(kind)) {
			key = "task"
		}
		named[key] = s.String(kind)
	}
	if len(named) == 0 {
		return nil
	}
	for _, key := range []string{"mix", "tasks", "task", "text"} {
		sets = append(sets, "score."+key+"="+strconv.Quote(named[key]))
	}
	return sets
}

// openRun opens the run of a command line in its --out folder.
func openRun(s *session) (*pipeline.Run, error) {
	r, err := loadRecipe(s)
	if err != nil {
		return nil, err
	}
	return pipeline.Open(s.String("out"), r, runOptions(s))
}

// runOptions say how a run of this command line speaks and finds things.
func runOptions(s *session) pipeline.Options {
	return pipeline.Options{Progress: s.UI.Progress(), Note: s.UI.Notef, Force: s.Bool("force"), Resolve: s.resolve, Dataset: s.dataset}
}

// runFlags are recipeFlags with the run's folder.
func runFlags() []cli.Flag {
	return append(recipeFlags(),
		&cli.StringFlag{Name: "out", Required: true, Usage: "the run's folder; an unfinished run in it is continued"},
		&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "start anew where OUT holds a run already"})
}
