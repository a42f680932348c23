package generator

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// copyShare is how near a sample has to lie to a training set to count as a copy: this share of the 5th percentile of the distances that
// training sets have to their nearest neighbours.
const copyShare = 0.5

// Neighbour is the nearest training set of one sample. Distances are over all learned tensors together.
type Neighbour struct {
	Nearest string  `json:"nearest"` // its name
	L2      float64 `json:"l2"`      // Euclidean distance to it
	Cosine  float64 `json:"cosine"`  // largest cosine with any training set
	Copy    bool    `json:"copy"`    // whether it is nearer than training sets are to each other, see Novelty
}

// Spread summarizes distances: minimum, 5th percentile, median and maximum.
type Spread struct {
	Min    float64 `json:"min"`
	P5     float64 `json:"p5"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Novelty compares samples with the training set, to tell generation from memorization. A sample counts as a copy when its distance to the
// nearest training set is below half the 5th percentile of the training sets' own leave-one-out nearest distances.
type Novelty struct {
	Samples   []Neighbour `json:"samples"`
	ZooL2     Spread      `json:"zoo_l2"`     // leave-one-out: each training set's distance to its nearest other
	ZooCosine Spread      `json:"zoo_cosine"` // leave-one-out: each training set's largest cosine with another
	Diversity Spread      `json:"diversity"`  // distances among the samples; zeros for one sample
	Copies    int         `json:"copies"`
}

// Compare makes a novelty report of samples against the training set. Weights are compared as they are given, so give deltas from the base.
func Compare(set Set, samples []map[string][]float32) (*Novelty, error) {
	if err := set.Check(); err != nil {
		return nil, err
	}
	if set.Len() < 2 || len(samples) == 0 {
		return nil, errors.New("generator: a novelty report needs at least two training sets and one sample")
	}
	products, err := innerProducts(set, samples)
	if err != nil {
		return nil, err
	}
	n := set.Len()
	l2 := func(i, j int) float64 {
		return math.Sqrt(max(0, products[i][i]+products[j][j]-2*products[i][j]))
	}
	cosine := func(i, j int) float64 { return products[i][j] / math.Sqrt(products[i][i]*products[j][j]+1e-300) }
	var out Novelty
	var zoo, zooCosine, among []float64
	for i := range n {
		_, d, c := nearest(i, n, l2, cosine)
		zoo, zooCosine = append(zoo, d), append(zooCosine, c)
	}
	out.ZooL2, out.ZooCosine = spreadOf(zoo), spreadOf(zooCosine)
	for i := n; i < n+len(samples); i++ {
		k, d, c := nearest(i, n, l2, cosine)
		s := Neighbour{Nearest: set.Names[k], L2: d, Cosine: c, Copy: d < copyShare*out.ZooL2.P5}
		if s.Copy {
			out.Copies++
		}
		out.Samples = append(out.Samples, s)
		for j := n; j < i; j++ {
			among = append(among, l2(i, j))
		}
	}
	if len(among) > 0 {
		out.Diversity = spreadOf(among)
	}
	return &out, nil
}

// nearest finds, among the first n, the neighbour of i with the least distance, and the largest cosine with any.
func nearest(i, n int, l2, cosine func(i, j int) float64) (at int, distance, best float64) {
	at, distance, best = -1, math.Inf(1), math.Inf(-1)
	for j := range n {
		if j == i {
			continue
		}
		if d := l2(i, j); d < distance {
			at, distance = j, d
		}
		best = max(best, cosine(i, j))
	}
	return at, distance, best
}

// innerProducts gives the inner products of all training sets and samples over all tensors, one tensor in memory at a time for sets that
// load theirs.
func innerProducts(set Set, samples []map[string][]float32) ([][]float64, error) {
	total := set.Len() + len(samples)
	out := make([][]float64, total)
	for i := range out {
		out[i] = make([]float64, total)
	}
	rows := make([][]float32, total)
	for _, spec := range set.Specs {
		for i := range rows {
			var err error
			if i < set.Len() {
				rows[i], err = set.tensor(i, spec.Name)
			} else {
				rows[i] = samples[i-set.Len()][spec.Name]
			}
			if err != nil {
				return nil, err
			}
			if len(rows[i]) != spec.Elements() {
				return nil, fmt.Errorf("generator: number %d of the compared weight sets has %d values for tensor %s, its shape %v needs %d",
					i, len(rows[i]), spec.Name, spec.Shape, spec.Elements())
			}
		}
		for i, a := range rows {
			for j, b := range rows[:i+1] {
				out[i][j] += dot(a, b)
			}
		}
	}
	for i := range out {
		for j := range i {
			out[j][i] = out[i][j]
		}
	}
	return out, nil
}

// dot sums in four float64 lanes, which keeps the multiplier busy.
func dot(a, b []float32) float64 {
	var s [4]float64
	n := len(a) &^ 3
	for i := 0; i < n; i += 4 {
		x, y := a[i:i+4:i+4], b[i:i+4:i+4]
		s[0] += float64(x[0]) * float64(y[0])
		s[1] += float64(x[1]) * float64(y[1])
		s[2] += float64(x[2]) * float64(y[2])
		s[3] += float64(x[3]) * float64(y[3])
	}
	for i := n; i < len(a); i++ {
		s[0] += float64(a[i]) * float64(b[i])
	}
	return s[0] + s[1] + s[2] + s[3]
}

func spreadOf(x []float64) Spread {
	slices.Sort(x)
	at := func(q float64) float64 { return x[int(math.Round(q*float64(len(x)-1)))] }
	return Spread{Min: x[0], P5: at(0.05), Median: at(0.5), Max: x[len(x)-1]}
}
