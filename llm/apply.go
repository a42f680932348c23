package llm

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/internal/progress"
	"d2nwg/safetensors"
)

// ApplyOptions say how Apply and Rollback treat their target.
type ApplyOptions struct {
	Force    bool          // overwrite an existing checkpoint directory
	Progress progress.Func // bytes of weights written, stage "write"
}

// Apply makes out the checkpoint that the patch in dir promises, from base and the
// patch's tensors, bit for bit. Every file of the base that goes into it is held
// against the patch's sha256 before, every file of the result after; out appears
// whole or not at all. What was replaced stands in out/rollback, for Rollback. A
// broken patch wraps safetensors.ErrFormat; another base, a NaN or an infinite
// value are errors too.
func Apply(base *Checkpoint, dir, out string, opt ApplyOptions) error {
	if sameDirectory(out, base.Dir) || sameDirectory(out, dir) {
		return fmt.Errorf("%s is the base or the patch itself: choose another directory", out)
	}
	a, err := openPatch(base, dir)
	if err != nil {
		return err
	}
	defer a.weights.Close()
	for _, info := range a.weights.Tensors() {
		raw, err := a.weights.Bytes(info.Name)
		if err == nil {
			err = finiteBytes(info, raw)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return WriteDirectory(out, opt.Force, func(partial string) error {
		if err := a.write(partial, opt.Progress); err != nil {
			return err
		}
		back := &variantFile{Format: variantFormat, Description: "Back to the base.", Base: a.file.Result, Result: a.file.Base}
		rollback := filepath.Join(partial, RollbackDir)
		if err := os.Mkdir(rollback, 0o777); err != nil {
			return err
		}
		return errors.Join(back.fill(rollback, base, slices.Sorted(maps.Keys(a.file.Tensors))), syncPath(rollback))
	})
}

// Rollback makes out the base again that Apply made the checkpoint in dir of, bit
// for bit, and verifies both as Apply does. out "" replaces dir itself, which then
// must hold nothing but what Apply wrote.
func Rollback(dir, out string, opt ApplyOptions) error {
	c, err := Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	patch := filepath.Join(dir, RollbackDir)
	if _, err := os.Stat(filepath.Join(patch, variantName)); err != nil {
		return fmt.Errorf("%s is not a checkpoint that a patch was applied to: %w", dir, err)
	}
	a, err := openPatch(c, patch)
	if err != nil {
		return err
	}
	defer a.weights.Close()
	if out == "" || sameDirectory(out, dir) {
		out, opt.Force = dir, true
		if err := a.onlyApplied(dir); err != nil {
			return err
		}
	}
	return WriteDirectory(out, opt.Force, func(partial string) error { return a.write(partial, opt.Progress) })
}

// patch is an opened patch that fits its base.
type patch struct {
	dir     string
	base    *Checkpoint
	file    *variantFile
	weights *safetensors.File
}

// openPatch opens the patch in dir and holds it against base: its files, and its
// tensors' names, dtypes and shapes.
func openPatch(base *Checkpoint, dir string) (*patch, error) {
	file, err := readPatch(base, dir)
	if err != nil {
		return nil, err
	}
	weights, err := safetensors.Open(filepath.Join(dir, variantWeights))
	if err != nil {
		return nil, err
	}
	p := &patch{dir, base, file, weights}
	if err := p.check(); err != nil {
		return nil, errors.Join(err, weights.Close())
	}
	return p, nil
}

func (p *patch) check() error {
	for _, name := range slices.Sorted(maps.Keys(p.file.Tensors)) {
		t, inBase := p.base.Tensor(name)
		info, stored := p.weights.Info(name)
		switch {
		case p.file.Tensors[name].Kind != kindReplace:
			return badf("%s: tensor %q is no whole tensor, a patch holds only those", p.dir, clip(name))
		case !inBase:
			return badf("%s: tensor %q isn't in the base checkpoint %s", p.dir, clip(name), p.base.Dir)
		case !stored:
			return badf("%s has no tensor %q", p.weights.Path(), clip(name))
		case info.DType != t.DType || !slices.Equal(info.Shape, t.Shape):
			return badf("%s has tensor %q as %s %v, the base as %s %v", p.weights.Path(), clip(name), info.DType, info.Shape, t.DType, t.Shape)
		}
	}
	if n, named := len(p.weights.Tensors()), len(p.file.Tensors); n != named {
		return badf("%s holds %d tensors, its %s names %d", p.weights.Path(), n, variantName, named)
	}
	return nil
}

// write fills dir with the result and verifies it.
func (p *patch) write(dir string, report progress.Func) error {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(p.file.Result.Files)), func(name string) bool { return !isCompanion(name) })
	if err := copyFiles(p.base.Dir, dir, names); err != nil {
		return err
	}
	if err := p.base.rewrite(dir, p.change, report); err != nil {
		return err
	}
	result, err := Open(dir)
	if err != nil {
		return fmt.Errorf("what was written can't be read back: %w", err)
	}
	return errors.Join(p.verify(result), result.Close())
}

