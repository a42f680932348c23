package llm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/safetensors"
)

// patched makes a checkpoint of a base's variant and the patch that leads to it.
func patched(t testing.TB, c *Checkpoint, v *Variant) (result, patch string) {
	t.Helper()
	result, patch = filepath.Join(t.TempDir(), "result"), filepath.Join(t.TempDir(), "patch")
	if err := v.Write(result, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := SavePatch(c, openCheckpoint(t, result), patch, PatchOptions{Description: "better", BaseAddress: "hf://a/b@" + strings.Repeat("0", 40)}); err != nil {
		t.Fatal(err)
	}
	return result, patch
}

// sums hashes a folder's files with the standard library alone.
func sums(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		out[e.Name()] = hex.EncodeToString(sum[:])
	}
	return out
}

// TestPatchBothWays: apply gives every byte of the checkpoint that the patch was made
// from, rollback every byte of the base, for one file and for shards, in every dtype.
func TestPatchBothWays(t *testing.T) {
	t.Parallel()
	for _, shardBytes := range []int64{0, 6000} {
		for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F64, safetensors.F8E4M3} {
			c := newCheckpoint(t, tiny(), dt, shardBytes)
			write(t, c.Dir, "tokenizer.json", []byte(`{"x":1}`))
			result, patch := patched(t, c, variantOf(c))
			if err := os.WriteFile(filepath.Join(c.Dir, "README.md"), []byte("not of the checkpoint"), 0o666); err != nil {
				t.Fatal(err)
			}
			out, back := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
			if err := Apply(c, patch, out, ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
			same(t, out, sums(t, result))
			if err := Rollback(out, back, ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
			base := sums(t, c.Dir)
			delete(base, "README.md")
			same(t, back, base)
			if err := Rollback(out, "", ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
			same(t, out, base)
			if v, _, err := LoadVariant(c, patch); err != nil || !slices.Equal(v.Names(), variantOf(c).Names()) {
				t.Errorf("the patch as a variant: %v", err)
			}
		}
	}
}

func same(t testing.TB, dir string, want map[string]string) {
	t.Helper()
	got := sums(t, dir)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s has sha256 %q, want %s", dir, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s holds %d files, want %d", dir, len(got), len(want))
	}
}

// TestPatchKeepsBits: values that float32 can't hold and signalling patterns that a
// conversion would change come through, since bits are stored and not values.
func TestPatchKeepsBits(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F64, 0)
	dir := filepath.Join(t.TempDir(), "result")
	if err := (&Variant{Base: c}).Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	tensor, _ := c.Tensor(someNorm)
	path := filepath.Join(dir, safetensors.SingleName)
	data, _ := os.ReadFile(path)
	at := len(c.shards[0].Header()) + int(tensor.Offset)
	copy(data[at:], []byte{1, 2, 3, 4, 5, 6, 0xf0, 0x3f, 1, 0, 0, 0, 0, 0, 0, 0}) // 1.0-something with 52 bits, the smallest subnormal
	write(t, dir, safetensors.SingleName, data)
	patch, out := filepath.Join(t.TempDir(), "patch"), filepath.Join(t.TempDir(), "out")
	if err := SavePatch(c, openCheckpoint(t, dir), patch, PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Apply(c, patch, out, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, out, sums(t, dir))
}

func TestSavePatchRefuses(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F16, 0)
	write(t, c.Dir, "tokenizer.json", []byte("{}"))
	dir, _ := patched(t, c, variantOf(c))
	tensor, _ := c.Tensor(someNorm)
	at := len(c.shards[0].Header()) + int(tensor.Offset)
	weights, _ := os.ReadFile(filepath.Join(dir, safetensors.SingleName))
	other := filepath.Join(t.TempDir(), "shards")
	if err := RandomCheckpoint(other, tiny(), safetensors.F16, 4096, 7); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		dir  string
		file string
		data []byte
		want string
	}{
		"other shards":      {other, "config.json", nil, "other shards"},
		"the base itself":   {c.Dir, "config.json", nil, "same weights"},
		"a NaN":             {dir, safetensors.SingleName, append(append(slices.Clone(weights[:at]), 0x01, 0x7e), weights[at+2:]...), someNorm},
		"another tokenizer": {dir, "tokenizer.json", []byte("[]"), "tokenizer.json"},
		"a file of its own": {dir, "merges.txt", []byte("x"), "merges.txt"},
	} {
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(k.dir)); err != nil {
			t.Fatal(err)
		}
		if k.data != nil {
			write(t, copied, k.file, k.data)
		}
		patch := filepath.Join(t.TempDir(), "patch")
		err := SavePatch(c, openCheckpoint(t, copied), patch, PatchOptions{})
		if err == nil || !strings.Contains(err.Error(), k.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(patch); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s leaves a patch behind", name)
		}
	}
}

