package vae

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

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

// lowRank draws tokens from a subspace of dimension rank of their own for each token index, with 3 values of padding at the end.
type lowRank struct {
	m     *Model
	rank  int
	basis []float32 // (tokens, rank, chunk)
}

func newLowRank(m *Model, rank int) *lowRank {
	r := rand.New(rand.NewPCG(8, 8))
	d := &lowRank{m: m, rank: rank, basis: make([]float32, m.shape.Tokens*rank*m.shape.ChunkLen)}
	for i := range d.basis {
		d.basis[i] = float32(r.NormFloat64() / math.Sqrt(float64(rank)))
	}
	return d
}

func (d *lowRank) valid() int { return d.m.shape.ChunkLen - 3 }

func (d *lowRank) row(r *rand.Rand, token int, dst []float32) {
	clear(dst)
	n := len(dst)
	for k := range d.rank {
		w := float32(r.NormFloat64())
		for i := range d.valid() {
			dst[i] += w * d.basis[(token*d.rank+k)*n+i]
		}
	}
}

func (d *lowRank) Fill(step int, b *Batch) error {
	r := rand.New(rand.NewPCG(6, uint64(step)))
	n := d.m.shape.ChunkLen
	clear(b.Arch)
	for row := range d.m.rows {
		token := r.IntN(d.m.shape.Tokens)
		if d.m.Ordered() {
			token = row / d.m.Sets()
		}
		d.row(r, token, b.X[row*n:(row+1)*n])
		b.Arch[row*d.m.shape.Arch+token] = 1
		b.Valid[row] = float32(d.valid())
	}
	return nil
}

// rows gives tokens for Principal.
func (d *lowRank) rows(token, limit int) ([]float32, error) {
	r := rand.New(rand.NewPCG(7, uint64(token+1)))
	n := d.m.shape.ChunkLen
	out := make([]float32, min(limit, 40)*n)
	for i := range len(out) / n {
		at := token
		if token < 0 {
			at = r.IntN(d.m.shape.Tokens)
		}
		d.row(r, at, out[i*n:(i+1)*n])
	}
	return out, nil
}

// decoded is the mean squared error of decoding the posterior means of one batch.
func decoded(t *testing.T, m *Model, d *lowRank) float64 {
	t.Helper()
	b := m.NewBatch()
	if err := d.Fill(1<<20, b); err != nil {
		t.Fatal(err)
	}
	n := m.shape.ChunkLen
	z, err := m.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	x, err := m.Decode(z, b.Arch)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i := range x {
		if i%n < d.valid() {
			diff := float64(x[i] - b.X[i])
			sum += diff * diff
		}
	}
	return sum / float64(m.rows*d.valid())
}

func small(linear string) Config {
	c := Default("modern")
	c.Linear, c.Latent, c.Hidden, c.Blocks, c.Embed, c.Batch, c.Steps, c.Warmup = linear, 6, 32, 1, 8, 32, 60, 5
	return c
}

