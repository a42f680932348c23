package sample

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
)

// ErrNotFinite means that no token can be chosen: a logit is NaN or +Inf, or all of them are −Inf.
var ErrNotFinite = errors.New("the logits aren't finite")

// Sampler chooses the tokens of one sequence.
type Sampler struct {
	options Options
	random  *rand.Rand
	tokens  []int // those in the sequence, each once; kept where a penalty needs them
	seen    map[int]bool
}

// New returns the sampler of a sequence that begins with prompt. Samplers with other numbers or other seeds draw from
// independent streams.
func New(o Options, sequence int, prompt []int) (*Sampler, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	var key [32]byte
	copy(key[:], "d2nwg/llm/sample")
	binary.LittleEndian.PutUint64(key[16:], o.Seed)
	binary.LittleEndian.PutUint64(key[24:], uint64(sequence))
	s := &Sampler{options: o, random: rand.New(rand.NewChaCha8(key)), seen: map[int]bool{}}
	for _, id := range prompt {
		s.see(id)
	}
	return s, nil
}

func (s *Sampler) see(id int) {
	if s.options.RepetitionPenalty != 1 && !s.seen[id] {
		s.seen[id] = true
		s.tokens = append(s.tokens, id)
	}
}

// Next chooses the next token from the logits (vocab) after the sequence so far, which it leaves as they are, and adds
// it to the sequence.
func (s *Sampler) Next(logits []float32) (int, error) {
	w := works.Get().(*work)
	defer works.Put(w)
	scores, err := s.scores(w, logits)
	if err != nil {
		return 0, err
	}
	at, top, err := largest(scores)
	if err != nil {
		return 0, err
	}
	id := at
	if s.options.Temperature != 0 {
		sum := s.candidates(w, scores, top)
		id = w.draw(s.random.Float64(), sum)
	}
	s.see(id)
	return id, nil
}

// scores applies the repetition penalty and the temperature, in float32 as the reference does.
func (s *Sampler) scores(w *work, logits []float32) ([]float32, error) {
	t := float32(s.options.Temperature)
	if t == 0 {
		t = 1
	}
	if len(s.tokens) == 0 && t == 1 {
		return logits, nil
	}
	w.scores = append(w.scores[:0], logits...)
	penalty := float32(s.options.RepetitionPenalty)
	for _, id := range s.tokens {
		switch {
		case id < 0 || id >= len(logits):
			return nil, fmt.Errorf("the sequence has the token %d, but there are %d logits", id, len(logits))
		case w.scores[id] < 0:
			w.scores[id] *= penalty
		default:
			w.scores[id] /= penalty
		}
	}
	if t != 1 {
		for i := range w.scores {
			w.scores[i] /= t
		}
	}
	return w.scores, nil
}

// largest returns the first place of the largest score, and that score.
func largest(scores []float32) (at int, top float32, err error) {
	top = float32(math.Inf(-1))
	for i, x := range scores {
		if x > top {
			at, top = i, x
		} else if !(x <= top) {
			return 0, 0, ErrNotFinite // NaN
		}
	}
	if math.IsInf(float64(top), 0) {
		return 0, 0, ErrNotFinite
	}
	return at, top, nil
}

// work is the memory of one choice: the tokens to draw from, in ascending order.
type work struct {
	scores  []float32
	all     []float64 // weights of all tokens
	ids     []int32
	kept    []float32 // their scores
	weights []float64 // their probabilities times a constant; 1 for the largest
	near    []weighed // scores that may be a boundary
}

var works = sync.Pool{New: func() any { return new(work) }}

// candidates fills w with the tokens to draw from and returns the sum of their weights.
func (s *Sampler) candidates(w *work, scores []float32, top float32) float64 {
	o, sum := s.options, 0.0
	if o.TopK > 0 && o.TopK < len(scores) {
		w.ids, w.kept, w.weights = w.ids[:0], w.kept[:0], w.weights[:0]
		lowest, _ := w.boundary(scores, nil, float64(o.TopK))
		for id, x := range scores {
			if x < lowest {
				continue
			}
			// A weight that underflows to 0 can't be drawn, nor does it count for top-p.
			if weight := math.Exp(float64(x) - float64(top)); weight > 0 {
				w.ids, w.kept, w.weights = append(w.ids, int32(id)), append(w.kept, x), append(w.weights, weight)
				sum += weight
			}
		}
	} else {
		least := 0.0
		if o.TopP >= 1 {
			least = o.MinP // else min-p comes after top-p
		}
		sum = w.likely(scores, top, least)
	}
	if o.TopP < 1 {
		w.nucleus(o.TopP * sum)
	}
	if o.MinP > 0 {
		w.filter(func(i int) bool { return w.weights[i] >= o.MinP })
	}
	if o.TopP < 1 || o.MinP > 0 {
		sum = w.sum()
	}
	return sum
}

// likely fills w with the tokens whose weights are least or more, and not 0, and returns the sum of these.
func (w *work) likely(scores []float32, top float32, least float64) float64 {
	least = max(least, math.SmallestNonzeroFloat64)
	n := len(scores)
	w.all, w.ids, w.kept, w.weights = sized(w.all, n), sized(w.ids, n), sized(w.kept, n), sized(w.weights, n)
	exponentials(w.all, scores, top)
	at, sum := 0, 0.0
	for id, weight := range w.all {
		if weight >= least {
			w.ids[at], w.kept[at], w.weights[at] = int32(id), scores[id], weight
			at++
			sum += weight
		}
	}
	w.ids, w.kept, w.weights = w.ids[:at], w.kept[:at], w.weights[:at]
	return sum
}

// sized returns s with length n; its contents are undefined.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func (w *work) sum() float64 {
	sum := 0.0
	for _, weight := range w.weights {
		sum += weight
	}
	return sum
}

// nucleus keeps the fewest tokens, by falling score, that weigh at least target, and at least one. Of equal scores the
// highest ids are kept, since the reference sorts ascending and cuts off the front.
func (w *work) nucleus(target float64) {
	last, above := w.boundary(w.kept, w.weights, target)
	w.filter(func(i int) bool { return w.kept[i] >= last }) // few are left
	ties, weight := 0, 0.0
	for i, x := range w.kept {
		if x == last {
			ties++
			weight = w.weights[i]
		}
	}
	spare := ties - int(min(max(math.Ceil((target-above)/weight), 1), float64(ties)))
	w.filter(func(i int) bool {
		if x := w.kept[i]; x != last {
			return x > last
		}
		spare--
		return spare < 0
	})
}

// filter keeps the candidates for which keep is true; it is called for each in order.
func (w *work) filter(keep func(i int) bool) {
	n := 0
	for i := range w.ids {
		if keep(i) {
			w.ids[n], w.kept[n], w.weights[n] = w.ids[i], w.kept[i], w.weights[i]
			n++
		}
	}
	w.ids, w.kept, w.weights = w.ids[:n], w.kept[:n], w.weights[:n]
}

// draw returns the candidate at u, 0 ≤ u < 1, of the candidates' weights, which add up to total, laid end to end.
func (w *work) draw(u, total float64) int {
	point := u * total
	sum := 0.0
	for i, weight := range w.weights {
		if sum += weight; sum > point {
			return int(w.ids[i])
		}
	}
	return int(w.ids[len(w.ids)-1])
}
