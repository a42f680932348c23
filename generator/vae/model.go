package vae

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
)

// Shape is what the autoencoder has to fit.
type Shape struct {
	ChunkLen int `json:"chunk_len"` // values a token
	Arch     int `json:"arch"`      // architecture features a token
	Tokens   int `json:"tokens"`    // tokens of a weight set
}

// Batch is a batch of tokens. With per-token linear maps (Model.Ordered), its rows are all tokens of some weight sets: row
// token·sets + set. Otherwise they are any tokens.
type Batch struct {
	X     []float32 // (rows, chunk), normalized values, 0 in the padding
	Arch  []float32 // (rows, arch)
	Valid []float32 // (rows), number of values before the padding
}

// Data fills batches. Fill has to be a pure function of the step: that makes continuing exact.
type Data interface {
	Fill(step int, b *Batch) error
}

// Model is a trained autoencoder.
type Model struct {
	cfg    Config
	shape  Shape
	params map[string][]float32
	rows   int // rows of a batch

	backend  *compute.Backend
	enc, dec *optim.Func
}

// New makes an untrained model. values may hold parameters to start from, nil for fresh ones drawn from seed.
func New(cfg Config, shape Shape, backend *compute.Backend, values map[string][]float32) (*Model, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Kind == Conv {
		if side := int(math.Sqrt(float64(shape.ChunkLen))); side*side != shape.ChunkLen || side < latentSide || side%latentSide != 0 || side/latentSide&(side/latentSide-1) != 0 {
			return nil, fmt.Errorf("vae: a conv autoencoder needs chunks that fold to a square of side 16·2^k; %d does not (256, 1024, 4096, …, 65536, … do)", shape.ChunkLen)
		}
	}
	m := &Model{cfg: cfg, shape: shape, params: values, backend: backend, rows: cfg.Batch}
	if m.Ordered() {
		m.rows = shape.Tokens * max(1, (cfg.Batch+shape.Tokens/2)/shape.Tokens)
	}
	return m, nil
}

// Ordered reports whether batches hold whole weight sets (see Batch).
func (m *Model) Ordered() bool {
	if m.cfg.Kind != MLP || m.cfg.Linear == Shared {
		return false
	}
	return m.cfg.Linear == Token || m.shape.Tokens*m.shape.ChunkLen*m.cfg.Latent <= maxTokenMaps
}

// Rows is the number of tokens of a batch.
func (m *Model) Rows() int { return m.rows }

// Sets is the number of weight sets of an ordered batch.
func (m *Model) Sets() int { return m.rows / m.shape.Tokens }

// LatentLen is the number of latent values a token.
func (m *Model) LatentLen() int {
	if m.cfg.Kind == Conv {
		return m.cfg.Latent * latentSide * latentSide
	}
	return m.cfg.Latent
}

// Params returns the parameters by name. They must not be changed.
func (m *Model) Params() map[string][]float32 { return m.params }

// NewBatch allocates a batch.
func (m *Model) NewBatch() *Batch {
	return &Batch{X: make([]float32, m.rows*m.shape.ChunkLen), Arch: make([]float32, m.rows*m.shape.Arch), Valid: make([]float32, m.rows)}
}

// TrainOptions says how training runs. State, when given, keeps training states.
type TrainOptions struct {
	Seed     uint64
	Progress progress.Func
	State    *optim.Checkpoints
	Start    map[string][]float32 // first values of some parameters, such as principal components; others are drawn
}

// Train fits the model to data and returns the mean reconstruction error of the last tenth of the steps, in normalized units: 1 is the
// error of always decoding the mean.
func (m *Model) Train(ctx context.Context, data Data, opt TrainOptions) (float64, error) {
	c := m.cfg
	inputs := [][]int{{m.rows, m.shape.ChunkLen}, {m.rows, m.shape.Arch}, {m.rows, 1}, {m.rows, m.LatentLen()}}
	tr, err := optim.NewTrainer(m.backend, inputs, m.loss, optim.Options{Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: 1e-8,
		WeightDecay: c.WeightDecay, Clip: c.Clip}, nil, opt.Seed)
	if err != nil {
		return 0, fmt.Errorf("vae: %w", err)
	}
	defer tr.Close()
	if err := tr.SetParams(opt.Start); err != nil {
		return 0, fmt.Errorf("vae: %w", err)
	}
	batch, noise := m.NewBatch(), make([]float32, m.rows*m.LatentLen())
	loop := optim.Loop{Stage: "vae", Steps: c.Steps, Schedule: optim.Schedule{Peak: c.LearningRate, Warmup: c.Warmup, Steps: c.Steps, Cosine: c.Cosine},
		Metrics: []string{"mse", "kl"}, Progress: opt.Progress, State: opt.State}
	last, err := loop.Run(ctx, tr, func(step int) ([][]float32, error) {
		if err := data.Fill(step, batch); err != nil {
			return nil, err
		}
		r := rand.New(rand.NewPCG(opt.Seed^0x5ae, uint64(step)))
		for i := range noise {
			noise[i] = float32(r.NormFloat64())
		}
		return [][]float32{batch.X, batch.Arch, batch.Valid, noise}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("vae: %w", err)
	}
	m.params, err = tr.Params(false)
	return last["mse"], err
}

// Encode returns the posterior means of a batch, (rows, latent).
func (m *Model) Encode(b *Batch) ([]float32, error) {
	if m.enc == nil {
		f, err := optim.NewFunc(m.backend, [][]int{{m.rows, m.shape.ChunkLen}, {m.rows, m.shape.Arch}}, m.params, m.encodeMean)
		if err != nil {
			return nil, fmt.Errorf("vae: %w", err)
		}
		m.enc = f
	}
	out, err := m.enc.Call(b.X, b.Arch)
	if err != nil {
		return nil, fmt.Errorf("vae: encode: %w", err)
	}
	return out[0], nil
}

// Decode returns the normalized values, (rows, chunk), of latents z (rows, latent). Values in the padding mean nothing.
func (m *Model) Decode(z, arch []float32) ([]float32, error) {
	if m.dec == nil {
		f, err := optim.NewFunc(m.backend, [][]int{{m.rows, m.LatentLen()}, {m.rows, m.shape.Arch}}, m.params, m.decode)
		if err != nil {
			return nil, fmt.Errorf("vae: %w", err)
		}
		m.dec = f
	}
	out, err := m.dec.Call(z, arch)
	if err != nil {
		return nil, fmt.Errorf("vae: decode: %w", err)
	}
	return out[0], nil
}

// Close frees what the model holds on the backend.
func (m *Model) Close() {
	for _, f := range []*optim.Func{m.enc, m.dec} {
		if f != nil {
			f.Close()
		}
	}
	m.enc, m.dec = nil, nil
}
