package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/llm/train"
	"d2nwg/safetensors"
)

// Relative is a checkpoint near the base, as a variant of it.
type Relative struct {
	Name        string
	Description string
	Variant     *llm.Variant
}

// descriptionFile may stand in the folder of a relative that is a checkpoint or a PEFT adapter and says in words what it was made for.
const descriptionFile = "description.txt"

// Relatives reads the relatives that the recipe names, or makes those it describes.
func (r *Run) Relatives(ctx context.Context) ([]Relative, error) {
	var all []Relative
	err := r.stage("relatives", func() error {
		dirs := r.Recipe.Relatives.From
		if len(dirs) == 0 {
			made, err := r.makeRelatives(ctx)
			if err != nil || !made {
				return err
			}
			dirs = []string{r.path(RelativesDir)}
		}
		for _, dir := range dirs {
			found, err := r.readRelatives(ctx, dir)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
		return r.bindRelatives(all)
	})
	return all, err
}

// bindRelatives ties the run to the relatives it began with.
func (r *Run) bindRelatives(all []Relative) error {
	h := sha256.New()
	for _, m := range all {
		hash, err := m.Variant.Hash()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %q %s\n", m.Name, m.Description, hash)
	}
	return r.bind("what the relatives are", hex.EncodeToString(h.Sum(nil)))
}

// makeRelatives trains the relatives the recipe describes, a group in one batch; made is false when it asks for none.
func (r *Run) makeRelatives(ctx context.Context) (made bool, err error) {
	m := r.Recipe.Relatives.Make
	all, err := r.target.materials(m, r.Recipe.Seed)
	if err != nil || len(all) == 0 {
		return false, err
	}
	for first := 0; first < len(all); first += m.Group {
		if err := r.makeGroup(ctx, m, first, all[first:min(first+m.Group, len(all))]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// makeGroup trains and saves relatives first, first+1, … unless they are there.
func (r *Run) makeGroup(ctx context.Context, m recipe.MakeRelatives, first int, group []material) error {
	missing := false
	data := make([]train.Data, len(group))
	for i, x := range group {
		data[i] = x.data
		if _, err := os.Stat(r.path(RelativesDir, x.name)); err != nil {
			missing = true
		}
	}
	if !missing {
		return nil
	}
	backend, err := r.training(ctx)
	if err != nil {
		return err
	}
	opt := TrainOptions(m.Train)
	opt.Seed, opt.Backend, opt.Progress = r.seed("shared A", 0), backend, r.opt.Progress
	opt.StateDir = r.path(stateDir, fmt.Sprintf("relatives-%04d", first))
	variants, _, err := train.Adapters(ctx, r.base, data, train.LowRankOptions{Rank: m.Rank}, opt)
	if err != nil {
		return err
	}
	for i, v := range variants {
		err := v.SaveAs(r.path(RelativesDir, group[i].name), group[i].description, llm.SaveOptions{DType: safetensors.BF16, Force: true})
		if err != nil {
			return err
		}
	}
	return os.RemoveAll(opt.StateDir)
}

// TrainOptions turns a recipe's optimizer into training options.
func TrainOptions(o recipe.Optimizer) train.Options {
	return train.Options{
		Steps: o.Steps, Warmup: o.Warmup, LearningRate: o.LearningRate, MinLearningRate: o.MinLearningRate,
		WeightDecay: o.WeightDecay, Clip: o.Clip, SaveEvery: o.SaveEvery,
	}
}

// readRelatives reads dir: a variant, a checkpoint, or a folder of those.
func (r *Run) readRelatives(ctx context.Context, dir string) ([]Relative, error) {
	dirs, err := r.relativeDirs(dir)
	if err != nil {
		return nil, err
	}
	var all []Relative
	for _, d := range dirs {
		one, err := r.readRelative(ctx, d)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// relativeDirs lists the folders of the variants and checkpoints that dir stands for.
func (r *Run) relativeDirs(dir string) ([]string, error) {
	if dir == recipe.Bundled {
		dir = r.path(bundledDir)
		if err := bundled.Relatives(dir); err != nil {
			return nil, err
		}
	}
	if lora.IsVariant(dir) || isCheckpoint(dir) {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read relatives: %w", err)
	}
	var all []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		// Hidden folders are what a killed writer left unfinished.
		if !strings.HasPrefix(e.Name(), ".") && (lora.IsVariant(path) || isCheckpoint(path)) {
			all = append(all, path)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds neither a variant nor a checkpoint: %w", dir, fs.ErrNotExist)
	}
	return all, nil
}

func isCheckpoint(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, llm.ConfigName))
	return err == nil
}

func (r *Run) readRelative(ctx context.Context, dir string) (Relative, error) {
	out := Relative{Name: filepath.Base(dir)}
	var err error
	if lora.IsVariant(dir) {
		out.Variant, out.Description, err = lora.Load(r.base, dir)
		if err != nil || out.Description != "" {
			return out, err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, descriptionFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	out.Description = strings.TrimSpace(string(text))
	if out.Variant == nil {
		out.Variant, err = r.dense(ctx, dir)
		return out, err
	}
	return out, nil
}

// dense turns a whole checkpoint into a variant: the tensors that Spectrum selects in the base, with the checkpoint's values.
func (r *Run) dense(ctx context.Context, dir string) (*llm.Variant, error) {
	layers, err := r.spectrum(ctx)
	if err != nil {
		return nil, err
	}
	c, err := llm.Open(dir)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v := &llm.Variant{Base: r.base, Replace: map[string][]float32{}}
	for _, l := range layers {
		if !l.Selected {
			continue
		}
		values, err := c.Float32(l.Tensor)
		if err != nil {
			return nil, fmt.Errorf("relative %s: %w", dir, err)
		}
		v.Replace[l.Tensor] = values
	}
	if err := v.Check(); err != nil {
		return nil, fmt.Errorf("relative %s doesn't have the base's shape: %w", dir, err)
	}
	return v, nil
}
