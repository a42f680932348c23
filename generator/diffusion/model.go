package diffusion

import (
	"context"
	"fmt"
	"math/rand/v2"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
)

// Shape is what the denoiser has to fit: groups of tokens that are sampled jointly.
type Shape struct {
	Tokens int `json:"tokens"` // of a group
	Latent int `json:"latent"` // values a token
	Arch   int `json:"arch"`   // architecture features a token
	Cond   int `json:"cond"`   // numbers of the condition, 0 = unconditional
}

// Example is one training example.
type Example struct {
	X0   []float32 // (tokens, latent), standardized; 0 where the mask is 0
	Arch []float32 // (tokens, arch)
	Mask []float32 // (tokens): 1 for a token, 0 for a place without one
	Cond []float32 // (cond), 0 when Null
	Null bool      // the null condition: the condition is withheld
}

// Data fills the examples of a step. Fill has to be a pure function of the step: that makes continuing exact.
type Data interface {
	Fill(step int, examples []Example) error
}

// Model is a denoiser with its schedule.
type Model struct {
	cfg     Config
	shape   Shape
	noise   *Noise
	params  map[string][]float32 // averaged ones once trained
	backend *compute.Backend
	infer   *optim.Func
}

// New makes a model. params holds the parameters of a trained one, nil before training.
func New(cfg Config, shape Shape, backend *compute.Backend, params map[string][]float32) (*Model, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Net == UNet && shape.Latent%(latentSide*latentSide) != 0 {
		return nil, fmt.Errorf("diffusion: the unet needs latents of c·16·16 numbers, not %d; use a conv autoencoder with it", shape.Latent)
	}
	return &Model{cfg: cfg, shape: shape, noise: NewNoise(cfg), params: params, backend: backend}, nil
}

// Params returns the parameters by name. They must not be changed.
func (m *Model) Params() map[string][]float32 { return m.params }

// cond is the length of the condition input, which can't be empty.
func (m *Model) cond() int { return max(1, m.shape.Cond) }

// inputs lists the shapes of predict's inputs for a number of groups.
func (m *Model) inputs(groups int) [][]int {
	s := m.shape
	return [][]int{{groups, s.Tokens, s.Latent}, {groups, s.Tokens, s.Arch}, {groups, s.Tokens}, {groups, m.cond()}, {groups, 1}, {groups, timeFeatures}}
}

// alloc allocates inputs of the given shapes.
func alloc(shapes [][]int) [][]float32 {
	out := make([][]float32, len(shapes))
	for i, dims := range shapes {
		n := 1
		for _, d := range dims {
			n *= d
		}
		out[i] = make([]float32, n)
	}
	return out
}

// place puts the parts of example or request i that don't change with time into the inputs.
func (m *Model) place(in [][]float32, i int, arch, mask, cond []float32, null bool) {
	s, c := m.shape, m.cond()
	copy(in[1][i*s.Tokens*s.Arch:], arch)
	copy(in[2][i*s.Tokens:(i+1)*s.Tokens], mask)
	row := in[3][i*c : (i+1)*c]
	clear(row)
	in[4][i] = 1
	if !null {
		copy(row, cond)
		in[4][i] = 0
	}
}

func (m *Model) placeTime(in [][]float32, i, t int) {
	nn.Frequencies(1000*float64(t)/float64(m.noise.Last()), in[5][i*timeFeatures:(i+1)*timeFeatures])
}

// TrainOptions says how training runs. State, when given, keeps training states.
type TrainOptions struct {
	Seed     uint64
	Progress progress.Func
	State    *optim.Checkpoints
}

// Train fits the denoiser to data; afterwards its parameters are the averaged ones. It returns the mean weighted loss of the last tenth
// of the steps.
func (m *Model) Train(ctx context.Context, data Data, opt TrainOptions) (float64, error) {
	c, s := m.cfg, m.shape
	shapes := append(m.inputs(c.Batch), []int{c.Batch, s.Tokens, s.Latent}, []int{c.Batch, 1})
	tr, err := optim.NewTrainer(m.backend, shapes, m.loss, optim.Options{Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: 1e-8,
		WeightDecay: c.WeightDecay, Clip: c.Clip, EMA: c.EMA}, nil, opt.Seed)
	if err != nil {
		return 0, fmt.Errorf("diffusion: %w", err)
	}
	defer tr.Close()
	in, examples := alloc(shapes), make([]Example, c.Batch)
	for i := range examples {
		examples[i] = Example{X0: make([]float32, s.Tokens*s.Latent), Arch: make([]float32, s.Tokens*s.Arch),
			Mask: make([]float32, s.Tokens), Cond: make([]float32, s.Cond)}
	}
	loop := optim.Loop{Stage: "diffusion", Steps: c.Steps,
		Schedule: optim.Schedule{Peak: c.LearningRate, Warmup: c.Warmup, Steps: c.Steps, Cosine: c.CosineDecay},
		Metrics:  []string{"mse"}, Progress: opt.Progress, State: opt.State}
	last, err := loop.Run(ctx, tr, func(step int) ([][]float32, error) {
		if err := data.Fill(step, examples); err != nil {
			return nil, err
		}
		m.corrupt(rand.New(rand.NewPCG(opt.Seed^0xd1ff, uint64(step))), examples, in)
		return in, nil
	})
	if err != nil {
		return 0, fmt.Errorf("diffusion: %w", err)
	}
	m.params, err = tr.Params(true)
	return last["loss"], err
}

// corrupt draws times and noise for the examples and fills the inputs of a training step.
func (m *Model) corrupt(r *rand.Rand, examples []Example, in [][]float32) {
	size := m.shape.Tokens * m.shape.Latent
	for i, e := range examples {
		// One time in each of as many strata as there are examples: the same distribution with less variance in a step.
		u := (float64(i) + r.Float64()) / float64(len(examples))
		t := 1 + min(int(u*float64(m.noise.Last())), m.noise.Last()-1)
		m.place(in, i, e.Arch, e.Mask, e.Cond, e.Null)
		m.placeTime(in, i, t)
		alpha, sigma := m.noise.Alpha(t), m.noise.Sigma(t)
		xt, target := in[0][i*size:(i+1)*size], in[6][i*size:(i+1)*size]
		for j, x := range e.X0 {
			eps := r.NormFloat64()
			xt[j] = float32(alpha*float64(x) + sigma*eps)
			target[j] = float32(m.noise.Target(t, m.cfg.Predict, float64(x), eps))
		}
		in[7][i] = float32(m.noise.Weight(t, m.cfg.Predict, m.cfg.MinSNR))
	}
}
