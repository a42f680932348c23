package llm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"d2nwg/internal/progress"
	"d2nwg/safetensors"
)

// files reads a directory.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestWriteIsWeights: what Weights says is what the written checkpoint holds,
// and untouched tensors, headers and companions keep every byte.
func TestWriteIsWeights(t *testing.T) {
	t.Parallel()
	for _, shardBytes := range []int64{0, 6000} {
		for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F64} {
			c := newCheckpoint(t, tiny(), dt, shardBytes)
			write(t, c.Dir, "tokenizer.json", []byte(`{"x":1}`))
			v := variantOf(c)
			dir := filepath.Join(t.TempDir(), "out")
			var last progress.Event
			if err := v.Write(dir, WriteOptions{Progress: func(e progress.Event) { last = e }}); err != nil {
				t.Fatal(err)
			}
			if last.Total == 0 || last.Done < last.Total {
				t.Errorf("the last report is %+v", last)
			}
			out := openCheckpoint(t, dir)
			for _, tensor := range out.Tensors() {
				want, err := v.Weights(tensor.Name)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := out.Float32(tensor.Name); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s %s: the written values differ: %v", dt, tensor.Name, err)
				}
			}
			checkOnlyChanged(t, c, dir, v.Names())
		}
	}
}

// checkOnlyChanged requires dir to be a byte-for-byte copy of c but for the
// data of the named tensors, which must differ.
func checkOnlyChanged(t testing.TB, c *Checkpoint, dir string, names []string) {
	t.Helper()
	want, got := files(t, c.Dir), files(t, dir)
	if a, b := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)); !slices.Equal(a, b) {
		t.Fatalf("files %v, want %v", b, a)
	}
	for _, name := range names {
		info, _ := c.Tensor(name)
		file := got[info.File]
		at := 8 + int64(binary.LittleEndian.Uint64(file)) + info.Offset
		original := want[info.File][at : at+info.Size]
		if bytes.Equal(file[at:at+info.Size], original) {
			t.Errorf("%s didn't change", name)
		}
		copy(file[at:], original)
	}
	for name := range want {
		if !bytes.Equal(want[name], got[name]) {
			t.Errorf("%s: %s differs outside the tensors %v", dir, name, names)
		}
	}
}

