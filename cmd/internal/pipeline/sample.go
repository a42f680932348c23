package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/generator"
	"d2nwg/generator/tokens"
	"d2nwg/llm"
)

// SampleOptions say what to sample.
type SampleOptions struct {
	Describe   string // "" = the recipe's target
	Count      int
	Seed       uint64
	Layer      int    // one layer only; −1 = all that was learned
	Out        string // folder to make; sample i stands in Out/i
	Checkpoint bool   // write whole checkpoints instead of variants
}

// Resume opens the run in dir with the recipe that is saved there.
func Resume(dir string, opt Options) (*Run, error) {
	r, err := recipe.LoadImprove(filepath.Join(dir, RecipeFile), nil)
	if err != nil {
		return nil, err
	}
	return Open(dir, r, opt)
}

// Sample draws weights from the run's trained generator and writes them.
func (r *Run) Sample(ctx context.Context, opt SampleOptions) ([]string, error) {
	if _, err := os.Stat(r.path(GeneratorDir, "config.json")); err != nil {
		return nil, fmt.Errorf("%s has no trained generator; run 'd2nwg train' or 'improve' first: %w", r.Dir, fs.ErrNotExist)
	}
	var dirs []string
	for i := range opt.Count {
		dir := filepath.Join(opt.Out, fmt.Sprintf("%03d", i))
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already; remove it or choose another --out: %w", dir, cmp.Or(err, fs.ErrExist))
		}
		dirs = append(dirs, dir)
	}
	relatives, err := r.Relatives(ctx)
	if err != nil {
		return nil, err
	}
	l, err := r.learn(ctx, relatives)
	if err != nil {
		return nil, err
	}
	wanted, description := l.wanted, opt.Describe
	if wanted != nil && description == "" {
		description = r.target.description
	}
	if opt.Describe != "" {
		if l.text == nil {
			return nil, fmt.Errorf("the generator in %s was trained without descriptions; leave --describe out", r.Dir)
		}
		if wanted, err = l.text.Embed(opt.Describe); err != nil {
			return nil, err
		}
	}
	backend, err := r.training(ctx)
	if err != nil {
		return nil, err
	}
	g, err := generator.Open(r.path(GeneratorDir), backend)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	how := generator.SampleOptions{}
	if opt.Layer >= 0 {
		how.Only = func(s tokens.Spec) bool { return s.Layer == opt.Layer }
	}
	for i, dir := range dirs {
		sets, err := g.SampleWith(ctx, wanted, 1, Seed(opt.Seed, "sample", i), how)
		if err != nil {
			return nil, err
		}
		if len(sets[0]) == 0 {
			return nil, fmt.Errorf("nothing was learned of layer %d; the generator knows layers %v", opt.Layer, l.layers())
		}
		v, err := l.candidate(sets[0])
		if err != nil {
			return nil, err
		}
		if opt.Checkpoint {
			err = v.Write(dir, llm.WriteOptions{})
		} else {
			err = v.Save(dir, description)
		}
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// layers lists the layers of which something is learned.
func (l *learned) layers() []int {
	var all []int
	for _, s := range l.set.Specs {
		all = append(all, s.Layer)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
