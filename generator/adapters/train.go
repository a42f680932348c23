package adapters

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
	"d2nwg/llm/pack"
	"d2nwg/llm/train"
)

// Sources of the latents that are decoded in training.
const (
	fromText = iota
	fromSet
	fromWeights
	sources
)

// TrainOptions say where and how training runs.
type TrainOptions struct {
	Backend  *compute.Backend
	Progress progress.Func // stages "adapters" and "diffusion"
	State    func(stage string) *optim.Checkpoints
}

// step is the graph of a training step and its inputs.
type step struct {
	net
	set        Set
	functional *train.Functional // nil where the functional loss has no weight
	scale      map[string]float32
	standard   standard
	having     [][2]int // (task, adapter) of all trained adapters
	shapes     [][]int
}

// Indices of the inputs behind the functional loss's.
const (
	inBags     = iota // (groups·words, buckets)
	inWords           // (groups, words)
	inStates          // (groups, examples, states)
	inExamples        // (groups, examples)
	inSource          // (groups, sources): one 1 a group
	inHas             // (groups): 1 where the task has a trained adapter
	inSame            // (groups, groups): 1/n for the n groups of the same task
	inNoise           // (groups, latent)
	inOwn             // count
)

func newStep(cfg Config, set Set, backend *compute.Backend) (*step, error) {
	f, err := train.NewFunctional(set.Base, train.FunctionalOptions{
		LowRank: train.LowRankOptions{Rank: set.Rank, Modules: set.Module}, Seed: set.Seed,
		Groups: cfg.Groups, Rows: cfg.Rows, Length: cfg.Length, Backend: backend,
	})
	if err != nil {
		return nil, err
	}
	s := &step{net: net{cfg, f.Factors(), set.Rank}, set: set, functional: f}
	if err := set.Check(s.factors); err != nil {
		return nil, err
	}
	s.scale, s.standard = scales(s.factors, set), newStandard(set.Tasks, set.States)
	g := cfg.Groups
	own := [][]int{
		{g * cfg.Text.Words, cfg.Text.Buckets}, {g, cfg.Text.Words}, {g, cfg.Set.Examples, set.States}, {g, cfg.Set.Examples},
		{g, sources}, {g}, {g, g}, {g, cfg.Latent},
	}
	for _, f := range s.factors { // the trained adapters' B, in units of scale
		own = append(own, []int{g, f.Shape[0], f.Shape[1]})
	}
	frozen, batch := f.Shapes()
	if cfg.Functional == 0 {
		s.functional, frozen, batch = nil, nil, nil
	}
	s.shapes = slices.Concat(frozen, batch, own)
	return s, nil
}

// metrics of a step, behind the loss.
var metrics = []string{"functional", "reconstruction", "align", "contrast"}

