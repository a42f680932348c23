package eval

import (
	"slices"
	"sync"

	"d2nwg/llm"
	"d2nwg/llm/engine"
)

// mostModelValues is how many values the models of variants that are kept may have in tensors of their own.
const mostModelValues = 64 << 20

// models are those of the latest variants, oldest first: while candidates race, each is scored several times, and its
// low-rank updates need not be added up every time.
type models struct {
	mu     sync.Mutex
	latest []made
	values int
}

type made struct {
	variant *llm.Variant
	model   *engine.Model
	values  int
}

// of returns the model of a variant of base's checkpoint.
func (m *models) of(base *engine.Model, v *llm.Variant) (*engine.Model, error) {
	if found := m.find(v); found != nil {
		return found, nil
	}
	model, err := base.With(v)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, name := range v.Names() {
		t, _ := v.Base.Tensor(name)
		size := 1
		for _, d := range t.Shape {
			size *= d
		}
		n += size
	}
	m.keep(made{v, model, n})
	return model, nil
}

func (m *models) find(v *llm.Variant) *engine.Model {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.latest, func(x made) bool { return x.variant == v })
	if i < 0 {
		return nil
	}
	x := m.latest[i]
	m.latest = append(slices.Delete(m.latest, i, i+1), x)
	return x.model
}

// keep takes a model in and forgets the oldest where they are too large together.
func (m *models) keep(x made) {
	if x.values > mostModelValues {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest = append(m.latest, x)
	m.values += x.values
	for m.values > mostModelValues || len(m.latest) > mostModels {
		m.values -= m.latest[0].values
		m.latest = slices.Delete(m.latest, 0, 1)
	}
}

// mostModels bounds the search for one.
const mostModels = 256
