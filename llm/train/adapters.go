package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"d2nwg/llm"
)

// LowRankOptions say which matrices adapters change, and how much.
type LowRankOptions struct {
	Rank    int
	Scale   float64  // the update is Scale·B·A while it is trained (LoRA's alpha / rank), and folded into B in the end; 0 = 1
	Modules []string // modules to adapt, such as "q_proj"; nil = every linear layer of attention and MLP
	Layers  []int    // layers to adapt; nil = all

	// TrainA trains each adapter's own A too. Without it all share llm.SharedA of Options.Seed, which stays as it is.
	TrainA bool

	// Init are the factors to start from, one map for each adapter, by tensor name. A missing map or tensor, or a B that is nil, starts with
	// B at zero, where an adapter changes nothing; a missing A starts as PEFT's does, from Options.Seed, the same for all adapters.
	Init []map[string]llm.LowRank
}

// linearModules are the linear layers of a decoder layer.
var linearModules = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// Adapters trains len(data) low-rank adapters of one frozen base in one graph: adapter g learns from data[g] alone. Each has its own mean
// loss, its own gradient norm to clip and its own AdamW, so that it becomes what it would become alone.
//
//	y = x·Wᵀ + scale·(x·A_gᵀ)·B_gᵀ   x (groups·M, in), W (out, in), A (groups, r, in), or (r, in) where it is shared, B (groups, out, r)
//
// It resumes like Full. Variants come in data's order; where A is shared their LowRank has its Seed set.
func Adapters(ctx context.Context, base *llm.Checkpoint, data []Data, lr LowRankOptions, opt Options) ([]*llm.Variant, Log, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, Log{}, err
	}
	if len(data) == 0 {
		return nil, Log{}, fmt.Errorf("train: no data: one Data for each adapter is needed")
	}
	if lr.Scale == 0 {
		lr.Scale = 1
	}
	if !(lr.Scale > 0) || math.IsInf(lr.Scale, 0) {
		return nil, Log{}, fmt.Errorf("train: option Scale is out of range")
	}
	shapes, err := Adapted(base.Config, lr)
	if err != nil {
		return nil, Log{}, err
	}
	f := newFactors(base, shapes, lr, opt.Seed)
	start, err := f.start(len(data))
	if err != nil {
		return nil, Log{}, err
	}
	r := &run{opt: opt, cfg: base.Config, data: data, layout: f.layout, start: start, bind: f.bind}
	if err := r.freeze(f); err != nil {
		return nil, Log{}, err
	}
	if opt.Snapshot != nil {
		r.snapshot = func(step int, params [][]float32) error {
			return opt.Snapshot(Snapshot{Step: step, Variants: f.variants(params)})
		}
	}
	params, log, err := r.train(ctx)
	if err != nil {
		return nil, log, err
	}
	return f.variants(params), log, nil
}

// Adapted lists the matrices that lr selects, in canonical order.
func Adapted(cfg llm.Config, lr LowRankOptions) ([]llm.NamedShape, error) {
	modules := lr.Modules
	if modules == nil {
		modules = linearModules
	}
	for _, m := range modules {
		if !slices.Contains(linearModules, m) {
			return nil, fmt.Errorf("train: module %q can't have an adapter; choose from %v", m, linearModules)
		}
	}
	for _, l := range lr.Layers {
		if l < 0 || l >= cfg.Layers {
			return nil, fmt.Errorf("train: layer %d can't have an adapter; the model has layers 0 to %d", l, cfg.Layers-1)
		}
	}
	var out []llm.NamedShape
	for _, s := range cfg.TensorShapes() {
		if !slices.Contains(modules, s.Module) || lr.Layers != nil && !slices.Contains(lr.Layers, s.Layer) {
			continue
		}
		if lr.Rank < 1 || lr.Rank > min(s.Shape[0], s.Shape[1]) {
			return nil, fmt.Errorf("train: rank %d doesn't fit tensor %s of shape %v", lr.Rank, s.Name, s.Shape)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("train: no tensor to adapt; name at least one module and one layer")
	}
	return out, nil
}

// freeze collects the base's tensors and the shared A factors, which the graph reads and doesn't train.
func (r *run) freeze(f *factors) error {
	hash, err := f.base.Hash()
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	r.frozenID = fmt.Sprintf("base %s, rank %d, seed %d, scale %v", hash, f.lr.Rank, f.seed, f.lr.Scale)
	shared := f.shapes
	if f.lr.TrainA {
		shared = nil
	}
	arrays, err := frozenTensors(f.base, shared, f.lr.Rank, f.seed)
	r.frozen = map[string]array{}
	for _, a := range arrays {
		r.frozen[a.Name] = floats(a.Values, a.Shape...)
		r.frozenNames = append(r.frozenNames, a.Name)
	}
	return err
}
