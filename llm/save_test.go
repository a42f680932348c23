package llm

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/safetensors"
)

func TestSaveRoundTrip(t *testing.T) {
	t.Parallel()
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16} {
		for _, stored := range []safetensors.DType{"", safetensors.BF16} {
			c := newCheckpoint(t, tiny(), dt, 0)
			v := variantOf(c)
			dir := filepath.Join(t.TempDir(), "v")
			if err := v.SaveAs(dir, "reverses words", SaveOptions{DType: stored}); err != nil {
				t.Fatal(err)
			}
			got, description, err := LoadVariant(c, dir)
			if err != nil || description != "reverses words" {
				t.Fatalf("%q, %v", description, err)
			}
			if !slices.Equal(got.Names(), v.Names()) {
				t.Fatalf("names %v, want %v", got.Names(), v.Names())
			}
			for name, want := range v.LowRank {
				if stored != "" {
					_ = safetensors.Round(stored, want.B)
					_ = safetensors.Round(stored, want.A) // of the A by seed there is none
				}
				lr := got.LowRank[name]
				if !slices.Equal(lr.B, want.B) || want.A != nil && !slices.Equal(lr.A, want.A) {
					t.Errorf("%s: other factors", name)
				}
				if (lr.Seed == nil) != (want.Seed == nil) || lr.A == nil {
					t.Errorf("%s: seed %v, %d values of A", name, lr.Seed, len(lr.A))
				}
			}
			for _, name := range v.Names() {
				a, errA := v.Weights(name)
				b, errB := got.Weights(name)
				if errA != nil || errB != nil || !slices.Equal(a, b) {
					t.Errorf("%s: other weights: %v, %v", name, errA, errB)
				}
			}
		}
	}
}

// TestSaveSharedA: a factor that its seed gives is not in the file.
func TestSaveSharedA(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	dir := filepath.Join(t.TempDir(), "v")
	v := variantOf(c)
	if err := v.Save(dir, ""); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join(dir, variantWeights))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for _, info := range f.Tensors() {
		names = append(names, info.Name)
	}
	slices.Sort(names)
	if want := []string{someUp + suffixB, someQ + suffixA, someQ + suffixB, someNorm}; !slices.Equal(names, want) {
		t.Errorf("stored %v, want %v", names, want)
	}
	lr := v.LowRank[someUp]
	lr.A = slices.Clone(SharedA(c.Config, someUp, lr.Rank, *lr.Seed))
	v.LowRank[someUp] = lr
	if err := v.SaveAs(dir, "", SaveOptions{Force: true}); err != nil {
		t.Errorf("the shared A itself: %v", err)
	}
	lr.A[0]++
	if err := v.SaveAs(dir, "", SaveOptions{Force: true}); err == nil || !strings.Contains(err.Error(), someUp) {
		t.Errorf("another A than the seed gives: %v", err)
	}
}

func TestLoadVariantRefuses(t *testing.T) {
	t.Parallel()
	c := newCheckpoint(t, tiny(), safetensors.F32, 0)
	dir := filepath.Join(t.TempDir(), "v")
	if err := variantOf(c).Save(dir, "x"); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := RandomCheckpoint(other, tiny(), safetensors.F32, 0, 8); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadVariant(openCheckpoint(t, other), dir); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Errorf("another base: %v", err)
	}
	if _, _, err := LoadVariant(c, other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no variant: %v", err)
	}
	path := filepath.Join(dir, variantName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(f *variantFile){
		"a format of the future":  func(f *variantFile) { f.Format = "d2nwg-variant-9" },
		"a tensor of no base":     func(f *variantFile) { f.Tensors["ghost"] = variantTensor{Kind: kindReplace} },
		"a tensor that isn't in":  func(f *variantFile) { f.Tensors[EmbedName] = variantTensor{Kind: kindReplace} },
		"a tensor forgotten":      func(f *variantFile) { delete(f.Tensors, someNorm) },
		"an unknown kind":         func(f *variantFile) { f.Tensors[someNorm] = variantTensor{Kind: "magic"} },
		"a delta of a vector":     func(f *variantFile) { f.Tensors[someNorm] = variantTensor{Kind: kindLowRank, Rank: 1} },
		"another rank":            func(f *variantFile) { f.Tensors[someQ] = variantTensor{Kind: kindLowRank, Rank: 2} },
		"a rank beyond all sense": func(f *variantFile) { f.Tensors[someQ] = variantTensor{Kind: kindLowRank, Rank: 1 << 60} },
		"a replacement of a part": func(f *variantFile) { f.Tensors[someQ] = variantTensor{Kind: kindReplace} },
	} {
		var f variantFile
		if err := json.Unmarshal(good, &f); err != nil {
			t.Fatal(err)
		}
		spoil(&f)
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, variantName, data)
		if _, _, err := LoadVariant(c, dir); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "{", "[]", strings.Repeat(" ", maxVariantBytes+1)} {
		write(t, dir, variantName, []byte(text))
		if _, _, err := LoadVariant(c, dir); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%q: %v", clip(text), err)
		}
	}
	write(t, dir, variantName, good)
	if _, _, err := LoadVariant(c, dir); err != nil {
		t.Errorf("the file as it was: %v", err)
	}
}
