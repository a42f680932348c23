package lora

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// Open reads the adapter in dir as a variant of base.
func Open(base *llm.Checkpoint, dir string) (*llm.Variant, *Adapter, error) {
	a, err := Read(dir)
	if err != nil {
		return nil, nil, err
	}
	v, err := a.Variant(base)
	return v, a, err
}

// Variant puts the adapter on a base: what it scores and merges to is what PEFT's merge_and_unload gives, but for
// rounding. On a base whose head is its embedding the two must stay one: an adapter that changes only one of them, or
// each in its own way, is refused.
func (a *Adapter) Variant(base *llm.Checkpoint) (*llm.Variant, error) {
	p := placing{Adapter: a, base: base, given: map[string]whole{}, replace: map[string][]float32{}, lowRank: map[string]llm.LowRank{}}
	for _, step := range []func() error{p.wholeTensors, p.complete, p.updates, p.tie} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	v := &llm.Variant{Base: base, Replace: p.replace, LowRank: p.lowRank}
	if err := v.Check(); err != nil {
		return nil, badf("%s: %v", a.Dir, err)
	}
	return v, nil
}

// Missing lists the modules of a base that the adapter's config targets and whose factors it doesn't hold. PEFT leaves
// them as they are, with a warning.
func (a *Adapter) Missing(base *llm.Checkpoint) ([]string, error) {
	has := map[string]bool{}
	for _, s := range a.pairs {
		has[s.module] = true
	}
	var missing []string
	for _, t := range base.Config.TensorShapes() {
		module, _ := moduleOf(t.Name)
		if len(t.Shape) != 2 || has[module] {
			continue
		}
		targeted, err := a.Config.targets.match(module)
		if err != nil {
			return nil, badf("%s: %v", configName, err)
		}
		if targeted {
			missing = append(missing, module)
		}
	}
	return missing, nil
}

// placing is an adapter on its way onto a base.
type placing struct {
	*Adapter
	base    *llm.Checkpoint
	given   map[string]whole // stored whole, equal to the base's or not
	replace map[string][]float32
	lowRank map[string]llm.LowRank
}

// source returns the base's tensor that a name stands for: the head of a tied model is its embedding.
func (p *placing) source(name string) (llm.Tensor, error) {
	stored := name
	if name == llm.LMHeadName && p.base.Config.TieWordEmbeddings {
		stored = llm.EmbedName
	}
	t, ok := p.base.Tensor(stored)
	if !ok {
		return t, badf("%s changes tensor %q, which isn't in the base checkpoint %s: is it another model's adapter?", p.Dir, name, p.base.Dir)
	}
	return t, nil
}

// wholeTensors takes over what is stored whole, unless it is what the base has.
func (p *placing) wholeTensors() error {
	for _, w := range p.wholes {
		t, err := p.source(w.tensor)
		if err != nil {
			return err
		}
		if !slices.Equal(t.Shape, w.shape) {
			hint := "is it another model's adapter?"
			if len(w.shape) == 2 && len(t.Shape) == 2 && w.shape[1] == t.Shape[1] {
				hint = "its vocabulary was resized: resize the base's in the same way first"
			}
			return badf("%s: tensor %q has shape %v, in the base checkpoint %s it has %v: %s", p.Dir, w.tensor, w.shape, p.base.Dir, t.Shape, hint)
		}
		p.given[w.tensor] = w
		same, err := p.sameAsBase(t, w.values)
		if err != nil {
			return err
		}
		if !same {
			p.replace[w.tensor] = w.values
		}
	}
	return nil
}

// sameAsBase tells whether values, stored as the base stores them, are the base's.
func (p *placing) sameAsBase(t llm.Tensor, values []float32) (bool, error) {
	base, err := p.base.Float32(t.Name)
	if err != nil {
		return false, err
	}
	rounded := slices.Clone(values)
	if err := safetensors.Round(t.DType, rounded); err != nil {
		return false, err
	}
	return slices.Equal(base, rounded), nil
}

// complete requires every tensor of the modules that modules_to_save names: PEFT loads no adapter that lacks one. It
// compares names as PEFT does here, by their ends, whatever stands before.
func (p *placing) complete() error {
	for _, t := range p.base.Tensors() {
		if _, ok := p.given[t.Name]; ok {
			continue
		}
		for at := strings.LastIndexByte(t.Name, '.'); at >= 0; at = strings.LastIndexByte(t.Name[:at], '.') {
			for _, end := range p.Config.ModulesToSave {
				if end != "" && strings.HasSuffix(t.Name[:at], end) {
					return badf("%s: %s lacks tensor %q, and modules_to_save in %s names %q: the file is incomplete, get it again", p.Dir, weightsName, t.Name, configName, clip(end))
				}
			}
		}
	}
	return nil
}

