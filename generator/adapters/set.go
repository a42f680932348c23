package adapters

import (
	"errors"
	"fmt"
	"math"

	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// Task is one task to learn from.
type Task struct {
	Name         string
	Descriptions []string               // paraphrases, at least one
	Weights      []map[string][]float32 // trained adapters of the task: B (out, r) by tensor; may be none
	States       []float32              // (examples, states) the base's states of some of its examples
}

// Set is a training set.
type Set struct {
	Base   *llm.Checkpoint
	Rank   int
	Seed   uint64   // of the shared factors A
	Module []string // adapted modules; nil = every linear layer
	Tasks  []Task
	States int    // numbers of an example
	Start  *Start // nil = from nothing
	// Batch gives a task's training examples of a step. It has to be a pure function.
	Batch func(task, step int) (*pack.Batch, error)
}

// Check refuses a set whose parts don't fit together.
func (s Set) Check(factors []llm.NamedShape) error {
	if len(s.Tasks) < 2 {
		return errors.New("adapters: a generator needs at least 2 tasks to learn from")
	}
	if st := s.Start; st != nil && (st.Rank != s.Rank || st.Seed != s.Seed) {
		return fmt.Errorf("adapters: the start's adapters have rank %d on the factors A of seed %d, those to learn from rank %d on %d", st.Rank, st.Seed, s.Rank, s.Seed)
	}
	for _, t := range s.Tasks {
		if len(t.Descriptions) == 0 {
			return fmt.Errorf("adapters: the task %s has no description", t.Name)
		}
		if s.States < 1 || len(t.States) == 0 || len(t.States)%s.States != 0 {
			return fmt.Errorf("adapters: the task %s has no states of examples of %d numbers", t.Name, s.States)
		}
		for _, w := range t.Weights {
			for _, f := range factors {
				if len(w[f.Name]) != f.Elements() {
					return fmt.Errorf("adapters: an adapter of the task %s has %d values for the B of %s, shape %v needs %d", t.Name, len(w[f.Name]), f.Name, f.Shape, f.Elements())
				}
				for _, x := range w[f.Name] {
					if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
						return fmt.Errorf("adapters: an adapter of the task %s holds a value of %s that is not finite", t.Name, f.Name)
					}
				}
			}
		}
	}
	return nil
}

// standard takes the training examples' mean and deviation off states, number by number: what examples have in common would drown what tells
// tasks apart.
type standard struct{ mean, deviation []float32 }

func newStandard(tasks []Task, states int) standard {
	sum, square, n := make([]float64, states), make([]float64, states), 0.0
	for _, t := range tasks {
		for i, x := range t.States {
			sum[i%states] += float64(x)
			square[i%states] += float64(x) * float64(x)
		}
		n += float64(len(t.States) / states)
	}
	s := standard{make([]float32, states), make([]float32, states)}
	for i := range states {
		mean := sum[i] / n
		s.mean[i], s.deviation[i] = float32(mean), float32(math.Sqrt(max(0, square[i]/n-mean*mean))+1e-6)
	}
	return s
}

// apply writes standardized states of one example.
func (s standard) apply(to, states []float32) {
	for i, x := range states {
		to[i] = (x - s.mean[i]) / s.deviation[i]
	}
}

// defaultScale is the deviation of a B factor's values where no adapter tells it.
const defaultScale = 1

// scales are the root mean squares of the B factors' values over all adapters, by tensor. A start gives the values themselves: a base that
// was trained with adapters may want larger ones than those trained on it.
func scales(factors []llm.NamedShape, set Set) map[string]float32 {
	out := map[string]float32{}
	for _, f := range factors {
		sum, n := 0.0, 0
		for _, t := range set.Tasks {
			for _, w := range t.Weights {
				for _, x := range w[f.Name] {
					sum += float64(x) * float64(x)
				}
				n += len(w[f.Name])
			}
		}
		out[f.Name] = defaultScale
		if sum > 0 && set.Start == nil {
			out[f.Name] = float32(math.Sqrt(sum / float64(n)))
		}
	}
	return out
}