func TestGoldenVariants(t *testing.T) {
	t.Parallel()
	dirs := sharedModels(t)
	for _, dir := range dirs {
		c := openCheckpoint(t, dir)
		same := filepath.Join(t.TempDir(), "same")
		if err := (&Variant{Base: c}).Write(same, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, data := range files(t, same) {
			if want, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(data, want) {
				t.Errorf("%s: the identity changes %s: %v", dir, name, err)
			}
		}
		a, errA := c.Hash()
		b, errB := openCheckpoint(t, same).Hash()
		if a != b || errA != nil || errB != nil {
			t.Errorf("%s: hashes %s and %s, %v, %v", dir, a, b, errA, errB)
		}
		all := c.Tensors()
		name := all[len(all)/2].Name
		changed := filepath.Join(t.TempDir(), "changed")
		v := &Variant{Base: openCheckpoint(t, same), Replace: map[string][]float32{name: values(elements(all[len(all)/2].Shape), 1, 9)}}
		if err := v.Write(changed, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		checkOnlyChanged(t, v.Base, changed, []string{name})
	}
	t.Logf("%d models written byte for byte, and with one tensor changed", len(dirs))
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F16, 0)
	norm := c.Config.shapeOf(someNorm)
	q := c.Config.shapeOf(someQ)
	with := func(name string, at int, x float32) map[string][]float32 {
		v := values(elements(c.Config.shapeOf(name)), 1, 1)
		v[at] = x
		return map[string][]float32{name: v}
	}
	cases := map[string]struct {
		v    Variant
		want []string
	}{
		"a NaN":                 {Variant{Replace: with(someNorm, 3, float32(math.NaN()))}, []string{someNorm, "element 3"}},
		"an infinity":           {Variant{Replace: with(someQ, 700, float32(math.Inf(-1)))}, []string{someQ, "element 700"}},
		"more than F16 holds":   {Variant{Replace: with(someQ, 0, 1e6)}, []string{someQ}},
		"a delta too large":     {Variant{LowRank: map[string]LowRank{someQ: {Rank: 1, A: values(q[1], 1e30, 1), B: values(q[0], 1e30, 1)}}}, []string{someQ}},
		"names that don't fit":  {Variant{Replace: map[string][]float32{"ghost": {1}, "spectre": {2}}}, []string{`"ghost"`, `"spectre"`}},
		"a wrong length":        {Variant{Replace: map[string][]float32{someNorm: make([]float32, norm[0]+1)}}, []string{someNorm}},
		"a nil replacement":     {Variant{Replace: map[string][]float32{someNorm: nil}}, []string{someNorm}},
		"a delta of a vector":   {Variant{LowRank: map[string]LowRank{someNorm: {Rank: 1, A: []float32{1}, B: values(norm[0], 1, 1)}}}, []string{someNorm}},
		"a short B":             {Variant{LowRank: map[string]LowRank{someQ: {Rank: 2, A: values(2*q[1], 1, 1), B: values(q[0], 1, 1)}}}, []string{someQ, "B"}},
		"a short A":             {Variant{LowRank: map[string]LowRank{someQ: {Rank: 2, A: values(q[1], 1, 1), B: values(2*q[0], 1, 1)}}}, []string{someQ, "A"}},
		"no A and no seed":      {Variant{LowRank: map[string]LowRank{someQ: {Rank: 2, B: values(2*q[0], 1, 1)}}}, []string{someQ, "A"}},
		"rank 0":                {Variant{LowRank: map[string]LowRank{someQ: {}}}, []string{someQ, "rank"}},
		"replaced and low-rank": {Variant{Replace: with(someQ, 0, 1), LowRank: variantOf(c).LowRank}, []string{someQ, "both"}},
	}
	for name, k := range cases {
		parent := t.TempDir()
		k.v.Base = c
		err := k.v.Write(filepath.Join(parent, "out"), WriteOptions{})
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		for _, want := range k.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %q, want one line with %q", name, err, want)
			}
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("%s: %v left behind", name, left)
		}
	}
	if err := (&Variant{}).Write(filepath.Join(t.TempDir(), "out"), WriteOptions{}); err == nil {
		t.Error("a variant of nothing is written")
	}
}

