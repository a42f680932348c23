package diffusion

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat"

	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
)

func open(t *testing.T, name string) *compute.Backend {
	t.Helper()
	b, err := compute.Open(context.Background(), name)
	if err != nil {
		t.Skip(err)
	}
	return b
}

// toy draws x_0 of two tokens: Gaussian with mean ±1 by the sign of the condition, deviation 0.5 for token 0 and 0.25 for token 1.
type toy struct{ shape Shape }

func (d toy) Fill(step int, out []Example) error {
	r := rand.New(rand.NewPCG(4, uint64(step)))
	for i := range out {
		e := &out[i]
		sign := float32(1 - 2*r.IntN(2))
		e.Null = r.Float64() < 0.2
		clear(e.Cond)
		if !e.Null {
			e.Cond[0] = sign
		}
		for token := range d.shape.Tokens {
			e.Mask[token] = 1
			e.Arch[token*d.shape.Arch+token] = 1
			for k := range d.shape.Latent {
				e.X0[token*d.shape.Latent+k] = sign + float32(r.NormFloat64())*0.5/float32(1+token)
			}
		}
	}
	return nil
}

// request is a request of the toy's shape.
func (d toy) request(cond []float32, seed uint64) Request {
	q := Request{Arch: make([]float32, d.shape.Tokens*d.shape.Arch), Mask: make([]float32, d.shape.Tokens), Cond: cond, Seed: seed}
	for token := range d.shape.Tokens {
		q.Mask[token], q.Arch[token*d.shape.Arch+token] = 1, 1
	}
	return q
}

