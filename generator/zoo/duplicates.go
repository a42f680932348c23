package zoo

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"d2nwg/llm"
	"d2nwg/llm/lora"
)

// sameCosine is the cosine of two updates from which on they count as one.
const sameCosine = 0.999

// adapter is a member with its values.
type adapter struct {
	Member
	variant *llm.Variant
}

// duplicates finds members whose updates are the same. Every two are compared by their sketches, which costs little, and those
// that look alike by their exact inner products.
func duplicates(r *Report, all []adapter) error {
	const remedy = "remove one of the two; where two tasks are one, also one of the tasks"
	sketches := make([]sketch, len(all))
	for i, a := range all {
		var err error
		if sketches[i], err = newSketch(a.variant); err != nil {
			return fmt.Errorf("%s: %w", a.Dir, err)
		}
		for k, b := range all[:i] {
			if a.Hash == b.Hash {
				r.add(Duplicate, a.Dir, remedy, "it holds the values of %s", b.Dir)
				break
			}
			if sketches[i].cosine(sketches[k]) < mayBeSame {
				continue
			}
			cosine, err := lora.Cosine(a.variant, b.variant)
			if err != nil {
				return fmt.Errorf("%s and %s: %w", a.Dir, b.Dir, err)
			}
			if cosine > sameCosine {
				r.add(Duplicate, a.Dir, remedy, "its update is that of %s (cosine %.5f)", b.Dir, cosine)
				break
			}
		}
	}
	return nil
}

// probes is how many random vectors a sketch sees a matrix through.
const probes = 4

// mayBeSame is far below the cosine of two sketches whose updates have sameCosine.
const mayBeSame = 0.9

// A sketch is ΔW·P of every changed tensor, with random vectors P (in, probes) that all sketches share: equal updates have
// equal sketches whatever their factors, and inner products of sketches are those of the updates, times probes, on average.
type sketch struct {
	parts map[string][]float32
	norm  float64
}

func newSketch(v *llm.Variant) (sketch, error) {
	s := sketch{parts: map[string][]float32{}}
	for _, name := range v.Names() {
		p := random(v, name)
		if l, ok := v.Factors(name); ok {
			s.parts[name] = multiply(l.B, l.Rank, multiply(l.A, len(l.A)/l.Rank, p))
			continue
		}
		base, err := v.Base.Float32(name)
		if err != nil {
			return s, err
		}
		delta := make([]float32, len(base))
		for i, x := range v.Replace[name] {
			delta[i] = x - base[i]
		}
		s.parts[name] = multiply(delta, len(p)/probes, p)
	}
	s.norm = math.Sqrt(s.dot(s))
	return s, nil
}

// random is P (in, probes) of a tensor; one that isn't a matrix counts as one column.
func random(v *llm.Variant, name string) []float32 {
	t, _ := v.Base.Tensor(name)
	in := 1
	if len(t.Shape) == 2 {
		in = t.Shape[1]
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	p := make([]float32, in*probes)
	for i := range p {
		p[i] = float32(r.NormFloat64())
	}
	return p
}

// multiply is m (rows, n) times p (n, probes).
func multiply(m []float32, n int, p []float32) []float32 {
	out := make([]float32, len(m)/n*probes)
	for i := range len(m) / n {
		row := out[i*probes : (i+1)*probes]
		for j, x := range m[i*n : (i+1)*n] {
			for k := range row {
				row[k] += x * p[j*probes+k]
			}
		}
	}
	return out
}

func (s sketch) dot(o sketch) float64 {
	sum := 0.0
	for name, x := range s.parts {
		y := o.parts[name]
		for i := range y {
			sum += float64(x[i]) * float64(y[i])
		}
	}
	return sum
}

func (s sketch) cosine(o sketch) float64 {
	if s.norm == 0 || o.norm == 0 {
		return 0
	}
	return s.dot(o) / s.norm / o.norm
}
