package tokens

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/gonum/stat"
	"pgregory.net/rapid"
)

func drawMap(t *rapid.T) *Map {
	shapes := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(1, 9), 0, 3), 1, 5).Draw(t, "shapes")
	var specs []Spec
	for i, s := range shapes {
		specs = append(specs, Spec{Name: string(rune('a' + i)), Module: "m", Layer: i - 1, Shape: s})
	}
	m, err := NewMap(specs, 2*rapid.IntRange(1, 40).Draw(t, "half chunk"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestChunkKeepsBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		next := 0
		for _, ten := range m.Tensors {
			if ten.First != next || ten.Padding < 0 || ten.Padding >= m.ChunkLen {
				t.Fatalf("tensor %+v does not follow token %d", ten, next)
			}
			next += ten.Count
			n := ten.Elements()
			bits := rapid.SliceOfN(rapid.Uint32(), n, n).Draw(t, "bits")
			values := make([]float32, n)
			for i, b := range bits {
				values[i] = math.Float32frombits(b)
			}
			chunks, err := m.Chunk(ten, values)
			if err != nil {
				t.Fatal(err)
			}
			for i := n; i < len(chunks); i++ {
				if math.Float32bits(chunks[i]) != 0 {
					t.Fatal("padding is not zero")
				}
			}
			back, err := m.Unchunk(ten, chunks)
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range bits {
				if math.Float32bits(back[i]) != b {
					t.Fatalf("value %d: bits %08x became %08x", i, b, math.Float32bits(back[i]))
				}
			}
		}
		if next != m.Tokens() {
			t.Fatalf("Tokens() = %d, the tensors take %d", m.Tokens(), next)
		}
	})
}

func TestChunkBytesKeepsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		for _, ten := range m.Tensors {
			for _, bits := range []int{4, 8, 16, 32, 64} {
				if ten.Elements()*bits%8 != 0 || m.ChunkLen*bits%8 != 0 {
					if _, err := m.ChunkBytes(ten, bits, nil); err == nil {
						t.Fatal("half a byte was accepted")
					}
					continue
				}
				n := ten.Elements() * bits / 8
				raw := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "raw")
				chunks, err := m.ChunkBytes(ten, bits, raw)
				if err != nil {
					t.Fatal(err)
				}
				back, err := m.UnchunkBytes(ten, bits, chunks)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(back, raw) || len(chunks) != ten.Count*m.ChunkLen*bits/8 {
					t.Fatalf("%d bits: %d bytes became %d in tokens and %d back", bits, n, len(chunks), len(back))
				}
			}
		}
	})
}

func TestFitAgreesWithGonum(t *testing.T) {
	m, err := NewMap([]Spec{{Name: "w", Shape: []int{7, 5}}, {Name: "c", Shape: []int{3}}}, 8)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	sets := make([]map[string][]float32, 4)
	var all []float64
	for s := range sets {
		w := make([]float32, 35)
		for i := range w {
			w[i] = float32(100 + 0.01*r.NormFloat64()) // far from zero: naive sums of squares would cancel
			all = append(all, float64(w[i]))
		}
		sets[s] = map[string][]float32{"w": w, "c": {2, 2, 2}}
	}
	load := func(s int, name string) ([]float32, error) { return sets[s][name], nil }
	if err := m.Fit(len(sets), load); err != nil {
		t.Fatal(err)
	}
	mean, std := stat.PopMeanStdDev(all, nil)
	w := m.Tensors[0]
	if math.Abs(w.Mean-mean) > 1e-12*mean || math.Abs(w.Std-std) > 1e-9*std {
		t.Errorf("mean %v std %v, gonum %v %v", w.Mean, w.Std, mean, std)
	}
	if c := m.Tensors[1]; c.Mean != 2 || c.Std != 1 {
		t.Errorf("constant tensor: mean %v std %v, want 2 and 1", c.Mean, c.Std)
	}
	x := append([]float32(nil), sets[0]["w"]...)
	w.Normalize(x)
	w.Denormalize(x)
	for i := range x {
		if math.Abs(float64(x[i]-sets[0]["w"][i])) > 2e-5 {
			t.Errorf("value %d: %v became %v", i, sets[0]["w"][i], x[i])
		}
	}
	sets[2]["w"][3] = float32(math.Inf(1))
	if err := m.Fit(len(sets), load); err == nil {
		t.Error("an infinite weight was accepted")
	}
}

func TestMapRefusesAndSaves(t *testing.T) {
	for name, f := range map[string]func() error{
		"chunk 0":     func() error { _, err := NewMap([]Spec{{Name: "a", Shape: []int{1}}}, 0); return err },
		"no tensors":  func() error { _, err := NewMap(nil, 4); return err },
		"twice":       func() error { _, err := NewMap([]Spec{{Name: "a"}, {Name: "a"}}, 4); return err },
		"empty shape": func() error { _, err := NewMap([]Spec{{Name: "a", Shape: []int{2, 0}}}, 4); return err },
	} {
		if f() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	m, err := NewMap([]Spec{{Name: "a", Module: "q_proj", Layer: 3, Shape: []int{3, 3}}}, 4)
	if err != nil {
		t.Fatal(err)
	}
	m.Tensors[0].Mean, m.Tensors[0].Std = 0.1, math.Pi
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back Map
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*m, back); d != "" {
		t.Error(d)
	}
	if _, err := m.Chunk(m.Tensors[0], make([]float32, 8)); err == nil {
		t.Error("a tensor of the wrong size was accepted")
	}
}
