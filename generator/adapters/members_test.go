package adapters

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/lora"
)

// Distances of the audit are those of ΔW as package lora computes them from the factors.
func TestAuditMeasuresUpdates(t *testing.T) {
	w := newWorld(t, 2)
	w.cfg.Steps, w.cfg.Diffusion.Steps = 1, 1
	a, b, c := w.adapter(t, 1), w.adapter(t, 2), w.adapter(t, 3)
	w.set.Tasks[0].Weights = []map[string][]float32{a, b}
	g := w.train(t, TrainOptions{})
	n, err := g.Audit(w.set.Base, []map[string][]float32{c})
	if err != nil {
		t.Fatal(err)
	}
	of := func(x map[string][]float32) *llm.Variant { return g.Variant(w.set.Base, x) }
	ca, err := lora.Cosine(of(c), of(a))
	if err != nil {
		t.Fatal(err)
	}
	cb, err := lora.Cosine(of(c), of(b))
	if err != nil {
		t.Fatal(err)
	}
	if want := max(ca, cb); math.Abs(n.Samples[0].Cosine-want) > 1e-5 {
		t.Errorf("cosine %v, by the factors %v", n.Samples[0].Cosine, want)
	}
	distance := 0.0
	for name := range c {
		d := llm.LowRank{Rank: 2, A: llm.SharedA(w.set.Base.Config, name, 2, 7), B: make([]float32, len(c[name]))}
		other := a
		if n.Samples[0].L2 > 0 && cb > ca {
			other = b
		}
		for i := range d.B {
			d.B[i] = c[name][i] - other[name][i]
		}
		square, err := lora.Inner(d, d)
		if err != nil {
			t.Fatal(err)
		}
		distance += square
	}
	if l := math.Sqrt(distance); n.Samples[0].L2 > l*(1+1e-4) {
		t.Errorf("the nearest adapter lies at %v, but one lies at %v", n.Samples[0].L2, l)
	}
	if n.Copies != 0 {
		t.Error("an adapter like no other counts as a copy")
	}
	nearly := map[string][]float32{}
	for name, v := range a {
		nearly[name] = slices.Clone(v)
		nearly[name][0] += 1e-3
	}
	if n, err = g.Audit(w.set.Base, []map[string][]float32{nearly}); err != nil || n.Copies != 1 {
		t.Errorf("a copy passes: %+v %v", n, err)
	}
}

// A generator of four trained adapters that only reconstructs gives them back, and the audit says so.
func TestFewMembersAreMemorized(t *testing.T) {
	w := newWorld(t, 4)
	for i := range w.set.Tasks {
		w.set.Tasks[i].Weights = []map[string][]float32{w.adapter(t, uint64(10+i))}
	}
	w.cfg.Functional, w.cfg.Reconstruction, w.cfg.Align, w.cfg.Noise = 0, 1, 1, 0
	w.cfg.Steps, w.cfg.LearningRate, w.cfg.Diffusion.Steps = 400, 5e-3, 300
	g := w.train(t, TrainOptions{})
	var all []map[string][]float32
	for _, task := range w.set.Tasks {
		f, err := g.TextFeatures(task.Descriptions[0])
		if err != nil {
			t.Fatal(err)
		}
		z, err := g.Latent(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := g.Decode(z)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	n, err := g.Audit(w.set.Base, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("reconstruction error %.4f; %d of 4 are copies; nearest %.3f, zoo %.3f", g.Summary().Reconstruction, n.Copies, n.Samples[0].L2, n.ZooL2.P5)
	if n.Copies < 3 {
		t.Errorf("only %d of 4 memorized adapters were found", n.Copies)
	}
}

func TestDistanceTellsTheUnknown(t *testing.T) {
	w := newWorld(t, 6)
	g := w.train(t, TrainOptions{})
	near, err := g.Distance("move on by three steps")
	if err != nil {
		t.Fatal(err)
	}
	if near.Far || near.Unknown != 0 || near.Similarity < 0.999 || near.Nearest != "thr" {
		t.Errorf("a trained description: %+v", near)
	}
	far, err := g.Distance("Bake a chocolate cake for the guests")
	if err != nil {
		t.Fatal(err)
	}
	if !far.Far || far.Unknown < 0.8 {
		t.Errorf("a description of nothing trained: %+v", far)
	}
	if _, err := g.Distance(" . "); err == nil {
		t.Error("a description without words has a distance")
	}
	f, err := g.TextFeatures("go four steps further")
	if err != nil {
		t.Fatal(err)
	}
	if order := g.Nearest(f); order[0] != 3 || len(order) != 6 {
		t.Errorf("the nearest tasks are %v", order)
	}
}

func TestWords(t *testing.T) {
	got := words("Write  the LETTER a, then it's \"b\"; 12 times (écrit).")
	want := []string{"write", "the", "letter", "a", ",", "then", "it", "s", "\"", "b", "\"", ";", "12", "times", "(", "écrit", ")"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestSpoiledWords(t *testing.T) {
	c, r := TextConfig{Dropout: 0.4}, rand.New(rand.NewPCG(1, 2))
	text := words("take the first letter of the word and put it at the end of what remains")
	kept, made, n := 0, 0, 0
	for range 2000 {
		n += len(text)
		for _, w := range c.spoil(text, r) {
			if slices.Contains(text, w) {
				kept++
			} else {
				made++
			}
		}
	}
	left := n - kept - made
	for name, v := range map[string][2]float64{"kept": {float64(kept), 0.6}, "replaced": {float64(made), 0.2}, "left out": {float64(left), 0.2}} {
		if got := v[0] / float64(n); math.Abs(got-v[1]) > 0.02 {
			t.Errorf("a share of %.3f was %s; %.1f wanted", got, name, v[1])
		}
	}
	one := TextConfig{Dropout: 0.99}
	for range 2000 {
		if len(one.spoil(text[:1], r)) != 1 {
			t.Fatal("a description lost all of its words")
		}
	}
	if got := (TextConfig{}).spoil(text, r); !slices.Equal(got, text) {
		t.Errorf("no dropout, and yet %q", got)
	}
}
