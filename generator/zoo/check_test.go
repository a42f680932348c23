package zoo

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
)

func TestCheckFindsWhatIsPlanted(t *testing.T) {
	weights := func(z *Zoo, name string) string {
		return filepath.Join(z.Dir, AdaptersDir, name+"-s0", "variant.safetensors")
	}
	for name, c := range map[string]struct {
		plant func(t *testing.T, z *Zoo, base *llm.Checkpoint)
		want  []string // kind and subject of all findings but that of e
		say   string
	}{
		"nothing": {func(*testing.T, *Zoo, *llm.Checkpoint) {}, nil, ""},
		"the same bytes": {func(t *testing.T, z *Zoo, base *llm.Checkpoint) {
			plant(t, z, *z.At("adapters/c-s0"), shared(base, 0))
		}, []string{"duplicate adapters/c-s0"}, "values of adapters/a-s0"},
		"the same update in other factors": {func(t *testing.T, z *Zoo, base *llm.Checkpoint) {
			// B·G and G⁻¹·A with G = diag(2, −4), a little moved.
			l := shared(base, 1).LowRank[tensor]
			for i := range l.B {
				l.B[i] = l.B[i]*[]float32{2, -4}[i%2] + 1e-2
			}
			a := slices.Clone(l.A)
			for i := range a {
				a[i] /= []float32{2, -4}[i/tiny.HiddenSize]
			}
			l.A, l.Seed = a, nil
			plant(t, z, *z.At("adapters/d-s0"), &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{tensor: l}})
		}, []string{"duplicate adapters/d-s0"}, "update is that of adapters/b-s0"},
		"the same update as whole tensor": {func(t *testing.T, z *Zoo, base *llm.Checkpoint) {
			values, err := shared(base, 2).Weights(tensor)
			if err != nil {
				t.Fatal(err)
			}
			plant(t, z, *z.At("adapters/a-s0"), &llm.Variant{Base: base, Replace: map[string][]float32{tensor: values}})
		}, []string{"duplicate adapters/c-s0"}, "update is that of adapters/a-s0"},
		"the same questions": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			text, err := os.ReadFile(filepath.Join(z.Dir, "b.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(z.Dir, "e.jsonl"), string(text))
		}, []string{"duplicate e"}, "e.jsonl is b.jsonl"},
		"a truncated file": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			if err := os.Truncate(weights(z, "b"), 100); err != nil {
				t.Fatal(err)
			}
		}, []string{"broken adapters/b-s0"}, "zoo build"},
		"a missing folder": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			if err := os.RemoveAll(z.path(*z.At("adapters/b-s0"))); err != nil {
				t.Fatal(err)
			}
		}, []string{"broken adapters/b-s0"}, "zoo build"},
		"swapped adapters": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			one, two, by := weights(z, "a"), weights(z, "b"), filepath.Join(z.Dir, "x")
			if err := errors.Join(os.Rename(one, by), os.Rename(two, one), os.Rename(by, two)); err != nil {
				t.Fatal(err)
			}
		}, []string{"broken adapters/a-s0", "broken adapters/b-s0"}, "other values than those of the manifest"},
		"swapped hashes": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			a, b := z.At("adapters/a-s0"), z.At("adapters/b-s0")
			a.Hash, b.Hash = b.Hash, a.Hash
			change(t, z, a.Dir, func(*Member) {})
		}, []string{"broken adapters/a-s0", "broken adapters/b-s0"}, "other values than those of the manifest"},
		"other questions": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			write(t, filepath.Join(z.Dir, "a.jsonl"), line)
		}, []string{"broken adapters/a-s0"}, "other questions than those it was trained on"},
		"a bad line": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			write(t, filepath.Join(z.Dir, "e.jsonl"), line+`{"prompt": "x"}`)
		}, []string{"broken e"}, "line 2"},
		"another base": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			if err := shared(tinyBase(t, 2), 7).SaveAs(z.path(*z.At("adapters/a-s0")), "", llm.SaveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
		}, []string{"broken adapters/a-s0"}, "belongs to the base"},
		"not a number": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			raw, err := os.ReadFile(weights(z, "a"))
			if err != nil {
				t.Fatal(err)
			}
			copy(raw[len(raw)-4:], []byte{0, 0, 0xc0, 0x7f})
			write(t, weights(z, "a"), string(raw))
			v, err := z.Variant(*z.At("adapters/a-s0"))
			if err != nil {
				t.Fatal(err)
			}
			change(t, z, "adapters/a-s0", func(m *Member) { m.Hash, _ = v.Hash() })
		}, []string{"broken adapters/a-s0"}, "not finite"},
		"maybe chance": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			change(t, z, "adapters/a-s0", func(m *Member) { m.Accuracy, m.P = 0.14, 0.2 })
		}, []string{"useless adapters/a-s0"}, "may be chance"},
		"too bad": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			change(t, z, "adapters/a-s0", func(m *Member) { m.Accuracy = 0.04 })
		}, []string{"useless adapters/a-s0"}, "less than 0.100"},
		"the same words": {func(t *testing.T, z *Zoo, _ *llm.Checkpoint) {
			text, err := os.ReadFile(filepath.Join(z.Dir, IndexName))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(z.Dir, IndexName), strings.Replace(string(text), `"D."`, `"A."`, 1))
		}, []string{"ambiguous d"}, `a has the same description: "A."`},
	} {
		t.Run(name, func(t *testing.T) {
			z, base := planted(t)
			c.plant(t, z, base)
			r, err := Check(z.Dir, base, CheckOptions{Accuracy: 0.1, Alpha: 0.05})
			if err != nil {
				t.Fatal(err)
			}
			want := append(c.want, "untrained e")
			broken, said := 0, c.say == ""
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Kind+" "+f.What)
				said = said || strings.Contains(f.Text+f.Remedy, c.say)
				if f.Kind == Broken {
					broken++
				}
				if f.Remedy == "" || strings.Contains(f.Text+f.Remedy, "\n") {
					t.Errorf("finding %+v", f)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || !said || r.Broken != broken || r.Tasks != 5 || r.Members != 4 {
				t.Errorf("found %+v, want %v saying %q", r, want, c.say)
			}
		})
	}
}

// Sketches have the updates' cosines, whichever form an update has.
func TestSketches(t *testing.T) {
	base := tinyBase(t, 1)
	a, b := shared(base, 1), shared(base, 2)
	mixed := func(share float32) *llm.Variant {
		v := shared(base, 1)
		for i, x := range b.LowRank[tensor].B {
			v.LowRank[tensor].B[i] += share * x
		}
		return v
	}
	of := func(v *llm.Variant) sketch {
		s, err := newSketch(v)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if c := of(a).cosine(of(a)); math.Abs(c-1) > 1e-12 {
		t.Errorf("an update and itself: %v", c)
	}
	if c := of(a).cosine(of(mixed(0.03))); c < 0.99 {
		t.Errorf("an update and one near it: %v", c)
	}
	if c := of(a).cosine(of(b)); c > mayBeSame {
		t.Errorf("two updates: %v", c)
	}
	if c := of(a).cosine(of(&llm.Variant{Base: base})); c != 0 {
		t.Errorf("an update and none: %v", c)
	}
}
