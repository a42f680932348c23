package train

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// Functional is the loss of many low-rank adapters of one frozen base as a part of a caller's graph: the caller's nodes make the B factors,
// and are trained through the base. All its inputs are float32 arrays: the frozen tensors (Frozen), the same at every step, and the batch
// (Batch); the caller declares parameters of their shapes in the order in which they are listed.
type Functional struct {
	cfg     llm.Config
	opt     FunctionalOptions
	adapted []llm.NamedShape
	frozen  []Array
	feeder  *feeder
}

// FunctionalOptions fix the shapes of the graph.
type FunctionalOptions struct {
	LowRank      LowRankOptions // Rank, Modules and Layers; the rest isn't used. Rank 0: no adapters, the base alone
	Seed         uint64         // of the shared factors A (llm.SharedA)
	Groups       int            // adapters
	Rows, Length int            // shape of each adapter's batch
	TrainBase    bool           // the base's tensors get gradients too
	Backend      *compute.Backend
}

// Array is an input of a graph: float32 values, row by row.
type Array struct {
	Name   string
	Shape  []int
	Values []float32
}

// NewFunctional reads the base's tensors.
func NewFunctional(base *llm.Checkpoint, opt FunctionalOptions) (*Functional, error) {
	switch {
	case opt.Backend == nil:
		return nil, fmt.Errorf("train: no backend given; open one with compute.Open")
	case opt.Groups < 1 || opt.Rows < 1 || opt.Length < 1:
		return nil, fmt.Errorf("train: %d groups of %d rows of %d tokens are no batch", opt.Groups, opt.Rows, opt.Length)
	case base.Config.VocabSize > largestExact:
		return nil, fmt.Errorf("train: token ids up to %d don't fit into float32", base.Config.VocabSize)
	}
	f := &Functional{cfg: base.Config, opt: opt, feeder: newFeeder(base.Config)}
	var err error
	if opt.LowRank.Rank != 0 {
		if f.adapted, err = Adapted(base.Config, opt.LowRank); err != nil {
			return nil, err
		}
	}
	f.frozen, err = frozenTensors(base, f.adapted, opt.LowRank.Rank, opt.Seed)
	return f, err
}

// largestExact is the number up to which float32 holds every integer.
const largestExact = 1 << 24

// frozenTensors are the base's tensors, and behind them the shared A factors of the adapted ones.
func frozenTensors(base *llm.Checkpoint, adapted []llm.NamedShape, rank int, seed uint64) ([]Array, error) {
	var all []Array
	for _, s := range base.Config.TensorShapes() {
		values, err := base.Float32(s.Name)
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		all = append(all, Array{s.Name, s.Shape, values})
	}
	for _, s := range adapted {
		all = append(all, Array{factorA(s.Name), []int{rank, s.Shape[1]}, llm.SharedA(base.Config, s.Name, rank, seed)})
	}
	return all, nil
}

// Factors are the names of the adapted tensors, with the shapes (out, r) of their B factors.
func (f *Functional) Factors() []llm.NamedShape {
	all := slices.Clone(f.adapted)
	for i, s := range all {
		all[i].Shape = []int{s.Shape[0], f.opt.LowRank.Rank}
	}
	return all
}

// Frozen lists the tensors that the graph reads: first the base's, then the shared factors A. They must not be changed.
func (f *Functional) Frozen() []Array { return f.frozen }

// Base lists those of the base.
func (f *Functional) Base() []Array { return f.frozen[:len(f.frozen)-len(f.adapted)] }

// batchNames are those of a batch's inputs, in the order of inputs and feeder.arrays.
var batchNames = []string{"ids", "targets", "weights", "cos", "sin", "segments"}

// Batch lays out one batch for each group. The shapes are the same for every batch. It is not safe for concurrent use.
func (f *Functional) Batch(batches []*pack.Batch) ([]Array, error) {
	if len(batches) != f.opt.Groups {
		return nil, fmt.Errorf("train: %d batches for %d adapters", len(batches), f.opt.Groups)
	}
	if b := batches[0]; b.Rows != f.opt.Rows || b.Len != f.opt.Length {
		return nil, fmt.Errorf("train: a batch of %d×%d for a graph of %d×%d", b.Rows, b.Len, f.opt.Rows, f.opt.Length)
	}
	arrays, err := f.feeder.arrays(batches, 0)
	if err != nil {
		return nil, err
	}
	out := make([]Array, len(arrays))
	for i, a := range arrays {
		out[i] = Array{batchNames[i], a.shape.Dimensions, nil}
		switch flat := a.flat.(type) {
		case []float32:
			out[i].Values = flat
		case []int32:
			out[i].Values = make([]float32, len(flat))
			for k, v := range flat {
				out[i].Values[k] = float32(v)
			}
		}
	}
	return out, nil
}