// change copies a tensor's stored bytes.
func (p *patch) change(info safetensors.Info) change {
	if _, ok := p.file.Tensors[info.Name]; !ok {
		return nil
	}
	return func(s *shardWriter) error {
		raw, err := p.weights.Bytes(info.Name)
		if err != nil {
			return err
		}
		for piece := range slices.Chunk(raw, copyPiece) {
			n, err := s.dst.Write(piece)
			s.flush(int64(n))
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// verify holds what was written against what the patch promises.
func (p *patch) verify(result *Checkpoint) error {
	promised := p.file.Result.Files
	names := slices.Sorted(maps.Keys(promised))
	have, err := result.fileSet(names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if have.Files[name] != promised[name] {
			return badf("%s is damaged: with it %s has the sha256 %s instead of %s", p.weights.Path(), name, have.Files[name], clip(promised[name]))
		}
	}
	p.file.Result = have
	return nil
}

// onlyApplied refuses a folder with more in it than Apply wrote: it is about to
// be replaced as a whole.
func (p *patch) onlyApplied(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ours := p.file.Result.Files[e.Name()]; !ours && e.Name() != RollbackDir {
			return fmt.Errorf("%s also holds %s, which would be lost: roll back to another directory with --out", dir, e.Name())
		}
	}
	return nil
}

// readPatch reads dir/variant.json and holds it against the base's files: the
// names it lists are those of the base's own layout, the hashes are those of the
// base's bytes.
func readPatch(base *Checkpoint, dir string) (*variantFile, error) {
	path := filepath.Join(dir, variantName)
	p, err := readPatchFile(path)
	if err != nil {
		return nil, err
	}
	if err := p.checkNames(base, path); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(p.Result.Files))
	have, err := base.fileSet(names)
	if err != nil {
		return nil, fmt.Errorf("%w: %s takes it from the base%s", err, path, p.Base.where())
	}
	for _, name := range names {
		if have.Files[name] != p.Base.Files[name] {
			return nil, fmt.Errorf("%s has the sha256 %s, but %s was made for a base where it is %s%s",
				filepath.Join(base.Dir, name), have.Files[name], path, clip(p.Base.Files[name]), p.Base.where())
		}
	}
	have.Address = p.Base.Address
	p.Base = have
	return p, nil
}

// checkNames requires the patch to make exactly the weight files of the base's
// layout, and companions only as the base has them.
func (p *variantFile) checkNames(base *Checkpoint, path string) error {
	weights := base.Files()
	if base.sharded {
		weights = append(weights, safetensors.IndexName)
	}
	for _, name := range weights {
		if p.Result.Files[name] == "" {
			return fmt.Errorf("%s makes no %s, which %s has: it was made for another base%s", path, name, base.Dir, p.Base.where())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Result.Files)) {
		if name != filepath.Base(name) || !isCompanion(name) && !slices.Contains(weights, name) {
			return badf("%s makes a file %q, which no checkpoint of %s has", path, clip(name), base.Dir)
		}
		if !slices.Contains(base.Files(), name) && p.Result.Files[name] != p.Base.Files[name] {
			return badf("%s has %s differ from the base's, but holds tensors only", path, name)
		}
	}
	return nil
}

// where says where the base can be had.
func (s *fileSet) where() string {
	if s.Address == "" {
		return ""
	}
	return ": get " + clip(s.Address)
}
