package diffusion

import (
	"context"
	"fmt"
	"math/rand/v2"

	"d2nwg/internal/compute/optim"
)

// sampleGroups is the number of groups a call of the denoiser takes while sampling.
const sampleGroups = 16

// Request asks for one sample.
type Request struct {
	Arch []float32 // (tokens, arch)
	Mask []float32 // (tokens)
	Cond []float32 // nil = the null condition
	// Shift (tokens, latent) leads from the frame of the conditional model, whose x_0 is a deviation from the condition's own mean, to that
	// of the null model: x_0 + Shift. nil = the same frame.
	Shift []float32
	Seed  uint64 // of the sample's noise
}

// SampleOptions says how samples are drawn.
type SampleOptions struct {
	Steps       int
	Guidance    float64 // classifier-free guidance: null + guidance·(conditional − null); 1 = conditional alone
	Temperature float64 // scale of all noise
}

// Sample draws one x_0, (tokens, latent), for every request. A sample depends on its request, its place in the list and the options,
// not on the other requests.
func (m *Model) Sample(ctx context.Context, reqs []Request, opt SampleOptions) ([][]float32, error) {
	if m.params == nil {
		return nil, fmt.Errorf("diffusion: the model is not trained yet")
	}
	if m.infer == nil {
		f, err := optim.NewFunc(m.backend, m.inputs(sampleGroups), m.params, m.predict)
		if err != nil {
			return nil, fmt.Errorf("diffusion: %w", err)
		}
		m.infer = f
	}
	var out [][]float32
	for first := 0; first < len(reqs); first += sampleGroups {
		some := reqs[first:min(first+sampleGroups, len(reqs))]
		x, err := m.sample(ctx, some, opt)
		if err != nil {
			return nil, err
		}
		out = append(out, x...)
	}
	return out, nil
}

// sample draws up to sampleGroups samples together.
func (m *Model) sample(ctx context.Context, reqs []Request, opt SampleOptions) ([][]float32, error) {
	size, eta := m.shape.Tokens*m.shape.Latent, 0.0
	if m.cfg.Sampler == Ancestral {
		eta = 1
	}
	in := alloc(m.inputs(sampleGroups))
	x, rngs := make([][]float64, len(reqs)), make([]*rand.Rand, len(reqs))
	for i, q := range reqs {
		rngs[i] = rand.New(rand.NewPCG(q.Seed, 0x5a3b1e))
		x[i] = make([]float64, size)
		for j := range x[i] {
			x[i][j] = opt.Temperature * rngs[i].NormFloat64()
		}
	}
	times := m.noise.times(opt.Steps)
	for k, t := range times[:len(times)-1] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x0, err := m.estimate(in, reqs, x, t, opt.Guidance)
		if err != nil {
			return nil, err
		}
		for i := range x {
			for j := range x[i] {
				var normal float64
				if eta > 0 {
					normal = opt.Temperature * rngs[i].NormFloat64()
				}
				x[i][j] = m.noise.Step(t, times[k+1], eta, x[i][j], x0[i][j], normal)
			}
		}
	}
	out := make([][]float32, len(reqs))
	for i := range x {
		out[i] = make([]float32, size)
		for j, v := range x[i] {
			out[i][j] = float32(v)
		}
	}
	return out, nil
}

// estimate gives the guided estimates of x_0 at time t. Guidance compares both models at the same point: the conditional model's x_t,
// moved by α_t·Shift into the null model's frame, where the noise is the same.
func (m *Model) estimate(in [][]float32, reqs []Request, x [][]float64, t int, guidance float64) ([][]float64, error) {
	conditional, err := m.call(in, reqs, x, t, false)
	if err != nil || guidance == 1 {
		return conditional, err
	}
	guided := false
	for _, q := range reqs {
		guided = guided || q.Cond != nil
	}
	if !guided {
		return conditional, nil
	}
	null, err := m.call(in, reqs, x, t, true)
	if err != nil {
		return nil, err
	}
	for i, q := range reqs {
		if q.Cond == nil {
			continue
		}
		for j := range null[i] {
			n := null[i][j]
			if q.Shift != nil {
				n -= float64(q.Shift[j])
			}
			conditional[i][j] = n + guidance*(conditional[i][j]-n)
		}
	}
	return conditional, nil
}

// call runs the denoiser once for all requests and gives its estimates of x_0, each in its model's frame.
func (m *Model) call(in [][]float32, reqs []Request, x [][]float64, t int, null bool) ([][]float64, error) {
	size, alpha := m.shape.Tokens*m.shape.Latent, m.noise.Alpha(t)
	point := make([][]float64, len(reqs))
	for i, q := range reqs {
		m.place(in, i, q.Arch, q.Mask, q.Cond, null || q.Cond == nil)
		m.placeTime(in, i, t)
		point[i] = x[i]
		if null && q.Shift != nil {
			point[i] = make([]float64, size)
			for j, v := range x[i] {
				point[i][j] = v + alpha*float64(q.Shift[j])
			}
		}
		for j, v := range point[i] {
			in[0][i*size+j] = float32(v)
		}
	}
	out, err := m.infer.Call(in...)
	if err != nil {
		return nil, fmt.Errorf("diffusion: sample: %w", err)
	}
	x0 := make([][]float64, len(reqs))
	for i := range reqs {
		x0[i] = make([]float64, size)
		for j, v := range point[i] {
			x0[i][j] = m.noise.X0(t, m.cfg.Predict, v, float64(out[0][i*size+j]))
		}
	}
	return x0, nil
}

// Close frees what the model holds on the backend.
func (m *Model) Close() {
	if m.infer != nil {
		m.infer.Close()
		m.infer = nil
	}
}