// Shapes lists the shapes of the inputs, those of Frozen first and then those of Batch.
func (f *Functional) Shapes() (frozen, batch [][]int) {
	for _, a := range f.frozen {
		frozen = append(frozen, a.Shape)
	}
	rows, m := f.opt.Groups*f.opt.Rows, f.opt.Groups*f.opt.Rows*f.opt.Length
	return frozen, [][]int{{m}, {m}, {m}, {m, f.cfg.HeadDim / 2}, {m, f.cfg.HeadDim / 2}, {rows, f.opt.Length}}
}

// Build adds the base with its adapters to the graph of the nodes. frozen and batch are the inputs in the order of Frozen and Batch, b the B
// factors (groups, out, r) by tensor name, as Factors lists them. It returns each group's loss (groups), in nats per weighted token, its
// gradient by that group's B, and the gradient of the groups' sum by the base's tensors, where these are trained. The backward pass is
// written out, so the caller's autodiff must not go through the result: see Through and Carry.
// Like everything that builds graphs it panics where nodes don't fit; call it inside compute.Safe or Backend.Compile.
func (f *Functional) Build(frozen, batch []*graph.Node, b map[string]*graph.Node) (loss *graph.Node, dB, dBase map[string]*graph.Node) {
	if len(frozen) != len(f.frozen) || len(batch) != len(batchNames) || len(b) != len(f.adapted) {
		panic(fmt.Errorf("train: %d frozen tensors, %d arrays of a batch and %d factors given, %d, %d and %d needed",
			len(frozen), len(batch), len(b), len(f.frozen), len(batchNames), len(f.adapted)))
	}
	whole := func(x *node) *node { return graph.ConvertDType(x, dtypes.Int32) }
	in := inputs{
		rows: f.opt.Groups * f.opt.Rows, length: f.opt.Length,
		ids: whole(batch[0]), targets: whole(batch[1]), weights: batch[2], cos: batch[3], sin: batch[4], segments: whole(batch[5]),
	}
	n := newNet(f.cfg, f.opt.Backend, f.opt.Groups, in)
	n.trainable = f.opt.TrainBase
	for i, a := range f.frozen {
		n.tensors[a.Name] = frozen[i]
	}
	for _, s := range f.Factors() {
		factor, ok := b[s.Name]
		if !ok || !slices.Equal(factor.Shape().Dimensions, append([]int{f.opt.Groups}, s.Shape...)) {
			panic(fmt.Errorf("train: tensor %s has no factor B of %d × %v", s.Name, f.opt.Groups, s.Shape))
		}
		n.lowRank[s.Name] = lowRank{a: n.tensors[factorA(s.Name)], b: factor}
	}
	loss, backward := n.loss(in)
	backward()
	dB = map[string]*graph.Node{}
	for _, s := range f.adapted {
		dB[s.Name] = n.grads[n.factorB(s.Name)]
	}
	if f.opt.TrainBase {
		dBase = map[string]*graph.Node{}
		for _, a := range f.Base() {
			dBase[a.Name] = n.grads[a.Name]
		}
	}
	return loss, dB, dBase
}

// Through returns Build's loss (groups) as a function of b that autodiff can go through: its gradient by b[name] is dB[name].
func Through(loss *graph.Node, b, dB map[string]*graph.Node) *graph.Node {
	groups := loss.Shape().Dimensions[0]
	return graph.Add(graph.StopGradient(loss), carry(b, dB, func(product *node) *node {
		return graph.ReduceSum(graph.Reshape(product, groups, -1), 1)
	}))
}

// Carry is a scalar 0 whose gradient by x[name] is dx[name]: what brings Build's gradients by the base's tensors into autodiff.
func Carry(x, dx map[string]*graph.Node) *graph.Node { return carry(x, dx, graph.ReduceAllSum) }

// carry sums x·dx, whose value cancels and whose gradient by x stays.
func carry(x, dx map[string]*graph.Node, reduce func(product *node) *node) *node {
	var sum *node
	for _, name := range slices.Sorted(maps.Keys(x)) {
		part := reduce(graph.Mul(x[name], graph.StopGradient(dx[name])))
		if sum != nil {
			part = graph.Add(sum, part)
		}
		sum = part
	}
	return graph.Sub(sum, graph.StopGradient(sum))
}
