package adapters

import (
	"math"
	"slices"
)

// Distance tells how far a description is from everything a generator was trained on.
type Distance struct {
	Nearest    string  `json:"nearest"`    // the task of the most similar description
	Similarity float64 `json:"similarity"` // its cosine, of the text encoder's features
	Usual      float64 `json:"usual"`      // what 95 of 100 trained tasks reach when they are left out
	Unknown    float64 `json:"unknown"`    // share of the words that no trained description has
	Far        bool    `json:"far"`        // whether the zoo has nothing that resembles it
}

// tooManyUnknown is the share of words never met from which a description is far, whatever its features say: an encoder answers to any
// words, even to those it knows nothing of.
const tooManyUnknown = 0.5

// Distance measures a description against the training set.
func (g *Generator) Distance(description string) (Distance, error) {
	f, err := g.TextFeatures(description)
	if err != nil {
		return Distance{}, err
	}
	out := Distance{Usual: g.usual(), Unknown: g.unknown(description)}
	out.Nearest, out.Similarity = g.nearest(f, -1)
	out.Far = out.Similarity < out.Usual || out.Unknown >= tooManyUnknown
	return out, nil
}

// Nearest lists trained tasks by the similarity of their descriptions to features, the most similar first.
func (g *Generator) Nearest(features []float32) []int {
	similar := make([]float64, len(g.known))
	order := make([]int, len(g.known))
	for i, k := range g.known {
		order[i], similar[i] = i, k.similarity(features)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case similar[a] > similar[b]:
			return -1
		case similar[a] < similar[b]:
			return 1
		}
		return 0
	})
	return order
}

// similarity is the largest cosine with a description of the task.
func (k Known) similarity(features []float32) float64 {
	best := math.Inf(-1)
	for _, f := range k.Features {
		best = max(best, cosine(f, features))
	}
	return best
}

// nearest is the most similar trained task, one left out.
func (g *Generator) nearest(features []float32, except int) (name string, similarity float64) {
	similarity = math.Inf(-1)
	for i, k := range g.known {
		if s := k.similarity(features); i != except && s > similarity {
			name, similarity = k.Name, s
		}
	}
	return name, similarity
}

// usual is the 5th percentile of the trained tasks' similarity to their nearest others. It is measured once and saved: with a thousand
// tasks that takes seconds.
func (g *Generator) usual() float64 {
	if g.usually != nil {
		return *g.usually
	}
	var all []float64
	for i, k := range g.known {
		_, s := g.nearest(k.Features[0], i)
		all = append(all, s)
	}
	slices.Sort(all)
	g.usually = &all[len(all)/20]
	return *g.usually
}

// unknown is the share of a description's words that no trained description has.
func (g *Generator) unknown(description string) float64 {
	met := map[string]bool{}
	for _, k := range g.known {
		for _, d := range k.Descriptions {
			for _, w := range words(d) {
				met[w] = true
			}
		}
	}
	all := words(description)
	lost := 0
	for _, w := range all {
		if !met[w] {
			lost++
		}
	}
	return float64(lost) / float64(max(1, len(all)))
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb+1e-300)
}