func TestVAEReconstructsLowRankTokens(t *testing.T) {
	b := open(t, compute.Go)
	for _, linear := range []string{Token, Shared} {
		shape := Shape{ChunkLen: 40, Arch: 3, Tokens: 3}
		cfg, rank := small(linear), 5
		if linear == Shared {
			rank = 2 // all three subspaces have to fit into the six latents
		}
		m, err := New(cfg, shape, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := newLowRank(m, rank)
		start, err := m.Principal(d.rows)
		if err != nil {
			t.Fatal(err)
		}
		mse, err := m.Train(context.Background(), d, TrainOptions{Seed: 1, Start: start})
		if err != nil {
			t.Fatal(err)
		}
		// The tokens have a mean square of 1. Principal components alone would leave nothing; the untrained rest starts as a small noise.
		if got := decoded(t, m, d); got > 0.02 || mse > 0.05 {
			t.Errorf("%s: error %.4f in training, %.4f of the posterior mean", linear, mse, got)
		}
		m.Close()
	}
}

// The loss without noise against the error of decoding the posterior mean, counted by hand up to the padding.
func TestPaddingDoesNotCount(t *testing.T) {
	b := open(t, compute.Go)
	cfg := small(Token)
	cfg.Steps = 2
	m, err := New(cfg, Shape{ChunkLen: 40, Arch: 3, Tokens: 3}, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d := newLowRank(m, 5)
	if _, err := m.Train(context.Background(), d, TrainOptions{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	f, err := optim.NewFunc(b, [][]int{{m.rows, 40}, {m.rows, 3}, {m.rows, 1}, {m.rows, 6}}, m.params, m.loss)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	batch := m.NewBatch()
	if err := d.Fill(1<<20, batch); err != nil {
		t.Fatal(err)
	}
	out, err := f.Call(batch.X, batch.Arch, batch.Valid, make([]float32, m.rows*6))
	if err != nil {
		t.Fatal(err)
	}
	if want := decoded(t, m, d); math.Abs(float64(out[1][0])-want) > 1e-4*want {
		t.Errorf("the loss counts an error of %v, by hand it is %v", out[1][0], want)
	}
}

func TestConvLearns(t *testing.T) {
	b := open(t, compute.Go)
	cfg := Default("paper")
	cfg.Hidden, cfg.Embed, cfg.Batch, cfg.Steps, cfg.LearningRate, cfg.Latent = 4, 4, 4, 50, 5e-3, 2
	m, err := New(cfg, Shape{ChunkLen: 1024, Arch: 2, Tokens: 2}, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d := newLowRank(m, 1)
	for i := range d.basis { // a smooth picture for each token
		y, x := float64(i%1024/32), float64(i%32)
		d.basis[i] = float32(1.4 * math.Sin((x+float64(1+i/1024)*y)/8))
	}
	if _, err := m.Train(context.Background(), d, TrainOptions{Seed: 2}); err != nil {
		t.Fatal(err)
	}
	if m.LatentLen() != 2*16*16 {
		t.Errorf("the latent has %d numbers", m.LatentLen())
	}
	if got := decoded(t, m, d); got > 0.6 {
		t.Errorf("error %.3f after 40 steps, decoding the mean has 1", got)
	}
	for _, chunk := range []int{100, 144, 255, 576} {
		if _, err := New(cfg, Shape{ChunkLen: chunk, Arch: 2, Tokens: 2}, b, nil); err == nil {
			t.Errorf("a chunk of %d was accepted, which does not fold to a square of side 16·2^k", chunk)
		}
	}
	for _, chunk := range []int{256, 4096, 65536} {
		if _, err := New(cfg, Shape{ChunkLen: chunk, Arch: 2, Tokens: 2}, b, nil); err != nil {
			t.Error(err)
		}
	}
}

// Both backends compute the same networks and the same training steps.
func TestBackendsAgree(t *testing.T) {
	backends := []*compute.Backend{open(t, compute.Go), open(t, compute.ONNX)}
	conv := Default("paper")
	conv.Hidden, conv.Embed, conv.Batch, conv.Latent = 8, 4, 2, 2
	for name, c := range map[string]struct {
		cfg   Config
		shape Shape
	}{"token": {small(Token), Shape{ChunkLen: 40, Arch: 3, Tokens: 3}}, "shared": {small(Shared), Shape{ChunkLen: 40, Arch: 3, Tokens: 3}},
		"conv": {conv, Shape{ChunkLen: 1024, Arch: 2, Tokens: 2}}} {
		t.Run(name, func(t *testing.T) {
			var out [2][]float32
			var mse [2]float64
			var params map[string][]float32
			for k, b := range backends {
				c.cfg.Steps, c.cfg.LearningRate = 3, 1e-3
				m, err := New(c.cfg, c.shape, b, nil)
				if err != nil {
					t.Fatal(err)
				}
				d := newLowRank(m, 3)
				if mse[k], err = m.Train(context.Background(), d, TrainOptions{Seed: 3}); err != nil {
					t.Fatal(err)
				}
				if params == nil {
					params = m.params
				}
				m.params = params
				batch := m.NewBatch()
				if err := d.Fill(0, batch); err != nil {
					t.Fatal(err)
				}
				z, err := m.Encode(batch)
				if err != nil {
					t.Fatal(err)
				}
				x, err := m.Decode(z, batch.Arch)
				if err != nil {
					t.Fatal(err)
				}
				out[k] = append(z, x...)
				m.Close()
			}
			if math.Abs(mse[0]-mse[1]) > 1e-4*mse[0] {
				t.Errorf("the error after 3 steps is %v on go, %v on onnx", mse[0], mse[1])
			}
			for i := range out[0] {
				if math.Abs(float64(out[0][i]-out[1][i])) > 1e-4*(1+math.Abs(float64(out[0][i]))) {
					t.Fatalf("value %d is %v on go, %v on onnx", i, out[0][i], out[1][i])
				}
			}
		})
	}
}

// An interrupted training ends with the same parameters as one without interruption.
func TestTrainingContinues(t *testing.T) {
	b := open(t, compute.Go)
	run := func(ctx context.Context, dir string) (map[string][]float32, float64, error) {
		cfg := small(Token)
		cfg.Steps = 20
		m, err := New(cfg, Shape{ChunkLen: 40, Arch: 3, Tokens: 3}, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		mse, err := m.Train(ctx, newLowRank(m, 3), TrainOptions{Seed: 3, State: &optim.Checkpoints{Path: dir + "/s.safetensors", Key: "k", Every: 4}})
		return m.params, mse, err
	}
	want, wantMSE, err := run(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for stop := 3; ; stop += 8 {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		steps := 0
		got, mse, err := run(countdown{ctx, &steps, stop}, dir)
		if err != nil {
			continue // stopped; again from the saved state
		}
		if mse != wantMSE {
			t.Errorf("the error is %v, without interruption %v", mse, wantMSE)
		}
		for name, v := range want {
			for i := range v {
				if v[i] != got[name][i] {
					t.Fatalf("%s: value %d is %v, without interruption %v", name, i, got[name][i], v[i])
				}
			}
		}
		return
	}
}

// countdown is a context that ends after it was asked a number of times.
type countdown struct {
	context.Context
	asked *int
	stop  int
}

func (c countdown) Err() error {
	if *c.asked++; *c.asked > c.stop {
		return context.Canceled
	}
	return nil
}
