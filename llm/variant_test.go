package llm

import (
	"math"
	"slices"
	"testing"

	"d2nwg/safetensors"
)

const (
	someQ    = "model.layers.1.self_attn.q_proj.weight"
	someUp   = "model.layers.0.mlp.up_proj.weight"
	someNorm = "model.norm.weight"
)

// values draws n normal numbers of deviation std.
func values(n int, std float64, seed uint64) []float32 {
	out := make([]float32, n)
	newNormals("values", seed).fill(out, 0, std)
	return out
}

// variantOf changes three tensors of a tiny checkpoint in three ways.
func variantOf(c *Checkpoint) *Variant {
	seed := uint64(5)
	q, up, norm := c.Config.shapeOf(someQ), c.Config.shapeOf(someUp), c.Config.shapeOf(someNorm)
	return &Variant{Base: c,
		Replace: map[string][]float32{someNorm: values(norm[0], 1, 1)},
		LowRank: map[string]LowRank{
			someQ:  {Rank: 3, A: values(3*q[1], 0.1, 2), B: values(3*q[0], 0.1, 3)},
			someUp: {Rank: 2, B: values(2*up[0], 0.1, 4), Seed: &seed},
		}}
}

func TestWeightsAgainstFloat64(t *testing.T) {
	t.Parallel()
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F8E4M3} {
		c := newCheckpoint(t, tiny(), dt, 0)
		v := variantOf(c)
		for name, lr := range v.LowRank {
			if lr.A == nil {
				lr.A = SharedA(c.Config, name, lr.Rank, *lr.Seed)
			}
			shape := c.Config.shapeOf(name)
			base, _ := c.Float32(name)
			got, err := v.Weights(name)
			if err != nil {
				t.Fatal(err)
			}
			again := slices.Clone(got)
			if err := safetensors.Round(dt, again); err != nil || !slices.Equal(got, again) {
				t.Errorf("%s %s: values that the dtype doesn't hold: %v", dt, name, err)
			}
			// Half the spacing of the dtype at a value below 1, and float32's own error.
			tolerance := map[safetensors.DType]float64{safetensors.F32: 0, safetensors.BF16: 0x1p-8, safetensors.F16: 0x1p-11, safetensors.F8E4M3: 0x1p-4}[dt]
			for i := range shape[0] {
				for j := range shape[1] {
					want := float64(base[i*shape[1]+j])
					for k := range lr.Rank {
						want += float64(lr.B[i*lr.Rank+k]) * float64(lr.A[k*shape[1]+j])
					}
					if x := float64(got[i*shape[1]+j]); math.Abs(x-want) > 1e-7+math.Max(tolerance*math.Abs(want), tolerance*0x1p-6) {
						t.Fatalf("%s %s [%d, %d] is %g, want %g", dt, name, i, j, x, want)
					}
				}
			}
		}
		want := slices.Clone(v.Replace[someNorm])
		_ = safetensors.Round(dt, want)
		if got, err := v.Weights(someNorm); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: a replaced tensor has other values: %v", dt, err)
		}
		base, _ := c.Float32(EmbedName)
		if got, err := v.Weights(EmbedName); err != nil || !slices.Equal(got, base) {
			t.Errorf("%s: an untouched tensor has other values: %v", dt, err)
		}
	}
}

func TestNames(t *testing.T) {
	v := variantOf(newCheckpoint(t, tiny(), safetensors.F32, 0))
	if got, want := v.Names(), []string{someUp, someQ, someNorm}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}
