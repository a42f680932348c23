// Package spectrum ranks the weight matrices of a checkpoint by their
// signal-to-noise ratio, Spectrum's layer selection (Hartford et al. 2024,
// arXiv:2406.06623, and its published tool): singular values above the
// Marchenko–Pastur edge of a noise estimate are signal, the rest is noise.
package spectrum

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"d2nwg/internal/progress"
	"d2nwg/llm"
)

// Layer is one weight matrix with its place in the ranking.
type Layer struct {
	Tensor string `json:"tensor"`
	Module string `json:"module"` // llm's module name: q_proj, …
	Layer  int    `json:"layer"`  // −1 outside the layers
	Shape  []int  `json:"shape"`  // (out, in)

	SNR       float64 `json:"snr"`       // (Σ signal / Σ noise) / largest; +Inf without noise
	Sigma     float64 `json:"sigma"`     // IQR / 1.349 of the singular values
	Threshold float64 `json:"threshold"` // singular values above it are signal
	Largest   float64 `json:"largest"`   // largest singular value
	Signal    int     `json:"signal"`    // how many singular values are signal, of min(out, in)

	Rank     int  `json:"rank"` // from 1 inside the module, 1 = highest SNR
	Selected bool `json:"selected"`
}

// MarshalJSON writes an infinite SNR as the string "inf", which JSON has no
// number for.
func (l Layer) MarshalJSON() ([]byte, error) {
	type plain Layer
	if !math.IsInf(l.SNR, 1) {
		return json.Marshal(plain(l))
	}
	finite := l
	finite.SNR = 0
	return json.Marshal(struct {
		plain
		SNR string `json:"snr"`
	}{plain(finite), "inf"})
}

// Rank measures every weight matrix of c and selects, inside each module, the
// top percent (1 to 100) by SNR: int(n·percent/100) of n, at least one. Ties go
// by tensor name. 1-D tensors are left out, and so are the modules named in
// without ("embed_tokens", "lm_head"), whose matrices are the costliest by far.
//
// The result is in order of the name map's modules, each by rank, and doesn't
// depend on the number of processors. Every processor measures one matrix at a
// time, read in strips from the mapped file; it holds a square of the shorter
// side in float64, and fewer work where these would take more than 2 GiB.
// progress gets one event a matrix, stage "spectrum".
func Rank(ctx context.Context, c *llm.Checkpoint, percent int, report progress.Func, without ...string) ([]Layer, error) {
	if percent < 1 || percent > 100 {
		return nil, fmt.Errorf("spectrum percentage is %d, want 1 to 100", percent)
	}
	order := map[string]int{}
	for i, m := range llm.Modules() {
		order[m.Name] = i
	}
	for _, name := range without {
		if _, ok := order[name]; !ok {
			return nil, fmt.Errorf("no LLaMA has a module %q to leave out of the spectrum", name)
		}
	}
	layers := matrices(c, without)
	if err := measureAll(ctx, c, layers, report); err != nil {
		return nil, err
	}
	slices.SortFunc(layers, func(a, b Layer) int {
		return cmp.Or(cmp.Compare(order[a.Module], order[b.Module]), cmp.Compare(b.SNR, a.SNR), cmp.Compare(a.Tensor, b.Tensor))
	})
	sel(layers, percent)
	return layers, nil
}

// memoryLimit bounds the squares held at once, in bytes.
const memoryLimit = 2 << 30

// measureAll measures the layers side by side, the costliest first.
func measureAll(ctx context.Context, c *llm.Checkpoint, layers []Layer, report progress.Func) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	order := make([]*Layer, len(layers))
	largest := 1
	for i := range layers {
		order[i] = &layers[i]
		largest = max(largest, min(layers[i].Shape[0], layers[i].Shape[1]))
	}
	slices.SortStableFunc(order, func(a, b *Layer) int { return cmp.Compare(b.cost(), a.cost()) })
	event := progress.Event{Stage: "spectrum", Total: int64(len(layers))}
	report.Report(event)
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), len(layers), memoryLimit/8/largest/largest)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(order); i = int(next.Add(1)) - 1 {
				values, err := singularValues(ctx, c, *order[i])
				if err != nil {
					cancel(err) // the first error wins and stops the others
					return
				}
				order[i].measure(values)
				mu.Lock()
				event.Done++
				event.Note = order[i].Tensor
				report.Report(event)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// cost is about the number of multiplications that a layer takes.
func (l *Layer) cost() float64 {
	short, long := float64(min(l.Shape[0], l.Shape[1])), float64(max(l.Shape[0], l.Shape[1]))
	return short * short * (long + 4*short)
}

// matrices lists what is to be measured, in canonical order.
func matrices(c *llm.Checkpoint, without []string) []Layer {
	var layers []Layer
	for _, s := range c.Config.TensorShapes() {
		if len(s.Shape) == 2 && !slices.Contains(without, s.Module) {
			layers = append(layers, Layer{Tensor: s.Name, Module: s.Module, Layer: s.Layer, Shape: s.Shape})
		}
	}
	return layers
}

// sel numbers the layers, which come module by module in order of rank, and
// marks the top percent of each module.
func sel(layers []Layer, percent int) {
	for first := 0; first < len(layers); {
		n := 1
		for first+n < len(layers) && layers[first+n].Module == layers[first].Module {
			n++
		}
		keep := max(1, n*percent/100)
		for i := range n {
			layers[first+i].Rank = i + 1
			layers[first+i].Selected = i < keep
		}
		first += n
	}
}

// measure fills in the figures from the singular values, in any order.
func (l *Layer) measure(values []float64) {
	s := slices.Clone(values)
	slices.Sort(s)
	l.Largest = s[len(s)-1]
	// 1.349 is the interquartile range of a standard normal distribution.
	l.Sigma = (percentile(s, 75) - percentile(s, 25)) / 1.349
	short, long := min(l.Shape[0], l.Shape[1]), max(l.Shape[0], l.Shape[1])
	beta := float64(short) / float64(long)
	l.Threshold = l.Sigma * (1 + math.Sqrt(beta))
	var signal, noise float64
	l.Signal = 0
	for _, x := range s {
		if x > l.Threshold {
			signal += x
			l.Signal++
		} else {
			noise += x
		}
	}
	switch {
	case l.Largest == 0: // a matrix of zeros has no signal
		l.SNR = 0
	case noise == 0:
		l.SNR = math.Inf(1)
	default:
		l.SNR = signal / noise / l.Largest
	}
}

// percentile interpolates linearly between the two nearest of the sorted
// values, as numpy and torch.quantile do.
func percentile(sorted []float64, percent float64) float64 {
	at := percent / 100 * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
