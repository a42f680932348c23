// Package finetune is what `d2nwg finetune` does: it reads a recipe's inputs, trains an adapter of a base or all of its
// weights, stops early on held-out items, and writes a PEFT adapter or a checkpoint. Beside its output OUT stands
// OUT.state: the recipe with the hashes of all inputs, what a killed run continues from, metrics, the plot and the result.
package finetune

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/internal/compute"
	"d2nwg/internal/files"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
)

// Files in OUT.state.
const (
	StateSuffix = ".state"
	recipeFile  = "recipe.yaml"
	resultFile  = "result.json"
	MetricsFile = "metrics.jsonl"
	PlotBase    = "loss" // .svg and .png
	trainDir    = "train"
)

// Options say where a job stands and how it reaches the world.
type Options struct {
	Out     string
	Force   bool // start anew where Out or its state exists
	Resolve func(address string, model bool) (path, pinned string, err error)
	Backend func(ctx context.Context, name string) (*compute.Backend, error)
	// Progress and Warn report; either may be nil.
	Progress progress.Func
	Warn     func(format string, args ...any)
}

// Job is a fine-tune whose inputs are read.
type Job struct {
	Recipe recipe.Finetune // complete, with the hashes of its inputs

	opt   Options
	base  *llm.Checkpoint
	tok   tokenizer.Tokenizer
	start *llm.Variant // where the training starts: the base as it is, or with an adapter on it
	data  *data
	lr    train.LowRankOptions // of an adapter
}

// Open reads everything that a recipe names. Nothing is written.
func Open(r recipe.Finetune, opt Options) (*Job, error) {
	r.Complete()
	j := &Job{Recipe: r, opt: opt}
	if err := j.open(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *Job) open() error {
	local, err := j.locate()
	if err != nil {
		return err
	}
	if j.base, err = llm.Open(local.Base); err != nil {
		return err
	}
	if j.tok, err = tokenizer.Open(local.Base); err != nil {
		return err
	}
	if limit := j.base.Config.MaxPositions; local.Data.Length > limit {
		return recipeError("--length is %d, the model takes %d tokens", local.Data.Length, limit)
	}
	j.start = &llm.Variant{Base: j.base}
	if local.Init != "" {
		if j.start, _, err = lora.Load(j.base, local.Init); err != nil {
			return err
		}
	}
	if !local.Full {
		if err := j.shape(); err != nil {
			return err
		}
	}
	if j.data, err = readData(local, j.Recipe, j.tok, pipeline.Seed(local.Seed, "rows", 0)); err != nil {
		return err
	}
	return j.hashInputs()
}

// recipeError is a setting that the inputs forbid.
func recipeError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{recipe.ErrInvalid}, args...)...)
}

// locate turns the addresses of the recipe into paths.
func (j *Job) locate() (recipe.Finetune, error) {
	local := j.Recipe
	for _, place := range []struct {
		at    *string
		model bool
	}{{&local.Base, true}, {&local.Init, true}, {&local.Data.Questions, false}, {&local.Data.Text, false}, {&local.Stop.File, false}} {
		if *place.at == "" {
			continue
		}
		path, _, err := j.opt.Resolve(*place.at, place.model)
		if err != nil {
			return local, err
		}
		*place.at = path
		if place.model && sameDirectory(path, j.opt.Out) {
			return local, recipeError("--out %s is read by this fine-tune; choose another folder", j.opt.Out)
		}
	}
	return local, nil
}

func sameDirectory(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// hashInputs notes what was read.
func (j *Job) hashInputs() error {
	hashes := map[string]string{}
	var err error
	if hashes["base"], err = j.base.Hash(); err != nil {
		return err
	}
	if j.Recipe.Init != "" {
		if hashes["init"], err = j.start.Hash(); err != nil {
			return err
		}
	}
	if j.data.known != nil {
		hashes["data"] = j.data.known.Hash("train")
	}
	if j.data.held != nil {
		hashes["held out"] = j.data.held.Hash(heldSplit)
	}
	return j.noteInputs(hashes)
}

// noteInputs keeps the hashes in the recipe. One that has them already must have read the same.
func (j *Job) noteInputs(hashes map[string]string) error {
	for what, hash := range j.Recipe.Inputs {
		if hashes[what] != hash {
			return recipeError("the input %q is not the one that the recipe notes; take its inputs out to use others", what)
		}
	}
	j.Recipe.Inputs = hashes
	return nil
}

// Close frees what the job holds.
func (j *Job) Close() error {
	if j.base == nil {
		return nil
	}
	return j.base.Close()
}

// stateDir is the folder beside the output.
func (j *Job) stateDir() string { return filepath.Clean(j.opt.Out) + StateSuffix }

func (j *Job) statePath(name string) string { return filepath.Join(j.stateDir(), name) }

// begin makes the state's folder, or finds it of this very recipe. done is what an earlier call already finished.
func (j *Job) begin() (done *Result, err error) {
	if j.opt.Force {
		if err := llm.MayReplace(j.opt.Out, true); err != nil {
			return nil, err
		}
		for _, name := range []string{trainDir, resultFile, MetricsFile, PlotBase + ".svg", PlotBase + ".png", recipeFile} {
			if err := os.RemoveAll(j.statePath(name)); err != nil {
				return nil, err
			}
		}
	}
	text, err := recipe.Commented("The recipe of this fine-tune, complete. d2nwg finetune --recipe recipe.yaml repeats it.", j.Recipe)
	if err != nil {
		return nil, err
	}
	old, err := os.ReadFile(j.statePath(recipeFile))
	if errors.Is(err, fs.ErrNotExist) {
		if err := llm.MayReplace(j.opt.Out, j.opt.Force); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(j.stateDir(), 0o755); err != nil {
			return nil, err
		}
		return nil, files.Write(j.statePath(recipeFile), text)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(old, text) {
		return nil, fmt.Errorf("%s holds a fine-tune of other settings or inputs; choose another --out, or --force to start it anew", j.stateDir())
	}
	return j.finished()
}

// finished returns the result of a job that is done, nil where there is none yet.
func (j *Job) finished() (*Result, error) {
	if _, err := os.Stat(j.opt.Out); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(j.statePath(resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Result
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to make it anew", j.statePath(resultFile), err)
	}
	return &r, nil
}
