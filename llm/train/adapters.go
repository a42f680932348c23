package train

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/llm"
)

// LowRankOptions say which matrices adapters change, and how much.
type LowRankOptions struct {
	Rank    int
	Modules []string // modules to adapt, such as "q_proj"; nil = every linear layer of attention and MLP
	Layers  []int    // layers to adapt; nil = all

	// Init are the B factors to start from, one map for each adapter, (out, r) by tensor name; a missing map or tensor starts at zero,
	// where an adapter changes nothing.
	Init []map[string][]float32
}

// linearModules are the linear layers of a decoder layer.
var linearModules = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// Adapters trains len(data) low-rank adapters of one frozen base in one graph: adapter g learns from data[g] alone. All share the frozen
// factor A of each matrix, llm.SharedA of Options.Seed; B is trained. Each adapter has its own mean loss, its own gradient norm to clip and
// its own AdamW, so that it becomes what it would become alone.
//
//	y = x·Wᵀ + (x·Aᵀ)·B_gᵀ   x (groups·M, in), W (out, in), A (r, in), B (groups, out, r)
//
// It resumes like Full. Variants come in data's order, with LowRank and its Seed set.
func Adapters(ctx context.Context, base *llm.Checkpoint, data []Data, lr LowRankOptions, opt Options) ([]*llm.Variant, Log, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, Log{}, err
	}
	if len(data) == 0 {
		return nil, Log{}, fmt.Errorf("train: no data: one Data for each adapter is needed")
	}
	shapes, err := adapted(base.Config, lr)
	if err != nil {
		return nil, Log{}, err
	}
	lay := &layout{}
	for _, s := range shapes {
		lay.add(s.Name, []int{s.Shape[0], lr.Rank}, true)
	}
	start, err := startAdapters(lay, lr, len(data))
	if err != nil {
		return nil, Log{}, err
	}
	r := &run{opt: opt, cfg: base.Config, data: data, layout: lay, start: start, frozen: map[string]array{}}
	if err := r.freeze(base, shapes, lr.Rank); err != nil {
		return nil, Log{}, err
	}
	r.bind = func(n *net, state *node) {
		for _, e := range lay.entries {
			n.lowRank[e.name] = lowRank{a: n.tensors[factorA(e.name)], b: lay.slice(state, e, true)}
		}
	}
	variants := func(params [][]float32) []*llm.Variant {
		var all []*llm.Variant
		for _, p := range params {
			all = append(all, lay.variant(base, lr.Rank, opt.Seed, p))
		}
		return all
	}
	if opt.Snapshot != nil {
		r.snapshot = func(step int, params [][]float32) error {
			return opt.Snapshot(Snapshot{Step: step, Variants: variants(params)})
		}
	}
	params, log, err := r.train(ctx)
	if err != nil {
		return nil, log, err
	}
	return variants(params), log, nil
}

// adapted lists the matrices that lr selects, in canonical order.
func adapted(cfg llm.Config, lr LowRankOptions) ([]llm.NamedShape, error) {
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

// startAdapters lays the initial B factors out, zero where none is given.
func startAdapters(lay *layout, lr LowRankOptions, groups int) ([][]float32, error) {
	if len(lr.Init) > groups {
		return nil, fmt.Errorf("train: %d initial adapters for %d data sets", len(lr.Init), groups)
	}
	start := make([][]float32, groups)
	for g := range start {
		start[g] = make([]float32, lay.size)
		if g >= len(lr.Init) {
			continue
		}
		left := len(lr.Init[g])
		for _, e := range lay.entries {
			values, ok := lr.Init[g][e.name]
			if !ok {
				continue
			}
			left--
			if len(values) != e.size {
				return nil, fmt.Errorf("train: initial B of adapter %d, tensor %s has %d values, want shape %v", g, e.name, len(values), e.shape)
			}
			copy(start[g][e.offset:], values)
		}
		if left > 0 {
			return nil, fmt.Errorf("train: initial adapter %d has %d tensors that are not adapted", g, left)
		}
	}
	return start, nil
}

// freeze collects the base's tensors and the shared A factors, which the graph reads and doesn't train.
func (r *run) freeze(base *llm.Checkpoint, adapted []llm.NamedShape, rank int) error {
	hash, err := base.Hash()
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	r.frozenID = fmt.Sprintf("base %s, rank %d, seed %d", hash, rank, r.opt.Seed)
	arrays, err := frozenTensors(base, adapted, rank, r.opt.Seed)
	for _, a := range arrays {
		r.hold(a.Name, floats(a.Values, a.Shape...))
	}
	return err
}

func (r *run) hold(name string, a array) {
	r.frozen[name] = a
	r.frozenNames = append(r.frozenNames, name)
}

// variant makes a candidate of one adapter's parameters.
func (l *layout) variant(base *llm.Checkpoint, rank int, seed uint64, params []float32) *llm.Variant {
	v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
	for _, e := range l.entries {
		v.LowRank[e.name] = llm.LowRank{
			Rank: rank, Seed: &seed,
			A: llm.SharedA(base.Config, e.name, rank, seed),
			B: slices.Clone(params[e.offset : e.offset+e.size]),
		}
	}
	return v
}