// loss is the graph of the training step.
func (s *step) loss(sc *optim.Scope, in []*graph.Node) []*graph.Node {
	var frozen, batch []*graph.Node
	if s.functional != nil {
		f, b := s.functional.Shapes()
		frozen, batch, in = in[:len(f)], in[len(f):len(f)+len(b)], in[len(f)+len(b):]
	}
	g, latent := s.cfg.Groups, s.cfg.Latent
	given := map[string]*graph.Node{}
	for i, f := range s.factors {
		given[f.Name] = in[inOwn+i]
	}
	words := s.text(sc, in[inBags], in[inWords])
	examples := s.examples(sc, in[inStates], in[inExamples])
	zText, zSet, zWeights := s.latent(sc, words), s.latent(sc, examples), s.weights(sc, given)
	all := graph.Concatenate([]*graph.Node{graph.Reshape(zText, g, 1, latent), graph.Reshape(zSet, g, 1, latent), graph.Reshape(zWeights, g, 1, latent)}, 1)
	z := graph.ReduceSum(graph.Mul(all, graph.Reshape(in[inSource], g, sources, 1)), 1)
	z = graph.Add(z, graph.MulScalar(in[inNoise], s.cfg.Noise))
	has := in[inHas]
	count := graph.MaxScalar(nn.Sum(has), 1)
	overHas := func(x *graph.Node) *graph.Node { return graph.Div(nn.Sum(graph.Mul(x, has)), count) } // x (groups)

	functional := graph.ScalarZero(z.Graph(), z.DType())
	through := functional
	if s.functional != nil {
		b := s.decode(sc, z)
		for _, f := range s.factors {
			b[f.Name] = graph.MulScalar(b[f.Name], float64(s.scale[f.Name]))
		}
		loss, dB, _ := s.functional.Build(frozen, batch, b)
		through = nn.Mean(train.Through(loss, b, dB))
		functional = nn.Mean(loss)
	}
	decoded := s.decode(sc, zWeights)
	var reconstruction *graph.Node
	values := 0
	for _, f := range s.factors {
		d := graph.Sub(decoded[f.Name], given[f.Name])
		e := graph.ReduceSum(graph.Reshape(graph.Mul(d, d), g, -1), 1)
		if reconstruction != nil {
			e = graph.Add(reconstruction, e)
		}
		reconstruction = e
		values += f.Elements()
	}
	reconstruction = overHas(graph.DivScalar(reconstruction, float64(values)))
	distance := func(a, b *graph.Node) *graph.Node { // (groups)
		d := graph.Sub(a, b)
		return graph.ReduceMean(graph.Mul(d, d), -1)
	}
	align := graph.Add(overHas(graph.Add(distance(zText, zWeights), distance(zSet, zWeights))), nn.Mean(distance(zText, zSet)))
	target := graph.Add(graph.Mul(zWeights, graph.Reshape(has, g, 1)), graph.Mul(zText, graph.Reshape(graph.OneMinus(has), g, 1)))
	key := nn.LayerNorm(nn.Dense(sc, "key", target, s.cfg.Feature, 1))
	contrast := graph.Add(clip(words, key, in[inSame]), clip(examples, key, in[inSame]))
	total := graph.MulScalar(through, s.cfg.Functional)
	for _, part := range []struct {
		x *graph.Node
		w float64
	}{{reconstruction, s.cfg.Reconstruction}, {align, s.cfg.Align}, {contrast, s.cfg.Contrast}} {
		total = graph.Add(total, graph.MulScalar(part.x, part.w))
	}
	return []*graph.Node{total, functional, reconstruction, align, contrast}
}

// clip is the symmetric cross-entropy between features and keys (groups, feature) of a batch, of temperature √feature; same (groups,
// groups) are the targets (Radford et al. 2021).
func clip(x, y, same *graph.Node) *graph.Node {
	const sharpness = 10
	d := float64(x.Shape().Dim(1))
	logits := graph.MulScalar(graph.DotGeneral(x, []int{1}, nil, y, []int{1}, nil), sharpness/d)
	rows := graph.Mul(graph.LogSoftmax(logits, 1), same)
	columns := graph.Mul(graph.LogSoftmax(logits, 0), same)
	return graph.MulScalar(graph.Add(nn.Sum(rows), nn.Sum(columns)), -0.5/float64(x.Shape().Dim(0)))
}

