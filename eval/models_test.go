package eval

import (
	"testing"

	"d2nwg/llm"
)

// A variant's model is made once, as long as there is room for it, and never taken for another's.
func TestModelsAreKept(t *testing.T) {
	c, base := tiny(t, 6)
	name := c.Tensors()[0].Name
	values, err := (&llm.Variant{Base: c}).Weights(name)
	if err != nil {
		t.Fatal(err)
	}
	a, b := &llm.Variant{Base: c, Replace: map[string][]float32{name: values}}, &llm.Variant{Base: c}
	var m models
	of := func(v *llm.Variant) any {
		got, err := m.of(base, v)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := of(a)
	if of(b) == first || of(a) != first || m.values != len(values) {
		t.Errorf("%d values are kept of %d", m.values, len(values))
	}
	m.keep(made{variant: b, values: mostModelValues + 1}) // too large
	if of(a) != first {
		t.Error("a model that is too large drove another one out")
	}
	m.keep(made{variant: b, values: mostModelValues - len(values) + 1})
	if m.find(a) != nil || m.values != mostModelValues-len(values)+1 {
		t.Errorf("%d values are kept", m.values)
	}
	for range 2 * mostModels {
		of(&llm.Variant{Base: c})
	}
	if len(m.latest) != mostModels || m.values != 0 {
		t.Errorf("%d models with %d values are kept", len(m.latest), m.values)
	}
	if _, err := m.of(base, &llm.Variant{Base: &llm.Checkpoint{}}); err == nil {
		t.Error("a variant of another checkpoint is taken")
	}
}
