package lora

import (
	"fmt"
	"slices"

	"d2nwg/llm"
)

// Canonical returns the adapter with canonical factors; what is stored whole stays as it is.
func (a *Adapter) Canonical() (*Adapter, error) {
	out := *a
	out.pairs = slices.Clone(a.pairs)
	for i, s := range out.pairs {
		lr, err := Canonical(s.delta)
		if err != nil {
			return nil, badf("%s: module %s: %v", a.Dir, s.module, err)
		}
		out.pairs[i].delta = lr
	}
	return &out, nil
}

// Write writes the adapter in the plain form that the function Write describes, without a base. What needs one is
// refused: DoRA, biases, and modules that are stored whole and updated, too.
func (a *Adapter) Write(dir string, opt WriteOptions) error {
	const remedy = "give the base, or merge the adapter"
	c := &contents{wholes: a.wholes}
	updated := map[string]bool{}
	for _, s := range a.pairs {
		if s.magnitude != nil || s.bias != nil {
			return fmt.Errorf("module %s of %s has more than its factors (use_dora, lora_bias), which becomes plain only on a base: %s", s.module, a.Dir, remedy)
		}
		updated[s.module] = true
		c.pairs = append(c.pairs, s.pair)
		c.cover(s.module + weightSuffix)
	}
	for _, w := range a.wholes {
		if module, _ := moduleOf(w.tensor); updated[module] {
			return fmt.Errorf("tensor %q of %s stands beside an update of its module, which PEFT's plain form can't hold: %s", w.tensor, a.Dir, remedy)
		}
		c.cover(w.tensor)
	}
	return c.write(dir, opt)
}

// cover counts the layers as far as tensors tell.
func (c *contents) cover(tensor string) {
	if _, layer, ok := llm.ParseName(tensor); ok {
		c.layers = max(c.layers, layer+1)
	}
}