// inputs lays out a step: which tasks, words, examples and sources are drawn is a pure function of its number.
func (s *step) inputs(number int) ([][]float32, error) {
	r := rand.New(rand.NewPCG(s.cfg.Seed^0xada9, uint64(number)))
	g := s.cfg.Groups
	own := make([][]float32, 0, inOwn+len(s.factors))
	at := len(s.shapes) - inOwn - len(s.factors)
	for _, dims := range s.shapes[at:] {
		n := 1
		for _, d := range dims {
			n *= d
		}
		own = append(own, make([]float32, n))
	}
	chosen := make([]int, g)
	var batches []*pack.Batch
	for i := range g {
		task, member := r.IntN(len(s.set.Tasks)), -1
		// Half of the groups where there are adapters at all: a few trained tasks among many would hardly ever be drawn.
		if len(s.having) > 0 && (i%2 == 0 || s.functional == nil) {
			pair := s.having[r.IntN(len(s.having))]
			task, member = pair[0], pair[1]
		} else if n := len(s.set.Tasks[task].Weights); n > 0 {
			member = r.IntN(n)
		}
		chosen[i] = task
		s.place(own, i, task, member, r)
		if s.functional != nil {
			b, err := s.set.Batch(task, number*g+i)
			if err != nil {
				return nil, err
			}
			batches = append(batches, b)
		}
	}
	for i, a := range chosen {
		n := 0
		for _, b := range chosen {
			if a == b {
				n++
			}
		}
		for k, b := range chosen {
			if a == b {
				own[inSame][i*g+k] = 1 / float32(n)
			}
		}
	}
	if s.functional == nil {
		return own, nil
	}
	var out [][]float32
	for _, a := range s.functional.Frozen() {
		out = append(out, a.Values)
	}
	arrays, err := s.functional.Batch(batches)
	for _, a := range arrays {
		out = append(out, a.Values)
	}
	return append(out, own...), err
}

// place draws what group i gets of a task and of a trained adapter of it, −1 for none.
func (s *step) place(own [][]float32, i, task, member int, r *rand.Rand) {
	c, t := s.cfg, s.set.Tasks[task]
	k := c.Set.Examples
	c.Text.draw(t, i, own[inBags], own[inWords], r)
	n := len(t.States) / s.set.States
	for j, from := range r.Perm(n)[:min(n, 1+r.IntN(k))] {
		s.standard.apply(own[inStates][(i*k+j)*s.set.States:], t.States[from*s.set.States:(from+1)*s.set.States])
		own[inExamples][i*k+j] = 1
	}
	source := fromText
	switch u := r.Float64(); {
	case member >= 0 && u < s.cfg.WeightShare:
		source = fromWeights
	case u >= 1-s.cfg.SetShare:
		source = fromSet
	}
	own[inSource][i*sources+source] = 1
	for j := range c.Latent {
		own[inNoise][i*c.Latent+j] = float32(r.NormFloat64())
	}
	if member < 0 {
		return
	}
	own[inHas][i] = 1
	for j, f := range s.factors {
		to := own[inOwn+j][i*f.Elements() : (i+1)*f.Elements()]
		for e, x := range t.Weights[member][f.Name] {
			to[e] = x / s.scale[f.Name]
		}
	}
}

// adam is how everything here is trained.
var adam = optim.Options{Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, Clip: 1, EMA: 0.995}

func (c Config) schedule() optim.Schedule {
	return optim.Schedule{Peak: c.LearningRate, Warmup: c.Warmup, Steps: c.Steps, Cosine: true}
}

// train runs the steps and returns the averaged parameters.
func (s *step) train(ctx context.Context, opt TrainOptions) (map[string][]float32, map[string]float64, error) {
	for t, task := range s.set.Tasks {
		for m := range task.Weights {
			s.having = append(s.having, [2]int{t, m})
		}
	}
	if s.functional == nil && len(s.having) == 0 {
		return nil, nil, fmt.Errorf("adapters: without the functional loss there have to be trained adapters to learn from")
	}
	var start map[string][]float32
	if s.set.Start != nil {
		start = s.set.Start.params
	}
	tr, err := optim.NewTrainer(opt.Backend, s.shapes, s.loss, adam, start, s.cfg.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("adapters: %w", err)
	}
	defer tr.Close()
	loop := optim.Loop{
		Stage: "adapters", Steps: s.cfg.Steps, Metrics: metrics, Progress: opt.Progress, State: opt.State("adapters"),
		Schedule: s.cfg.schedule(),
	}
	last, err := loop.Run(ctx, tr, s.inputs)
	if err != nil {
		return nil, nil, fmt.Errorf("adapters: %w", err)
	}
	params, err := tr.Params(true)
	return params, last, err
}
