package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// run is one training run: one group in Full, one for each adapter in Adapters.
type run struct {
	opt    Options
	cfg    llm.Config
	data   []Data // by group
	layout *layout
	start  [][]float32 // by group: the initial parameters
	// frozen are tensors that the graph reads and doesn't train, in the order of frozenNames.
	frozen      map[string]array
	frozenNames []string
	frozenID    string // tells them from other frozen tensors
	// bind gives the net its weights: the trained ones from the state (groups, size), the frozen ones already are in net.tensors.
	bind     func(n *net, state *node)
	snapshot func(step int, params [][]float32) error // nil = none

	id     string // fingerprint, where there is a StateDir
	state  state
	stand  standing
	held   *held // nil without validation
	feeder *feeder
}

func (r *run) groups() int { return len(r.data) }

// stateBuffers is how many inputs and outputs of the graph are state: parameters and two moments.
const stateBuffers = 3

// train goes from the saved state, or from start, to the last step and returns the parameters by group.
func (r *run) train(ctx context.Context) ([][]float32, Log, error) {
	if err := r.resume(); err != nil {
		return nil, Log{}, err
	}
	log := Log{Resumed: r.state.step}
	done := func(err error) ([][]float32, Log, error) {
		log.Loss, log.GradNorm = perStep(r.state.loss, r.groups()), perStep(r.state.norm, r.groups())
		r.logHeld(&log)
		return r.result(), log, err
	}
	if r.finished() {
		return done(nil)
	}
	r.feeder = newFeeder(r.cfg)
	first, err := r.fetch(r.state.step)
	if err != nil {
		return done(err)
	}
	step, err := r.compile(first.rows, first.length)
	if err != nil {
		return done(err)
	}
	defer step.Close()
	if r.held, err = r.newHeld(); err != nil {
		return done(err)
	}
	defer r.held.close()
	return done(r.loop(ctx, step, first))
}

// finished tells whether nothing is left to train: the last step is done, or every group has stopped.
func (r *run) finished() bool {
	if r.state.step >= r.opt.Steps {
		return true
	}
	for g := range r.groups() {
		if !r.stand.stopped(g) {
			return false
		}
	}
	return true
}

// result is what the run returns: the parameters, or with validation the best ones.
func (r *run) result() [][]float32 {
	if r.opt.Validate != nil {
		return r.cut(r.state.best)
	}
	return r.cut(r.state.params)
}

// cut cuts parameters (groups, size) into groups.
func (r *run) cut(flat []float32) [][]float32 {
	return slices.Collect(slices.Chunk(flat, r.layout.size))
}

func perStep(flat []float32, groups int) [][]float64 {
	var out [][]float64
	for row := range slices.Chunk(flat, groups) {
		values := make([]float64, groups)
		for i, v := range row {
			values[i] = float64(v)
		}
		out = append(out, values)
	}
	return out
}

// compile makes the graph of a whole step. Its parameters are params, m, v (groups, size each), the step's numbers, the frozen tensors,
// the batch; its outputs the new params, m, v, the losses and the gradient's norms (groups each).
func (r *run) compile(rows, length int) (*compute.Program, error) {
	return r.opt.Backend.Compile("train_step", func(g *graph.Graph) []*node {
		vector := shapes.Make(dtypes.Float32, r.groups(), r.layout.size)
		params, m, v := graph.Parameter(g, "params", vector), graph.Parameter(g, "m", vector), graph.Parameter(g, "v", vector)
		h := newHyper(graph.Parameter(g, "hyper", shapes.Make(dtypes.Float32, hyperSize(r.groups()))), r.groups())
		tensors := r.declareFrozen(g)
		in := newInputs(g, r.cfg, rows, length)
		loss, grad := r.lossAndGradient(tensors, params, in)
		newParams, newM, newV, norm := adamW(r.opt, r.layout, h, params, m, v, grad)
		return []*node{newParams, newM, newV, loss, norm}
	})
}

func (r *run) declareFrozen(g *graph.Graph) map[string]*node {
	tensors := map[string]*node{}
	for _, name := range r.frozenNames {
		tensors[name] = graph.Parameter(g, name, r.frozen[name].shape)
	}
	return tensors
}

// lossAndGradient returns the losses (groups) and the gradient of their sum by the state (groups, size).
func (r *run) lossAndGradient(frozen map[string]*node, params *node, in inputs) (loss, grad *node) {
	n := r.net(frozen, params, in)
	loss, backward := n.loss(in)
	backward()
	return loss, r.layout.gather(r.groups(), n.grads)
}

// net is the model with the state's weights.
func (r *run) net(frozen map[string]*node, params *node, in inputs) *net {
	n := newNet(r.cfg, r.opt.Backend, r.groups(), in)
	n.tensors = frozen
	r.bind(n, params)
	return n
}

// feed is a batch ready for the backend, or why there is none.
type feed struct {
	rows, length int
	arrays       []array
}

// fetch makes the batch of a step from every group's data.
func (r *run) fetch(step int) (feed, error) {
	batches, err := eachBatch(r.data, step)
	if err != nil {
		return feed{}, err
	}
	return r.feed(batches, step)
}

// eachBatch asks every group's data for a batch.
func eachBatch(data []Data, step int) ([]*pack.Batch, error) {
	var batches []*pack.Batch
	for g, d := range data {
		b, err := d.Batch(step)
		if err != nil {
			return nil, fmt.Errorf("train: batch of step %d, group %d: %w", step, g, err)
		}
		batches = append(batches, b)
	}
	return batches, nil
}

// feed lays out the groups' batches.
func (r *run) feed(batches []*pack.Batch, step int) (feed, error) {
	arrays, err := r.feeder.arrays(batches, step)
	if err != nil {
		return feed{}, err
	}
	return feed{batches[0].Rows * len(batches), batches[0].Len, arrays}, nil
}
