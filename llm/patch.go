package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"d2nwg/safetensors"
)

// RollbackDir is where an applied patch keeps what it replaced: the patch back
// to the base, inside the new checkpoint's folder.
const RollbackDir = "rollback"

// fileSet says which files a checkpoint consists of: shards, index and
// companions.
type fileSet struct {
	Address string            `json:"address,omitempty"` // where it is published, as it was known when the patch was made
	SHA256  string            `json:"sha256"`            // as Checkpoint.Hash gives it
	Files   map[string]string `json:"files"`             // base name → sha256
}

// PatchOptions describe a patch.
type PatchOptions struct {
	Description string
	BaseAddress string // where others find the base, with its commit; "" when it isn't published
	Force       bool   // overwrite an existing patch directory
}

// PatchInfo is what a patch says of itself.
type PatchInfo struct {
	Description string            `json:"description,omitempty"`
	BaseAddress string            `json:"base_address,omitempty"` // where its base can be had
	Base        map[string]string `json:"base"`                   // files of the base that go into the result → sha256
	Result      map[string]string `json:"result"`                 // files of the result → sha256
	Tensors     []string          `json:"tensors"`                // replaced ones, sorted
}

// ReadPatch reads what the patch in dir says; nothing is held against any base.
func ReadPatch(dir string) (PatchInfo, error) {
	p, err := readPatchFile(filepath.Join(dir, variantName))
	if err != nil {
		return PatchInfo{}, err
	}
	return PatchInfo{p.Description, p.Base.Address, p.Base.Files, p.Result.Files, slices.Sorted(maps.Keys(p.Tensors))}, nil
}

// readPatchFile reads a variant.json that has to be a patch's.
func readPatchFile(path string) (*variantFile, error) {
	p, err := readVariantFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not a patch, as d2nwg push --patch publishes them: %w", filepath.Dir(path), err)
	case err != nil:
		return nil, err
	case p.Base == nil || p.Result == nil:
		return nil, badf("%s is a saved variant but no patch: it doesn't say which files it makes of which", path)
	}
	return p, nil
}

// SavePatch stores how result differs from base, as a saved variant that LoadVariant
// reads too. The changed tensors are kept whole, in the bits that result's files
// hold, and variant.json names the sha256 of every file that result is rebuilt
// from and consists of. result must have the base's layout: the same shards with
// the same headers, and no companion that the base lacks or has otherwise.
// A NaN or infinite value is refused by its tensor's name.
func SavePatch(base, result *Checkpoint, dir string, opt PatchOptions) error {
	names, err := changed(base, result)
	if err != nil {
		return err
	}
	p := &variantFile{Format: variantFormat, Description: opt.Description}
	if p.Result, err = result.fileSet(nil); err != nil {
		return err
	}
	if p.Base, err = base.fileSet(slices.Sorted(maps.Keys(p.Result.Files))); err != nil {
		return fmt.Errorf("%s isn't made of the base's files: %w", result.Dir, err)
	}
	p.Base.Address = opt.BaseAddress
	for _, name := range slices.Sorted(maps.Keys(p.Result.Files)) {
		if !slices.Contains(base.Files(), name) && p.Result.Files[name] != p.Base.Files[name] {
			return fmt.Errorf("%s of %s is not the base's: a patch holds tensors only, so publish the whole checkpoint", name, result.Dir)
		}
	}
	for _, name := range names {
		t, _ := result.Tensor(name)
		raw, err := result.Bytes(name)
		if err == nil {
			err = finiteBytes(t.Info, raw)
		}
		if err != nil {
			return err
		}
	}
	return WriteDirectory(dir, opt.Force, func(partial string) error { return p.fill(partial, result, names) })
}

// fill writes the patch's two files; the tensors are result's.
func (p *variantFile) fill(dir string, result *Checkpoint, names []string) error {
	p.BaseSHA256, p.Tensors = p.Base.SHA256, map[string]variantTensor{}
	var sources []safetensors.Source
	for _, name := range names {
		source, err := result.shardOf[name].Source(name)
		if err != nil {
			return err
		}
		p.Tensors[name] = variantTensor{Kind: kindReplace}
		sources = append(sources, source)
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFiles(dir, map[string][]byte{variantName: append(data, '\n')}); err != nil {
		return err
	}
	return safetensors.Write(filepath.Join(dir, variantWeights), fileMetadata, sources)
}

// changed lists the tensors whose bytes differ, in order of their names.
func changed(base, result *Checkpoint) ([]string, error) {
	if !slices.Equal(base.Files(), result.Files()) {
		return nil, layoutError(base, result)
	}
	var names []string
	for i, f := range base.shards {
		if !bytes.Equal(f.Header(), result.shards[i].Header()) {
			return nil, layoutError(base, result)
		}
	}
	for _, t := range base.tensors {
		a, err := base.Bytes(t.Name)
		if err != nil {
			return nil, err
		}
		b, err := result.Bytes(t.Name)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(a, b) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has the same weights as its base %s: there is nothing to put into a patch", result.Dir, base.Dir)
	}
	slices.Sort(names)
	return names, nil
}

func layoutError(base, result *Checkpoint) error {
	return fmt.Errorf("%s has other shards or other headers than its base %s: a patch replaces tensors in place, so publish the whole checkpoint",
		result.Dir, base.Dir)
}

// fileSet hashes the checkpoint's files: weights, index, and the companions among
// only (all of them for nil).
func (c *Checkpoint) fileSet(only []string) (*fileSet, error) {
	names, err := companions(c.Dir)
	if err != nil {
		return nil, err
	}
	if only != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(only, name) })
	}
	names = append(names, c.Files()...)
	if c.sharded {
		names = append(names, safetensors.IndexName)
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%s has no %s: %w", c.Dir, name, fs.ErrNotExist)
		}
	}
	set := &fileSet{Files: map[string]string{}}
	for _, name := range names {
		if set.Files[name], err = sha256File(filepath.Join(c.Dir, name)); err != nil {
			return nil, err
		}
	}
	if set.SHA256 = set.Files[safetensors.SingleName]; c.sharded {
		set.SHA256, err = c.Hash()
	}
	return set, err
}

// finiteBytes refuses stored values that are NaN or infinite, piece by piece.
func finiteBytes(info safetensors.Info, raw []byte) error {
	bits, _ := info.DType.Bits()
	values := make([]float32, min(writePiece, int(info.Elements())))
	first := 0
	for piece := range slices.Chunk(raw, writePiece*bits/8) {
		values = values[:len(piece)*8/bits]
		if err := safetensors.Decode(values, info.DType, piece); err != nil {
			return fmt.Errorf("tensor %q: %w", clip(info.Name), err)
		}
		if err := finite(info.Name, values, first); err != nil {
			return err
		}
		first += len(values)
	}
	return nil
}