func TestDiffusionRecoversAGaussian(t *testing.T) {
	b := open(t, compute.Go)
	c := Default("modern")
	c.Width, c.Blocks, c.Heads, c.Steps, c.Batch, c.LearningRate, c.Warmup, c.EMA = 16, 1, 2, 350, 128, 6e-3, 20, 0.98
	d := toy{Shape{Tokens: 2, Latent: 1, Arch: 2, Cond: 1}}
	m, err := New(c, d.shape, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Train(context.Background(), d, TrainOptions{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	var reqs []Request
	for i := range uint64(320) {
		reqs = append(reqs, d.request([]float32{-1}, i))
	}
	x, err := m.Sample(context.Background(), reqs, SampleOptions{Steps: 25, Guidance: 1, Temperature: 1})
	if err != nil {
		t.Fatal(err)
	}
	for token, std := range []float64{0.5, 0.25} {
		var v []float64
		for _, s := range x {
			v = append(v, float64(s[token]))
		}
		mean, got := stat.MeanStdDev(v, nil)
		if math.Abs(mean+1) > 0.12 || math.Abs(got-std) > 0.3*std {
			t.Errorf("token %d: mean %.3f std %.3f, want −1 and %v", token, mean, got, std)
		}
	}
}

// random makes an untrained model whose parameters are all random, those that start at zero too.
func random(t *testing.T, c Config, shape Shape, b *compute.Backend) *Model {
	t.Helper()
	m, err := New(c, shape, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	shapes := append(m.inputs(c.Batch), []int{c.Batch, shape.Tokens, shape.Latent}, []int{c.Batch, 1})
	tr, err := optim.NewTrainer(b, shapes, m.loss, optim.Options{}, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if m.params, err = tr.Params(false); err != nil {
		t.Fatal(err)
	}
	for name, v := range m.params {
		r := rand.New(rand.NewPCG(uint64(len(v)), uint64(len(name))))
		for i := range v {
			v[i] += float32(0.1 * r.NormFloat64())
		}
	}
	t.Cleanup(m.Close)
	return m
}

func smallDiT() (Config, Shape) {
	c := Default("modern")
	c.Width, c.Blocks, c.Heads, c.Batch = 16, 2, 2, 4
	return c, Shape{Tokens: 3, Latent: 4, Arch: 3, Cond: 2}
}

func TestGuidance(t *testing.T) {
	b := open(t, compute.Go)
	c, shape := smallDiT()
	m, d := random(t, c, shape, b), toy{shape}
	shift := make([]float32, shape.Tokens*shape.Latent)
	for i := range shift {
		shift[i] = 0.3 * float32(i%5-2)
	}
	cond := []float32{0.5, -1}
	sample := func(q Request, guidance float64) []float32 {
		x, err := m.Sample(context.Background(), []Request{q}, SampleOptions{Steps: 20, Guidance: guidance, Temperature: 1})
		if err != nil {
			t.Fatal(err)
		}
		return x[0]
	}
	conditional, null := d.request(cond, 7), d.request(nil, 7)
	conditional.Shift = shift
	// Guidance 0 is the null model; its sample in the conditional frame is the null sample less the shift. The two start at points that
	// differ by α_T·shift, which is next to nothing.
	zero, alone := sample(conditional, 0), sample(null, 1)
	for i := range zero {
		if math.Abs(float64(zero[i]+shift[i]-alone[i])) > 0.02 {
			t.Errorf("guidance 0 gives %v, the null model %v", zero[i]+shift[i], alone[i])
		}
	}
	// Guidance 1 is the conditional model alone: the null model, and so the shift, plays no part. 1 + tiny goes the long way.
	bare := d.request(cond, 7)
	one, long, without := sample(conditional, 1), sample(conditional, 1+1e-9), sample(bare, 1)
	moved := false
	for i := range one {
		if one[i] != without[i] || math.Abs(float64(one[i]-long[i])) > 1e-5 {
			t.Errorf("guidance 1: %v, without a shift %v, by the formula %v", one[i], without[i], long[i])
		}
		moved = moved || math.Abs(float64(one[i]-alone[i])) > 0.05
	}
	if !moved {
		t.Error("the condition changes nothing")
	}
}

func TestSamplesDoNotDependOnEachOther(t *testing.T) {
	b := open(t, compute.Go)
	c, shape := smallDiT()
	m, d := random(t, c, shape, b), toy{shape}
	var reqs []Request
	for i := range uint64(sampleGroups + 3) {
		reqs = append(reqs, d.request([]float32{1, float32(i)}, i))
	}
	opt := SampleOptions{Steps: 5, Guidance: 1.5, Temperature: 1}
	all, err := m.Sample(context.Background(), reqs, opt)
	if err != nil {
		t.Fatal(err)
	}
	few, err := m.Sample(context.Background(), reqs[:2], opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range few {
		for j := range few[i] {
			if few[i][j] != all[i][j] {
				t.Fatalf("sample %d is %v among two requests and %v among many", i, few[i][j], all[i][j])
			}
		}
	}
	if all[0][0] == all[1][0] {
		t.Error("two seeds give one sample")
	}
}

// A place without a token must not influence the others.
func TestMaskHidesTokens(t *testing.T) {
	b := open(t, compute.Go)
	c, shape := smallDiT()
	m, d := random(t, c, shape, b), toy{shape}
	run := func(fill float32) []float32 {
		in := alloc(m.inputs(sampleGroups))
		q := d.request([]float32{1, 1}, 0)
		q.Mask[2] = 0
		m.place(in, 0, q.Arch, q.Mask, q.Cond, false)
		m.placeTime(in, 0, 300)
		for i := range shape.Latent {
			in[0][2*shape.Latent+i] = fill
		}
		if m.infer == nil {
			f, err := optim.NewFunc(b, m.inputs(sampleGroups), m.params, m.predict)
			if err != nil {
				t.Fatal(err)
			}
			m.infer = f
		}
		out, err := m.infer.Call(in...)
		if err != nil {
			t.Fatal(err)
		}
		return out[0][:2*shape.Latent]
	}
	a, z := run(0), run(100)
	for i := range a {
		if a[i] != z[i] {
			t.Fatalf("value %d is %v or %v, depending on a hidden token", i, a[i], z[i])
		}
	}
}

// Both backends compute the same network and the same training steps.
func TestBackendsAgree(t *testing.T) {
	backends := []*compute.Backend{open(t, compute.Go), open(t, compute.ONNX)}
	dit, shape := smallDiT()
	unet := Default("paper")
	unet.Width, unet.Blocks, unet.Batch = 8, 1, 2
	for name, c := range map[string]struct {
		cfg   Config
		shape Shape
	}{"dit": {dit, shape}, "unet": {unet, Shape{Tokens: 2, Latent: 256, Arch: 2, Cond: 2}}} {
		t.Run(name, func(t *testing.T) {
			var losses [2]float64
			var samples [2][]float32
			for k, b := range backends {
				cfg := c.cfg
				cfg.Steps, cfg.Warmup, cfg.LearningRate = 3, 0, 1e-3
				m, err := New(cfg, c.shape, b, nil)
				if err != nil {
					t.Fatal(err)
				}
				if losses[k], err = m.Train(context.Background(), toy{c.shape}, TrainOptions{Seed: 3}); err != nil {
					t.Fatal(err)
				}
				m.Close()
				m = random(t, c.cfg, c.shape, b)
				x, err := m.Sample(context.Background(), []Request{toy{c.shape}.request([]float32{1, 0}, 3)}, SampleOptions{Steps: 4, Guidance: 1, Temperature: 1})
				if err != nil {
					t.Fatal(err)
				}
				samples[k] = x[0]
			}
			if math.Abs(losses[0]-losses[1]) > 1e-4*losses[0] {
				t.Errorf("the loss after 3 steps is %v on go, %v on onnx", losses[0], losses[1])
			}
			for i := range samples[0] {
				if math.Abs(float64(samples[0][i]-samples[1][i])) > 2e-3*(1+math.Abs(float64(samples[0][i]))) {
					t.Fatalf("value %d of a sample is %v on go, %v on onnx", i, samples[0][i], samples[1][i])
				}
			}
		})
	}
}
