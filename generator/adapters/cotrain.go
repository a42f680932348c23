package adapters

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute/optim"
	"d2nwg/llm/pack"
	"d2nwg/llm/train"
)

// Cotraining trains a base together with the adapters that a description gives, so that the base becomes one that adapters can steer.
type Cotraining struct {
	Set    Set       // Weights and States of its tasks aren't used
	Shares []float64 // how often each task is drawn, relative to the others
	// What the base has to know without an adapter, too: batches of Rows rows of Length tokens, a pure function of the step.
	Plain        func(step int) (*pack.Batch, error)
	Rows, Length int
	Weight       float64 // of the plain loss
}

// cotrain is the graph of a step of co-training and its inputs.
type cotrain struct {
	net
	set            Cotraining
	adapted, plain *train.Functional
	shapes         [][]int
	shares         []float64 // Shares, each with all before it
}

// Cotrained is what comes out.
type Cotrained struct {
	Base  map[string][]float32 // the base's tensors
	Start *Start               // of generators for that base; without its hash, which isn't known yet
	Last  map[string]float64   // means over the last tenth of the steps: loss, adapted, plain
}

// Train takes cfg.Steps steps. Only the configuration's text, latent, width, noise, batch and optimizer are used.
func (c Cotraining) Train(ctx context.Context, cfg Config, opt TrainOptions) (*Cotrained, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	s := &cotrain{set: c}
	if len(c.Shares) != len(c.Set.Tasks) {
		return nil, fmt.Errorf("adapters: %d shares for %d tasks", len(c.Shares), len(c.Set.Tasks))
	}
	sum := 0.0
	for _, x := range c.Shares {
		if !(x >= 0) {
			return nil, fmt.Errorf("adapters: a task's share is %v; it has to be a number from 0 on", x)
		}
		sum += x
		s.shares = append(s.shares, sum)
	}
	if !(sum > 0) {
		return nil, errors.New("adapters: no task has a share of the training")
	}
	f := train.FunctionalOptions{
		LowRank: train.LowRankOptions{Rank: c.Set.Rank, Modules: c.Set.Module}, Seed: c.Set.Seed,
		Groups: cfg.Groups, Rows: cfg.Rows, Length: cfg.Length, Backend: opt.Backend, TrainBase: true,
	}
	var err error
	if s.adapted, err = train.NewFunctional(c.Set.Base, f); err != nil {
		return nil, err
	}
	f.LowRank, f.Groups, f.Rows, f.Length = train.LowRankOptions{}, 1, c.Rows, c.Length
	if s.plain, err = train.NewFunctional(c.Set.Base, f); err != nil {
		return nil, err
	}
	s.net = net{cfg, s.adapted.Factors(), c.Set.Rank}
	frozen, batch := s.adapted.Shapes()
	_, plain := s.plain.Shapes()
	w := cfg.Text.Words
	s.shapes = slices.Concat(frozen[len(s.adapted.Base()):], batch, plain, [][]int{{cfg.Groups * w, cfg.Text.Buckets}, {cfg.Groups, w}, {cfg.Groups, cfg.Latent}})
	tr, err := optim.NewTrainer(opt.Backend, s.shapes, s.loss, adam, nil, cfg.Seed)
	if err != nil {
		return nil, fmt.Errorf("adapters: %w", err)
	}
	defer tr.Close()
	loop := optim.Loop{
		Stage: "cotrain", Steps: cfg.Steps, Metrics: []string{"adapted", "plain"}, Progress: opt.Progress,
		Schedule: cfg.schedule(),
	}
	if opt.State != nil {
		loop.State = opt.State("cotrain")
	}
	last, err := loop.Run(ctx, tr, s.inputs)
	if err != nil {
		return nil, fmt.Errorf("adapters: %w", err)
	}
	params, err := tr.Params(true)
	if err != nil {
		return nil, err
	}
	out := &Cotrained{Base: map[string][]float32{}, Start: &Start{Config: cfg, Rank: c.Set.Rank, Seed: c.Set.Seed, Factors: s.factors, params: map[string][]float32{}}, Last: last}
	for name, values := range params {
		if tensor, ok := strings.CutPrefix(name, "base."); ok {
			out.Base[tensor] = values
		} else {
			out.Start.params[name] = values
		}
	}
	return out, nil
}

// loss is the graph of the step. The base's tensors are parameters that start with its weights.
func (s *cotrain) loss(sc *optim.Scope, in []*graph.Node) []*graph.Node {
	base := map[string]*graph.Node{}
	var tensors []*graph.Node
	for _, a := range s.adapted.Base() {
		base[a.Name] = sc.In("base").Param(a.Name, func(_ *rand.Rand, v []float32) { copy(v, a.Values) }, a.Shape...)
		tensors = append(tensors, base[a.Name])
	}
	next := func(n int) (some []*graph.Node) {
		some, in = in[:n], in[n:]
		return some
	}
	frozen, batches := s.adapted.Shapes()
	shared, batch, plain := next(len(frozen)-len(tensors)), next(len(batches)), next(len(batches))
	z := s.latent(sc, s.text(sc, in[0], in[1]))
	b := s.decode(sc, graph.Add(z, graph.MulScalar(in[2], s.cfg.Noise)))
	loss, dB, dBase := s.adapted.Build(slices.Concat(tensors, shared), batch, b)
	adapted := graph.Add(nn.Mean(train.Through(loss, b, dB)), graph.DivScalar(train.Carry(base, dBase), float64(s.cfg.Groups)))
	own, _, dOwn := s.plain.Build(tensors, plain, nil)
	alone := graph.Add(graph.StopGradient(nn.Mean(own)), train.Carry(base, dOwn))
	total := graph.Add(adapted, graph.MulScalar(alone, s.set.Weight))
	return []*graph.Node{total, adapted, alone}
}

// inputs lays out a step: which tasks and words are drawn is a pure function of its number.
func (s *cotrain) inputs(number int) ([][]float32, error) {
	r := rand.New(rand.NewPCG(s.cfg.Seed^0xc07a, uint64(number)))
	c := s.cfg.Text
	g := s.cfg.Groups
	bags, words, noise := make([]float32, g*c.Words*c.Buckets), make([]float32, g*c.Words), make([]float32, g*s.cfg.Latent)
	var batches []*pack.Batch
	for i := range g {
		at, _ := slices.BinarySearch(s.shares, r.Float64()*s.shares[len(s.shares)-1])
		c.draw(s.set.Set.Tasks[at], i, bags, words, r)
		b, err := s.set.Set.Batch(at, number*g+i)
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
	for i := range noise {
		noise[i] = float32(r.NormFloat64())
	}
	var out [][]float32
	for _, a := range s.adapted.Frozen()[len(s.adapted.Base()):] {
		out = append(out, a.Values)
	}
	plain, err := s.set.Plain(number)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		f       *train.Functional
		batches []*pack.Batch
	}{{s.adapted, batches}, {s.plain, []*pack.Batch{plain}}} {
		arrays, err := part.f.Batch(part.batches)
		if err != nil {
			return nil, err
		}
		for _, a := range arrays {
			out = append(out, a.Values)
		}
	}
	return append(out, bags, words, noise), nil
}
