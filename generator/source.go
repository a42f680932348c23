package generator

import (
	"fmt"
	"math/rand/v2"

	"d2nwg/generator/tokens"
	"d2nwg/generator/vae"
)

// cacheValues bounds the decoded values kept of sets that load their tensors: 1 GiB.
const cacheValues = 256 << 20

// lazyTensors is the number of tensors a batch draws its tokens from when tensors have to be loaded.
const lazyTensors = 4

// source gives normalized tokens of a training set.
type source struct {
	set    Set
	m      *tokens.Map
	center map[string][]float32 // zoo mean of every value, nil = none
	at     []int                // token → index of its tensor

	cache map[[2]int][]float32 // (set, tensor) → values, of sets that load
	order [][2]int             // oldest first
	held  int
}

func newSource(set Set, m *tokens.Map, center map[string][]float32) *source {
	s := &source{set: set, m: m, center: center, at: make([]int, m.Tokens()), cache: map[[2]int][]float32{}}
	for i, t := range m.Tensors {
		for k := range t.Count {
			s.at[t.First+k] = i
		}
	}
	return s
}

// values returns the raw values of tensor number i of a set. They must not be changed.
func (s *source) values(set, i int) ([]float32, error) {
	t := s.m.Tensors[i]
	key := [2]int{set, i}
	v, ok := s.cache[key]
	if ok {
		return v, nil
	}
	v, err := s.set.tensor(set, t.Name)
	if err != nil {
		return nil, err
	}
	if len(v) != t.Elements() {
		return nil, fmt.Errorf("generator: tensor %s of weight set %s has %d values, its shape %v needs %d", t.Name, s.set.Names[set], len(v), t.Shape, t.Elements())
	}
	if s.set.Load == nil {
		return v, nil
	}
	for s.held+len(v) > cacheValues && len(s.order) > 0 {
		s.held -= len(s.cache[s.order[0]])
		delete(s.cache, s.order[0])
		s.order = s.order[1:]
	}
	s.cache[key], s.order, s.held = v, append(s.order, key), s.held+len(v)
	return v, nil
}

// token writes one normalized token into dst (chunk), 0 in the padding, and returns the number of values before it.
func (s *source) token(set, token int, dst []float32) (valid int, err error) {
	t := s.m.Tensors[s.at[token]]
	values, err := s.values(set, s.at[token])
	if err != nil {
		return 0, err
	}
	first := (token - t.First) * s.m.ChunkLen
	valid = s.m.Valid(t, token-t.First)
	copy(dst, values[first:first+valid])
	clear(dst[valid:])
	if c := s.center[t.Name]; c != nil {
		for i, x := range c[first : first+valid] {
			dst[i] -= x
		}
	}
	t.Normalize(dst[:valid])
	return valid, nil
}

// batches is the autoencoder's training data.
type batches struct {
	*source
	model *vae.Model
	arch  []float32
	width int // architecture features a token
	seed  uint64
	mixup float64
	other []float32
}

// Fill draws the tokens of a step: whole weight sets for an ordered model, else any tokens.
func (b *batches) Fill(step int, batch *vae.Batch) error {
	r := rand.New(rand.NewPCG(b.seed^0xba7c, uint64(step)))
	if b.model.Ordered() {
		for k := range b.model.Sets() {
			first, second, share := b.pair(r)
			for token := range b.m.Tokens() {
				if err := b.row(batch, token*b.model.Sets()+k, token, first, second, share); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var some [][2]int // (set, tensor) to draw from
	if b.set.Load != nil {
		for range lazyTensors {
			some = append(some, [2]int{r.IntN(b.set.Len()), b.at[r.IntN(b.m.Tokens())]})
		}
	}
	for row := range b.model.Rows() {
		first, second, share := b.pair(r)
		token := r.IntN(b.m.Tokens())
		if some != nil {
			pick := some[r.IntN(len(some))]
			t := b.m.Tensors[pick[1]]
			first, second, share, token = pick[0], pick[0], 1, t.First+r.IntN(t.Count)
		}
		if err := b.row(batch, row, token, first, second, share); err != nil {
			return err
		}
	}
	return nil
}

// pair draws a weight set, or two to mix and the first one's share.
func (b *batches) pair(r *rand.Rand) (first, second int, share float32) {
	return drawPair(r, b.set.Len(), b.mixup)
}

func drawPair(r *rand.Rand, sets int, mixup float64) (first, second int, share float32) {
	first, share = r.IntN(sets), 1
	second = first
	if r.Float64() < mixup {
		second, share = r.IntN(sets), r.Float32()
	}
	return first, second, share
}

// row fills one row of a batch with share·first + (1 − share)·second.
func (b *batches) row(batch *vae.Batch, row, token, first, second int, share float32) error {
	dst := batch.X[row*b.m.ChunkLen : (row+1)*b.m.ChunkLen]
	valid, err := b.token(first, token, dst)
	if err != nil {
		return err
	}
	if first != second {
		if b.other == nil {
			b.other = make([]float32, b.m.ChunkLen)
		}
		if _, err := b.token(second, token, b.other); err != nil {
			return err
		}
		for i, x := range b.other {
			dst[i] = share*dst[i] + (1-share)*x
		}
	}
	batch.Valid[row] = float32(valid)
	copy(batch.Arch[row*b.width:(row+1)*b.width], b.arch[token*b.width:(token+1)*b.width])
	return nil
}
