package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
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
		return r.params(), log, err
	}
	if r.state.step >= r.opt.Steps {
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
	return done(r.loop(ctx, step, first))
}

// params cuts the state's parameters into groups.
func (r *run) params() [][]float32 {
	var out [][]float32
	for g := range r.groups() {
		out = append(out, r.state.params[g*r.layout.size:(g+1)*r.layout.size])
	}
	return out
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
		h := newHyper(graph.Parameter(g, "hyper", shapes.Make(dtypes.Float32, hyperSize)))
		tensors := map[string]*node{}
		for _, name := range r.frozenNames {
			tensors[name] = graph.Parameter(g, name, r.frozen[name].shape)
		}
		in := newInputs(g, r.cfg, rows, length)
		loss, grad := r.lossAndGradient(tensors, params, in)
		newParams, newM, newV, norm := adamW(r.opt, r.layout, h, params, m, v, grad)
		return []*node{newParams, newM, newV, loss, norm}
	})
}

// lossAndGradient returns the losses (groups) and the gradient of their sum by the state (groups, size).
func (r *run) lossAndGradient(frozen map[string]*node, params *node, in inputs) (loss, grad *node) {
	n := newNet(r.cfg, r.opt.Backend, r.groups(), in)
	n.tensors = frozen
	r.bind(n, params)
	loss, backward := n.loss(in)
	backward()
	return loss, r.layout.gather(r.groups(), n.grads)
}

// feed is a batch ready for the backend, or why there is none.
type feed struct {
	rows, length int
	arrays       []array
}

// fetch makes the batch of a step from every group's data.
func (r *run) fetch(step int) (feed, error) {
	var batches []*pack.Batch
	for g, d := range r.data {
		b, err := d.Batch(step)
		if err != nil {
			return feed{}, fmt.Errorf("train: batch of step %d, group %d: %w", step, g, err)
		}
		batches = append(batches, b)
	}
	arrays, err := r.feeder.arrays(batches, step)
	if err != nil {
		return feed{}, err
	}
	return feed{batches[0].Rows * len(batches), batches[0].Len, arrays}, nil
}

// loop runs the steps. The state stays in the backend; the next batch is made while a step runs.
func (r *run) loop(ctx context.Context, step *compute.Program, next feed) (err error) {
	backend := r.opt.Backend.GoMLX()
	width := r.groups() * r.layout.size
	vector := []int{r.groups(), r.layout.size}
	held, err := upload(backend, []array{floats(r.state.params, vector...), floats(r.state.m, vector...), floats(r.state.v, vector...)})
	if err != nil {
		return err
	}
	defer func() { release(held) }()
	var frozen []array
	for _, name := range r.frozenNames {
		frozen = append(frozen, r.frozen[name])
	}
	fixed, err := upload(backend, frozen)
	if err != nil {
		return err
	}
	defer release(fixed)
	frozen, r.frozen = nil, nil // the backend holds them now

	rows, length := next.rows, next.length
	began, saved := time.Now(), r.state.step
	for i := r.state.step; i < r.opt.Steps; i++ {
		if ctx.Err() != nil {
			break
		}
		if next.rows != rows || next.length != length {
			return fmt.Errorf("train: batch of step %d is %d×%d, the first was %d×%d; give all one shape", i, next.rows, next.length, rows, length)
		}
		prepared := r.prepare(i + 1)
		held, err = r.advance(step, held, fixed, next, i)
		following := <-prepared
		if err != nil {
			return err
		}
		if following.err != nil {
			return following.err
		}
		next = following.feed
		r.report(i, began, saved)
		if i+1 == r.opt.Steps || r.due(i+1) {
			if err := r.checkpoint(held, width); err != nil {
				return err
			}
		}
	}
	if r.state.step < r.opt.Steps {
		if err := r.checkpoint(held, width); err != nil {
			return err
		}
		return ctx.Err()
	}
	return nil
}

type prepared struct {
	feed feed
	err  error
}

// prepare makes the batch of a step in the background; nothing follows the last step.
func (r *run) prepare(step int) <-chan prepared {
	out := make(chan prepared, 1)
	if step >= r.opt.Steps {
		out <- prepared{}
		return out
	}
	go func() {
		f, err := r.fetch(step)
		out <- prepared{f, err}
	}()
	return out
}

// advance runs one step and returns the new state; the old one is released.
func (r *run) advance(step *compute.Program, held, fixed []gomlx.Buffer, batch feed, i int) ([]gomlx.Buffer, error) {
	t := float64(i + 1)
	numbers := []float32{
		float32(r.opt.rate(i)),
		float32(1 / (1 - math.Pow(r.opt.Beta1, t))),
		float32(1 / (1 - math.Pow(r.opt.Beta2, t))),
	}
	fresh, err := upload(r.opt.Backend.GoMLX(), append([]array{floats(numbers, hyperSize)}, batch.arrays...))
	if err != nil {
		return held, err
	}
	defer release(fresh)
	in := slices.Concat(held, fresh[:1], fixed, fresh[1:])
	out, err := step.Run(in)
	if err != nil {
		return held, err
	}
	release(held)
	held = out[:stateBuffers]
	defer release(out[stateBuffers:])
	loss, err := download(out[stateBuffers], r.groups())
	if err != nil {
		return held, err
	}
	norm, err := download(out[stateBuffers+1], r.groups())
	if err != nil {
		return held, err
	}
	for g := range loss {
		if bad(loss[g]) || bad(norm[g]) {
			return held, fmt.Errorf("train: step %d, group %d: loss %v and gradient norm %v are not finite; lower the learning rate or set Clip", i, g, loss[g], norm[g])
		}
	}
	r.state.step = i + 1
	r.state.loss, r.state.norm = append(r.state.loss, loss...), append(r.state.norm, norm...)
	return held, nil
}

func bad(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }

// due says whether the state is wanted on the host after so many steps.
func (r *run) due(step int) bool {
	return r.opt.SaveEvery > 0 && step%r.opt.SaveEvery == 0 || r.snapshot != nil && slices.Contains(r.opt.SnapshotAt, step)
}

// checkpoint brings the state to the host, hands out the snapshot that is due, and saves the state. The snapshot goes first: were the run
// killed between the two, it would be handed out again.
func (r *run) checkpoint(held []gomlx.Buffer, width int) (err error) {
	for i, dst := range []*[]float32{&r.state.params, &r.state.m, &r.state.v} {
		if *dst, err = download(held[i], width); err != nil {
			return err
		}
	}
	if r.snapshot != nil && slices.Contains(r.opt.SnapshotAt, r.state.step) {
		if err := r.snapshot(r.state.step, r.params()); err != nil {
			return fmt.Errorf("train: snapshot after step %d: %w", r.state.step, err)
		}
	}
	return r.save()
}

func (r *run) report(i int, began time.Time, resumed int) {
	if r.opt.Progress == nil {
		return
	}
	row := r.state.loss[i*r.groups():]
	mean := 0.0
	for _, v := range row {
		mean += float64(v) / float64(len(row))
	}
	r.opt.Progress.Report(progress.Event{
		Stage: "train", Done: int64(i + 1), Total: int64(r.opt.Steps),
		Values: map[string]float64{
			"loss": mean, "learning_rate": r.opt.rate(i),
			"ms_per_step": float64(time.Since(began).Microseconds()) / 1000 / float64(i+1-resumed),
		},
	})
}
