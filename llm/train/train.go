// Package train fits LLaMA models: pretraining and fine-tuning of every weight (Full), and many low-rank adapters of one frozen base at
// once (Adapters).
//
// The forward and the backward pass are written out side by side, in the manner of llm.c: every block is a function that returns its
// output and the function that carries the gradient back through it (net.go, attention.go, loss.go). One compiled graph holds a whole
// step: forward, backward, clipping and AdamW. Weights and moments stay in buffers of the backend from step to step; only the batch goes
// in, and only the losses come out.
package train

import (
	"context"
	"fmt"
	"math"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// Weights are float32 values by tensor name, each flattened row by row.
type Weights map[string][]float32

// Data gives the batch of a step. Batch must be a pure function of step, which counts from 0: that is what makes resuming exact. All the
// batches of one run have the same shape.
type Data interface {
	Batch(step int) (*pack.Batch, error)
}

// DataFunc is a Data made of a function.
type DataFunc func(step int) (*pack.Batch, error)

// Batch calls f.
func (f DataFunc) Batch(step int) (*pack.Batch, error) { return f(step) }

// Options say how to train. Zero values of Beta1, Beta2 and LearningRate stand for 0.9, 0.95 and 1e-3; a zero Clip doesn't clip.
type Options struct {
	Steps  int // optimizer steps in the whole run
	Warmup int // steps of linear warm-up, then a cosine down to MinLearningRate at the last step

	LearningRate    float64
	MinLearningRate float64
	WeightDecay     float64 // decoupled; norms, biases and embeddings are left alone
	Beta1, Beta2    float64
	Clip            float64 // largest global norm of the gradient (of each adapter's own); 0 = no limit

	Validate *Validation // early stopping; nil = the last step's parameters are the result

	Seed     uint64 // of the adapters' factors; Full has nothing random
	Backend  *compute.Backend
	Progress progress.Func

	// StateDir holds the state that an interrupted run resumes from; "" keeps none. One directory serves one run: a state of other
	// settings is an error. A finished run's state makes the same call return its result at once.
	StateDir  string
	SaveEvery int // steps between saves of the state; 0 = only at the end

	SnapshotAt []int                // counts of finished steps after which Snapshot is called
	Snapshot   func(Snapshot) error // an error ends the run; after a resume a snapshot may be handed out again, with the same bytes
}

// Snapshot is the state of a run after Step steps: Weights from Full, Variants from Adapters.
type Snapshot struct {
	Step     int
	Weights  Weights
	Variants []*llm.Variant
}

// Log is what was measured at every step, resumed ones included.
type Log struct {
	Loss     [][]float64 // (steps, groups) mean cross-entropy in nats per weighted token, before the step's update; one group in Full
	GradNorm [][]float64 // (steps, groups) global norm of the gradient before clipping
	Resumed  int         // the step this call went on from, 0 when it began anew

	// With validation only.
	Held   [][]float64 // (measurements, groups) mean cross-entropy of the held-out batches in nats per weighted token
	HeldAt []int       // (measurements) finished steps
	Best   []int       // (groups) finished steps of the parameters that were returned, those with the lowest Held
}

// withDefaults fills in the zero values and refuses impossible options.
func (o Options) withDefaults() (Options, error) {
	if o.Backend == nil {
		return o, fmt.Errorf("train: no backend given; open one with compute.Open")
	}
	if o.LearningRate == 0 {
		o.LearningRate = 1e-3
	}
	if o.Beta1 == 0 {
		o.Beta1 = 0.9
	}
	if o.Beta2 == 0 {
		o.Beta2 = 0.95
	}
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"Steps", o.Steps >= 1},
		{"Warmup", o.Warmup >= 0},
		{"LearningRate", o.LearningRate > 0 && !math.IsInf(o.LearningRate, 0)},
		{"MinLearningRate", o.MinLearningRate >= 0 && o.MinLearningRate <= o.LearningRate},
		{"WeightDecay", o.WeightDecay >= 0},
		{"Beta1", o.Beta1 > 0 && o.Beta1 < 1},
		{"Beta2", o.Beta2 > 0 && o.Beta2 < 1},
		{"Clip", o.Clip >= 0},
		{"SaveEvery", o.SaveEvery >= 0},
		{"Validate", o.Validate == nil || o.Validate.Every >= 1 && o.Validate.Patience >= 0 && o.Validate.Batches >= 1},
	} {
		if !c.ok {
			return o, fmt.Errorf("train: option %s is out of range", c.name)
		}
	}
	return o, nil
}

// rate is the learning rate of a step counted from 0.
func (o Options) rate(step int) float64 {
	if step < o.Warmup {
		return o.LearningRate * float64(step+1) / float64(o.Warmup)
	}
	rest := o.Steps - o.Warmup
	if rest <= 1 {
		return o.LearningRate
	}
	done := float64(step-o.Warmup) / float64(rest-1)
	return o.MinLearningRate + (o.LearningRate-o.MinLearningRate)*(1+math.Cos(math.Pi*done))/2
}

// Full trains every weight of a model, from init (a pretraining starts from InitWeights, a fine-tune from a checkpoint's weights), and
// returns the trained ones; init is left alone. Where ctx ends, the state is saved and ctx's error returned: the same call goes on from
// there, to the same final bytes on the go backend.
func Full(ctx context.Context, init Weights, cfg llm.Config, data Data, opt Options) (Weights, Log, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, Log{}, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, Log{}, fmt.Errorf("train: %w", err)
	}
	lay := fullLayout(cfg)
	start, err := lay.flatten(init)
	if err != nil {
		return nil, Log{}, err
	}
	r := &run{opt: opt, cfg: cfg, data: []Data{data}, layout: lay, start: [][]float32{start}, bind: lay.bindFull}
	if opt.Snapshot != nil {
		r.snapshot = func(step int, params [][]float32) error {
			return opt.Snapshot(Snapshot{Step: step, Weights: lay.unflatten(params[0])})
		}
	}
	params, log, err := r.train(ctx)
	if err != nil {
		return nil, log, err
	}
	return lay.unflatten(params[0]), log, nil
}

// bindFull makes every tensor of the net a part of the state that is trained.
func (l *layout) bindFull(n *net, state *node) {
	for _, e := range l.entries {
		n.tensors[e.name] = l.slice(state, e, false)
	}
	n.trainable = true
}