func TestWriteTargets(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	v := variantOf(c)
	parent := t.TempDir()
	target := filepath.Join(parent, "out")
	if err := v.Write(target, WriteOptions{Extra: map[string][]byte{"note.txt": []byte("first")}}); err != nil {
		t.Fatal(err)
	}
	if err := v.Write(target, WriteOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing target: %v", err)
	}
	if err := v.Write(target, WriteOptions{Force: true, Extra: map[string][]byte{"note.txt": []byte("second")}}); err != nil {
		t.Fatal(err)
	}
	if got := files(t, target)["note.txt"]; string(got) != "second" {
		t.Errorf("after --force the note is %q", got)
	}
	if err := v.Write(c.Dir, WriteOptions{Force: true}); err == nil {
		t.Error("the base is overwritten")
	}
	home := t.TempDir()
	write(t, home, "thesis.tex", []byte("x"))
	if err := v.Write(home, WriteOptions{Force: true}); err == nil {
		t.Error("a directory that is no checkpoint is overwritten")
	}
	if files(t, home)["thesis.tex"] == nil {
		t.Fatal("the thesis is gone")
	}
	if err := v.Write(t.TempDir(), WriteOptions{Force: true}); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	for _, name := range []string{"../x", "a/b", "", ".", safetensors.SingleName, safetensors.IndexName} {
		if err := v.Write(filepath.Join(t.TempDir(), "x"), WriteOptions{Extra: map[string][]byte{name: nil}}); err == nil {
			t.Errorf("the extra file %q is accepted", name)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 1 {
		t.Errorf("%v left behind", left)
	}
}

// TestWriteAfterKill: what a killed run left behind doesn't get into the result.
func TestWriteAfterKill(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	parent := t.TempDir()
	partial := filepath.Join(parent, ".out.partial")
	if err := os.MkdirAll(filepath.Join(partial, "deep"), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, partial, safetensors.SingleName, []byte("half a file"))
	target := filepath.Join(parent, "out")
	if err := variantOf(c).Write(target, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	checkOnlyChanged(t, c, target, variantOf(c).Names())
	if left, _ := os.ReadDir(parent); len(left) != 1 {
		t.Errorf("%v left behind", left)
	}
}

// TestWriteAtOnce: of several writers of one target one wins, and the result is whole.
func TestWriteAtOnce(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	target := filepath.Join(t.TempDir(), "out")
	var wg sync.WaitGroup
	var won sync.Map
	for i := range 8 {
		wg.Go(func() {
			if variantOf(c).Write(target, WriteOptions{}) == nil {
				won.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Fatalf("%d writers say that they wrote %s", n, target)
	}
	checkOnlyChanged(t, c, target, variantOf(c).Names())
}

func TestCompanions(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	along := []string{"tokenizer.json", "tokenizer.model", "chat_template.jinja", "merges.txt", "LICENSE.txt", "USE_POLICY.md", "Notice"}
	notAlong := []string{"pytorch_model.bin", "optimizer.pt", "consolidated.00.pth", "README.md", ".gitattributes", "adapter_model.safetensors",
		"pytorch_model.bin.index.json", variantName, "training.log"}
	for _, name := range append(slices.Clone(along), notAlong...) {
		write(t, c.Dir, name, []byte(name))
	}
	elsewhere := t.TempDir()
	write(t, elsewhere, "blob", []byte("linked"))
	if err := os.Symlink(filepath.Join(elsewhere, "blob"), filepath.Join(c.Dir, "generation_config.json")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(c.Dir, "broken.json")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := variantOf(c).Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := files(t, dir)
	for _, name := range along {
		if string(got[name]) != name {
			t.Errorf("%s doesn't come along", name)
		}
	}
	for _, name := range append(notAlong, "broken.json") {
		if got[name] != nil {
			t.Errorf("%s comes along", name)
		}
	}
	if string(got["generation_config.json"]) != "linked" {
		t.Error("a linked file doesn't come along as a file")
	}
}

// TestWritePieces crosses the borders of the pieces that a large tensor is written in.
func TestWritePieces(t *testing.T) {
	t.Parallel()
	cfg := tiny()
	cfg.VocabSize = 3*writePiece/cfg.HiddenSize + 5
	c := newCheckpoint(t, cfg, safetensors.BF16, 0)
	n := cfg.VocabSize * cfg.HiddenSize
	for _, v := range []*Variant{
		{Base: c, Replace: map[string][]float32{EmbedName: values(n, 1, 1)}},
		{Base: c, LowRank: map[string]LowRank{EmbedName: {Rank: 1, A: values(cfg.HiddenSize, 1, 1), B: values(cfg.VocabSize, 1, 2)}}},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		if err := v.Write(dir, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		want, _ := v.Weights(EmbedName)
		if got, err := openCheckpoint(t, dir).Float32(EmbedName); err != nil || !slices.Equal(got, want) {
			t.Errorf("the written values differ: %v", err)
		}
		checkOnlyChanged(t, c, dir, []string{EmbedName})
	}
	last := values(n, 1, 1)
	last[n-1] = float32(math.NaN())
	err := (&Variant{Base: c, Replace: map[string][]float32{EmbedName: last}}).Write(filepath.Join(t.TempDir(), "out"), WriteOptions{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("element %d", n-1)) {
		t.Errorf("a NaN at the very end: %v", err)
	}
}
