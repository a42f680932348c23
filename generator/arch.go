package generator

import (
	"fmt"
	"math"
	"slices"

	"d2nwg/generator/tokens"
)

const (
	positionBuckets = 64 // one-hot buckets of a token's place in its tensor
	positionWaves   = 8  // pairs of sinusoidal features of the same
)

// architecture gives every token the features its learned embeddings are made of: one-hot module type, layer, shape class and place in
// the tensor, and waves of the relative place. A matrix product of one-hot rows is an embedding that every backend trains correctly.
func architecture(m *tokens.Map) (features []float32, width int) {
	var modules, shapes []string
	var layers []int
	buckets := 1
	for _, t := range m.Tensors {
		modules, shapes, layers = append(modules, t.Module), append(shapes, fmt.Sprint(t.Shape)), append(layers, t.Layer)
		buckets = max(buckets, min(positionBuckets, t.Count))
	}
	modules, shapes, layers = unique(modules), unique(shapes), unique(layers)
	width = len(modules) + len(layers) + len(shapes) + buckets + 2*positionWaves
	features = make([]float32, m.Tokens()*width)
	for _, t := range m.Tensors {
		for i := range t.Count {
			row := features[(t.First+i)*width : (t.First+i+1)*width]
			at := 0
			hot := func(index, size int) {
				row[at+index] = 1
				at += size
			}
			hot(slices.Index(modules, t.Module), len(modules))
			hot(slices.Index(layers, t.Layer), len(layers))
			hot(slices.Index(shapes, fmt.Sprint(t.Shape)), len(shapes))
			if t.Count <= buckets {
				hot(i, buckets)
			} else {
				hot(i*buckets/t.Count, buckets)
			}
			place := (float64(i) + 0.5) / float64(t.Count)
			for k := range positionWaves {
				angle := math.Pi * place * float64(int(1)<<k)
				row[at+k], row[at+positionWaves+k] = float32(math.Sin(angle)), float32(math.Cos(angle))
			}
		}
	}
	return features, width
}

// unique sorts values and drops repeated ones.
func unique[T int | string](values []T) []T {
	slices.Sort(values)
	return slices.Compact(values)
}

// groups lists the tokens that are sampled jointly: all of them, or those of each layer.
func groups(m *tokens.Map, scope string) [][]int {
	var out [][]int
	at := map[int]int{} // layer → place in out
	for _, t := range m.Tensors {
		layer := 0
		if scope == ScopeLayer {
			layer = t.Layer
		}
		k, ok := at[layer]
		if !ok {
			k = len(out)
			at[layer] = k
			out = append(out, nil)
		}
		for i := range t.Count {
			out[k] = append(out[k], t.First+i)
		}
	}
	return out
}
