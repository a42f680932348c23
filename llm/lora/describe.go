package lora

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"d2nwg/llm"
)

// KindDoRA is a Module's kind beside KindLowRank and KindWhole.
const KindDoRA = "DoRA"

// Module describes what an adapter does to one tensor.
type Module struct {
	Tensor   string   `json:"tensor"`
	Kind     string   `json:"kind"` // KindLowRank, KindDoRA or KindWhole
	Shape    []int    `json:"shape"`
	Rank     int      `json:"rank,omitempty"`
	Alpha    float64  `json:"alpha,omitempty"`
	Scale    float64  `json:"scale,omitempty"`    // what B·A is multiplied with
	Norm     *float64 `json:"norm,omitempty"`     // of the change (Frobenius); nil where it needs a base
	Relative *float64 `json:"relative,omitempty"` // … divided by the norm of the base's tensor; nil without a base
}

// Describe lists what the adapter changes in the order of the model. base may be nil; with it, every norm is told.
func (a *Adapter) Describe(base *llm.Checkpoint) ([]Module, error) {
	var out []Module
	for _, s := range a.pairs {
		m := Module{Tensor: s.module + weightSuffix, Kind: KindLowRank, Rank: s.delta.Rank, Alpha: s.alpha, Scale: s.scale,
			Shape: []int{len(s.delta.B) / s.delta.Rank, len(s.delta.A) / s.delta.Rank}}
		if s.magnitude != nil {
			m.Kind = KindDoRA
		} else {
			square, err := Inner(s.delta, s.delta)
			if err != nil {
				return nil, badf("%s: module %s: %v", a.Dir, s.module, err)
			}
			norm := math.Sqrt(max(0, square))
			m.Norm = &norm
		}
		out = append(out, m)
	}
	for _, w := range a.wholes {
		out = append(out, Module{Tensor: w.tensor, Kind: KindWhole, Shape: w.shape})
	}
	slices.SortStableFunc(out, func(x, y Module) int {
		return slices.Compare(position(x.Tensor), position(y.Tensor))
	})
	if base == nil {
		return out, nil
	}
	v, err := a.Variant(base)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if err := out[i].against(v); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", out[i].Tensor, err)
		}
	}
	return out, nil
}

// against fills in what the base tells.
func (m *Module) against(v *llm.Variant) error {
	name := m.Tensor
	if name == llm.LMHeadName && v.Base.Config.TieWordEmbeddings {
		name = llm.EmbedName
	}
	norm := 0.0
	if changes(v, name) {
		square, err := dotTensor(v, v, name)
		if err != nil {
			return err
		}
		norm = math.Sqrt(max(0, square))
	}
	values, err := v.Base.Float32(name)
	if err != nil {
		return err
	}
	own := 0.0
	for _, x := range values {
		own += float64(x) * float64(x)
	}
	relative := norm / math.Sqrt(own)
	if m.Norm = &norm; own > 0 {
		m.Relative = &relative
	}
	return nil
}

// position orders tensors as they stand in the model: what is before the layers, each layer, what is after them.
func position(tensor string) []int {
	name, layer, _ := llm.ParseName(tensor)
	at := slices.IndexFunc(llm.Modules(), func(m llm.Module) bool { return m.Name == name })
	if layer < 0 {
		return []int{cmp.Compare(at, 1), at} // −1 for the first module, the embedding, 1 for the others
	}
	return []int{0, layer, at}
}
