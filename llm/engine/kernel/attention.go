package kernel

import "fmt"

// Queries is the most queries that keys or values are gone through for at once.
const Queries = 4

// Numbers are keys or values: float32 or, where F16 isn't nil, float16, which takes half the time to read.
type Numbers struct {
	F32 []float32
	F16 []uint16
}

// NewNumbers returns n zeros.
func NewNumbers(n int, half bool) Numbers {
	if half {
		return Numbers{F16: make([]uint16, n)}
	}
	return Numbers{F32: make([]float32, n)}
}

// Len returns how many numbers there are.
func (x Numbers) Len() int { return max(len(x.F32), len(x.F16)) }

// Cut returns the numbers i…j−1.
func (x Numbers) Cut(i, j int) Numbers {
	if x.F16 != nil {
		return Numbers{F16: x.F16[i:j]}
	}
	return Numbers{F32: x.F32[i:j]}
}

// From returns the numbers from i on.
func (x Numbers) From(i int) Numbers { return x.Cut(i, x.Len()) }

// Copy copies numbers of the same type, as many as there are in both.
func (x Numbers) Copy(y Numbers) {
	copy(x.F32, y.F32)
	copy(x.F16, y.F16)
}

// Fetch asks for the memory of numbers that are wanted soon, where the CPU can do so without waiting for it.
func (s *Set) Fetch(x Numbers) {
	if s.vectors.fetch != nil && x.Len() > 0 {
		s.vectors.fetch(x)
	}
}

// HasF16 tells whether Keys and Values take float16.
func (s *Set) HasF16() bool { return s.half != nil }

// RoundF16 rounds src to float16, to the nearest, ties to even; beyond its range, to infinity. Both have one length.
func (s *Set) RoundF16(dst []uint16, src []float32) { s.half(dst[:len(src)], src) }

// Rows are N rows of Len numbers, Step apart.
type Rows struct {
	Data         []float32
	N, Len, Step int
}

// row is row i with some numbers more.
func (r Rows) row(i, more int) []float32 { return r.Data[i*r.Step:][:r.Len+more] }

// From returns n rows from row i on.
func (r Rows) From(i, n int) Rows {
	r.Data, r.N = r.Data[i*r.Step:], n
	return r
}

// cut checks that Data has all rows, the last with some numbers more, and drops what is behind them.
func (r Rows) cut(more int) Rows {
	if r.N < 1 || r.N > Queries || r.Len < 0 || r.N > 1 && r.Step < r.Len+more {
		panic(fmt.Sprintf("kernel: %d rows of %d numbers, %d apart", r.N, r.Len+more, r.Step))
	}
	r.Data = r.Data[:(r.N-1)*r.Step+r.Len+more]
	return r
}

// KeyBlock is how many keys lie side by side, so that one instruction meets as many.
const KeyBlock = 16

// Keys sets scores[i, j] = Σ_d q[i, d]·k[j, d] for up to Queries queries and all columns of scores. kt has the keys in
// blocks (⌈keys/KeyBlock⌉, q.Len, KeyBlock).
func (s *Set) Keys(scores, q Rows, kt Numbers) {
	scores, q = scores.cut(0), q.cut(0)
	if q.N != scores.N {
		panic(fmt.Sprintf("kernel: scores of %d queries for %d", scores.N, q.N))
	}
	if scores.Len == 0 {
		return
	}
	if q.Len == 0 {
		for i := range scores.N {
			clear(scores.row(i, 0))
		}
		return
	}
	s.vectors.keys(scores, q, kt.Cut(0, roundUp(scores.Len, KeyBlock)*q.Len))
}

// Values sets out[i, d] = scale[i] · Σ_j p[i, j]·v[j·stride+d] for up to Queries queries. With add the sum goes on from
// out[i, d]: with a scale of one for the first part, it doesn't depend on where the keys are cut in two. With causal, row
// i of p has i numbers more than the first, for as many keys more.
func (s *Set) Values(out, p Rows, v Numbers, stride int, scale *[Queries]float32, causal, add bool) {
	more := 0
	if causal {
		more = p.N - 1
	}
	out, p = out.cut(0), p.cut(more)
	if out.N != p.N {
		panic(fmt.Sprintf("kernel: results of %d queries for %d", out.N, p.N))
	}
	if out.Len == 0 {
		return
	}
	s.vectors.values(out, p, rows(v, p.Len+more, stride, out.Len), stride, scale, causal, add)
}

// rows cuts numbers to n rows of some width.
func rows(x Numbers, n, stride, width int) Numbers {
	if n == 0 {
		return x.Cut(0, 0)
	}
	return x.Cut(0, (n-1)*stride+width)
}

func keysPortable(scores, q Rows, kt Numbers) {
	for i := range q.N {
		s := scores.row(i, 0)
		clear(s)
		for first := 0; first < len(s); first += KeyBlock {
			s, kt := s[first:min(first+KeyBlock, len(s))], kt.F32[first*q.Len:]
			for d, x := range q.row(i, 0) {
				for j, y := range kt[d*KeyBlock:][:len(s)] {
					s[j] += float32(x * y)
				}
			}
		}
	}
}

func valuesPortable(out, p Rows, v Numbers, stride int, scale *[Queries]float32, causal, add bool) {
	for i := range out.N {
		more := 0
		if causal {
			more = i
		}
		sum := out.row(i, 0)
		if !add {
			clear(sum)
		}
		for j, x := range p.row(i, more) {
			for d, y := range v.F32[j*stride:][:len(sum)] {
				sum[d] += float32(x * y)
			}
		}
		for d := range sum {
			sum[d] *= scale[i]
		}
	}
}