// TestApplyRefuses spoils a base or a patch in one place at a time; nothing may be written.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.BF16, 0)
	write(t, c.Dir, "tokenizer.json", []byte("{}"))
	_, patch := patched(t, c, variantOf(c))
	inJSON := func(spoil func(*variantFile)) func(base, patch string) {
		return func(_, patch string) {
			var f variantFile
			data, _ := os.ReadFile(filepath.Join(patch, variantName))
			if err := json.Unmarshal(data, &f); err != nil {
				t.Fatal(err)
			}
			spoil(&f)
			data, _ = json.Marshal(f)
			write(t, patch, variantName, data)
		}
	}
	bits := func(file string, change func([]byte) []byte) func(base, patch string) {
		return func(base, patch string) {
			dir := patch
			if file != variantName && file != variantWeights {
				dir = base
			}
			data, _ := os.ReadFile(filepath.Join(dir, file))
			write(t, dir, file, change(data))
		}
	}
	flipLast := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for name, k := range map[string]struct {
		spoil  func(base, patch string)
		want   string
		format bool
	}{
		"a base of other bytes":        {bits(safetensors.SingleName, flipLast), "get hf://a/b@0000", false},
		"a base with other tokens":     {bits("tokenizer.json", func([]byte) []byte { return []byte("[]") }), "tokenizer.json", false},
		"a base that lacks a file":     {func(base, _ string) { os.Remove(filepath.Join(base, "tokenizer.json")) }, "tokenizer.json", false},
		"a truncated list":             {bits(variantName, func(b []byte) []byte { return b[:len(b)/2] }), variantName, true},
		"truncated weights":            {bits(variantWeights, func(b []byte) []byte { return b[:len(b)-1] }), variantWeights, true},
		"a flipped bit":                {bits(variantWeights, flipLast), "is damaged", true},
		"a NaN":                        {bits(variantWeights, func(b []byte) []byte { return append(b[:len(b)-2], 0xc1, 0x7f) }), "NaN", false},
		"no weights":                   {func(_, patch string) { os.Remove(filepath.Join(patch, variantWeights)) }, variantWeights, false},
		"a saved variant":              {inJSON(func(f *variantFile) { f.Base = nil }), "no patch", true},
		"a file outside":               {inJSON(func(f *variantFile) { f.Result.Files["../x.json"], f.Base.Files["../x.json"] = "0", "0" }), "../x.json", true},
		"a pickle":                     {inJSON(func(f *variantFile) { f.Result.Files["x.bin"], f.Base.Files["x.bin"] = "0", "0" }), "x.bin", true},
		"another layout":               {inJSON(func(f *variantFile) { delete(f.Result.Files, safetensors.SingleName) }), "another base", false},
		"a file that isn't the base's": {inJSON(func(f *variantFile) { f.Result.Files["tokenizer.json"] = "0" }), "tensors only", true},
		"a tensor left out":            {inJSON(func(f *variantFile) { delete(f.Tensors, someNorm) }), "names", true},
		"a tensor of no base":          {inJSON(func(f *variantFile) { f.Tensors["ghost"] = variantTensor{Kind: kindReplace} }), "ghost", true},
		"a delta":                      {inJSON(func(f *variantFile) { f.Tensors[someQ] = variantTensor{Kind: kindLowRank, Rank: 1} }), someQ, true},
		"another promise":              {inJSON(func(f *variantFile) { f.Result.Files[safetensors.SingleName] = strings.Repeat("0", 64) }), "is damaged", true},
	} {
		dir := t.TempDir()
		base, copied, out := filepath.Join(dir, "base"), filepath.Join(dir, "patch"), filepath.Join(dir, "out")
		if err := errors.Join(os.CopyFS(base, os.DirFS(c.Dir)), os.CopyFS(copied, os.DirFS(patch))); err != nil {
			t.Fatal(err)
		}
		k.spoil(base, copied)
		err := Apply(openCheckpoint(t, base), copied, out, ApplyOptions{})
		if err == nil || !strings.Contains(err.Error(), k.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, safetensors.ErrFormat) != k.format {
			t.Errorf("%s: a broken format %t, want %t: %v", name, !k.format, k.format, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 2 {
			t.Errorf("%s leaves %v behind", name, left)
		}
	}
}

// TestRollbackRefuses: a checkpoint that changed since, one that no patch made, and one
// whose folder has other files in it, which would be lost.
func TestRollbackRefuses(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	_, patch := patched(t, c, variantOf(c))
	out := filepath.Join(t.TempDir(), "out")
	if err := Rollback(c.Dir, filepath.Join(t.TempDir(), "x"), ApplyOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a base: %v", err)
	}
	if err := Apply(c, patch, c.Dir, ApplyOptions{Force: true}); err == nil {
		t.Error("the base is overwritten")
	}
	if err := Apply(c, patch, out, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Apply(c, patch, out, ApplyOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing target: %v", err)
	}
	write(t, out, "notes.md", []byte("mine"))
	if err := Rollback(out, "", ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "notes.md") {
		t.Errorf("a file of the user's: %v", err)
	}
	path := filepath.Join(out, safetensors.SingleName)
	data, _ := os.ReadFile(path)
	if !bytes.Contains(data, []byte(someNorm)) {
		t.Fatal("no such tensor")
	}
	data[len(data)-1] ^= 1
	write(t, out, safetensors.SingleName, data)
	if err := Rollback(out, filepath.Join(t.TempDir(), "x"), ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("a changed checkpoint: %v", err)
	}
}

// TestRollbackOfNaN: what the base holds comes back, whatever it is.
func TestRollbackOfNaN(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	result := filepath.Join(t.TempDir(), "result")
	if err := (&Variant{Base: c, Replace: map[string][]float32{someNorm: values(24, 1, 1)}}).Write(result, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	tensor, _ := c.Tensor(someNorm)
	data, _ := os.ReadFile(filepath.Join(c.Dir, safetensors.SingleName))
	at := len(c.shards[0].Header()) + int(tensor.Offset)
	copy(data[at:], []byte{1, 0, 0xa0, 0x7f}) // a signalling NaN with a payload
	base := filepath.Join(t.TempDir(), "base")
	if err := os.CopyFS(base, os.DirFS(c.Dir)); err != nil {
		t.Fatal(err)
	}
	write(t, base, safetensors.SingleName, data)
	broken := openCheckpoint(t, base)
	if x, _ := broken.Float32(someNorm); !math.IsNaN(float64(x[0])) {
		t.Fatal("no NaN")
	}
	patch, out, back := filepath.Join(t.TempDir(), "p"), filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
	if err := SavePatch(broken, openCheckpoint(t, result), patch, PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Apply(broken, patch, out, ApplyOptions{}), Rollback(out, back, ApplyOptions{})); err != nil {
		t.Fatal(err)
	}
	same(t, back, sums(t, base))
}

// TestGoldenPatches makes, applies and rolls back a patch of every shared model.
func TestGoldenPatches(t *testing.T) {
	t.Parallel()
	dirs := sharedModels(t)
	for _, dir := range dirs {
		c := openCheckpoint(t, dir)
		all := c.Tensors()
		tensor := all[len(all)/2]
		v := &Variant{Base: c, Replace: map[string][]float32{tensor.Name: values(elements(tensor.Shape), 1, 9)}}
		result, patch := patched(t, c, v)
		out, back := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
		if err := errors.Join(Apply(c, patch, out, ApplyOptions{}), Rollback(out, back, ApplyOptions{})); err != nil {
			t.Fatal(err)
		}
		same(t, out, sums(t, result))
		for name, sum := range sums(t, back) {
			if want := sums(t, dir)[name]; sum != want {
				t.Errorf("%s: %s came back as %s, was %s", dir, name, sum, want)
			}
		}
	}
	t.Logf("%d models patched and rolled back, every file's sha256 the same", len(dirs))
}