// updates puts the pairs on the base's weights, or on those stored whole beside them.
func (p *placing) updates() error {
	if p.Config.randomInit {
		if missing, err := p.Missing(p.base); err != nil {
			return err
		} else if len(missing) > 0 {
			return badf("%s lacks the factors of %s, which PEFT would draw at random for init_lora_weights false: the file is incomplete, get it again", p.Dir, missing[0])
		}
	}
	for _, s := range p.pairs {
		if err := p.update(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *placing) update(s stored) error {
	name := s.module + weightSuffix
	t, err := p.source(name)
	if err != nil {
		return err
	}
	if shape := []int{len(s.delta.B) / s.delta.Rank, len(s.delta.A) / s.delta.Rank}; !slices.Equal(t.Shape, shape) {
		return badf("%s: the factors of %q make a matrix %v, in the base checkpoint %s it is %v: is it another model's adapter?", p.Dir, name, shape, p.base.Dir, t.Shape)
	}
	if s.bias != nil {
		if err := p.addBias(s); err != nil {
			return err
		}
	}
	original, changed := p.replace[name]
	if s.magnitude == nil && !changed {
		p.lowRank[name] = s.delta
		return nil
	}
	if !changed {
		if original, err = p.base.Float32(t.Name); err != nil {
			return err
		}
	}
	sum := added(original, s.delta)
	if s.magnitude != nil {
		if err := normalize(sum, s); err != nil {
			return badf("%s: module %s: %v", p.Dir, s.module, err)
		}
	}
	values := make([]float32, len(sum))
	for i, x := range sum {
		values[i] = float32(x)
	}
	p.replace[name] = values
	return nil
}

// addBias adds lora_B's bias to the module's own.
func (p *placing) addBias(s stored) error {
	name := s.module + ".bias"
	t, ok := p.base.Tensor(name)
	if !ok {
		return badf("%s: lora_B of %s has a bias, and the base checkpoint %s has none to add it to: it can't be used", p.Dir, s.module, p.base.Dir)
	}
	values, changed := p.replace[name]
	if !changed {
		var err error
		if values, err = p.base.Float32(t.Name); err != nil {
			return err
		}
	}
	if len(values) != len(s.bias) {
		return badf("%s: the bias of %s has %d values, the base's %d", p.Dir, s.module, len(s.bias), len(values))
	}
	sum := slices.Clone(values)
	for i, x := range s.bias {
		sum[i] += x
	}
	p.replace[name] = sum
	return nil
}

// added returns W + B·A in float64.
func added(w []float32, lr llm.LowRank) []float64 {
	cols := len(lr.A) / lr.Rank
	out := make([]float64, len(w))
	for i, x := range w {
		out[i] = float64(x)
	}
	for i := range len(w) / cols {
		row := out[i*cols : (i+1)*cols]
		for k, b := range lr.B[i*lr.Rank : (i+1)*lr.Rank] {
			for j, a := range lr.A[k*cols : (k+1)*cols] {
				row[j] += float64(b) * float64(a)
			}
		}
	}
	return out
}

// normalize gives every output of a DoRA module its magnitude: the rows of a matrix, the columns of an embedding, which
// is looked up by rows.
func normalize(w []float64, s stored) error {
	cols := len(s.delta.A) / s.delta.Rank
	output := func(i int) int { return i / cols }
	if s.embedding() {
		output = func(i int) int { return i % cols }
	}
	norms := make([]float64, len(s.magnitude))
	for i, x := range w {
		norms[output(i)] += x * x
	}
	for o, x := range norms {
		norms[o] = float64(s.magnitude[o]) / math.Sqrt(x)
		if x == 0 || math.IsInf(x, 0) {
			return fmt.Errorf("DoRA divides output %d by its norm %v", o, math.Sqrt(x))
		}
	}
	for i := range w {
		w[i] *= norms[output(i)]
	}
	return nil
}

// tie requires of a tied base that embedding and head stay one, and keeps the embedding's change for both.
func (p *placing) tie() error {
	if !p.base.Config.TieWordEmbeddings {
		return nil
	}
	embed, embedLow := p.replace[llm.EmbedName], p.lowRank[llm.EmbedName]
	head, headLow := p.replace[llm.LMHeadName], p.lowRank[llm.LMHeadName]
	delete(p.replace, llm.LMHeadName)
	delete(p.lowRank, llm.LMHeadName)
	_, headGiven := p.given[llm.LMHeadName]
	if p.Config.ensureTied && head == nil && headLow.Rank == 0 && !headGiven {
		return nil
	}
	if !slices.Equal(embed, head) || embedLow.Rank != headLow.Rank || !slices.Equal(embedLow.A, headLow.A) || !slices.Equal(embedLow.B, headLow.B) {
		return badf("%s changes the embedding and the head in different ways (tensors %s), but in the base checkpoint %s the two are one: give a base with a head of its own (tie_word_embeddings false), or train with ensure_weight_tying",
			p.Dir, strings.Join(p.tiedNames(), ", "), p.base.Dir)
	}
	return nil
}

// tiedNames lists what the adapter holds of embedding and head.
func (p *placing) tiedNames() []string {
	names := map[string]bool{}
	for name := range p.given {
		names[name] = name == llm.EmbedName || name == llm.LMHeadName
	}
	for _, s := range p.pairs {
		names[s.module+weightSuffix] = s.module == embedModule || s.module == headModule
	}
	maps.DeleteFunc(names, func(_ string, tied bool) bool { return !tied })
	return slices.Sorted(maps.Keys(names))
}
