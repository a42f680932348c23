package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func oneRow(x []float32) Rows { return Rows{x, 1, len(x), 0} }

// TestAttention has keys and values that end where memory does, for every number of queries.
func TestAttention(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 1))
	for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130} {
		for _, dim := range []int{1, 2, 8, 12, 16, 17, 24, 48, 64, 65, 128} {
			const more = Queries - 1 // keys that only the last query sees, if each sees one more than the one before
			qStep, pStep, vStride := dim+2, n+more+1, dim+5
			q := Rows{behind(t, random, more*qStep+dim), Queries, dim, qStep}
			p := Rows{behind(t, random, more*pStep+n+more), Queries, n, pStep}
			kt := behind(t, random, roundUp(n, KeyBlock)*dim)
			v := behind(t, random, (n+more-1)*vStride+dim)
			eachSet(t, func(t *testing.T, s *Set) {
				checkKeys(t, s, q, kt, n)
				for i := range p.N {
					checkValues(t, s, p.row(i, i), v, vStride, dim)
				}
				for queries := 1; queries <= Queries; queries++ {
					q.N, p.N = queries, queries
					checkTogether(t, s, q, kt, n)
					checkValuesTogether(t, s, p, v, vStride, dim, false)
					checkValuesTogether(t, s, p, v, vStride, dim, true)
					if s.HasF16() {
						checkHalf(t, s, q, p, kt, v, vStride, n)
					}
				}
			})
		}
	}
}

func checkKeys(t *testing.T, s *Set, queries Rows, kt []float32, n int) {
	t.Helper()
	for i := range queries.N {
		q := queries.row(i, 0)
		got := make([]float32, n)
		s.Keys(oneRow(got), oneRow(q), Numbers{F32: kt})
		for j := range n {
			want, magnitude := 0.0, 0.0
			for d, x := range q {
				want += float64(x) * float64(kt[(j/KeyBlock*len(q)+d)*KeyBlock+j%KeyBlock])
				magnitude += math.Abs(float64(x) * float64(kt[(j/KeyBlock*len(q)+d)*KeyBlock+j%KeyBlock]))
			}
			near(t, "Keys", n, j, got[j], want, magnitude*bound(float64(len(q)+1)))
			few := make([]float32, j%KeyBlock+1)
			s.Keys(oneRow(few), oneRow(q), Numbers{F32: kt[j/KeyBlock*KeyBlock*len(q):]})
			if few[j%KeyBlock] != got[j] {
				t.Fatalf("key %d of %d depends on the others", j, n)
			}
		}
	}
}

// filled has rows of something that results can be compared with where they mustn't be written.
func filled(n, length, step int) Rows {
	r := Rows{make([]float32, n*step), n, length, step}
	for i := range r.Data {
		r.Data[i] = 12345
	}
	return r
}

// checkTogether requires for several queries what each gives by itself, and nothing else written.
func checkTogether(t *testing.T, s *Set, q Rows, kt []float32, n int) {
	t.Helper()
	got, want := filled(q.N, n, n+1), filled(q.N, n, n+1)
	s.Keys(got, q, Numbers{F32: kt})
	for i := range q.N {
		s.Keys(oneRow(want.row(i, 0)), oneRow(q.row(i, 0)), Numbers{F32: kt})
	}
	if !cmp.Equal(got.Data, want.Data) {
		t.Fatalf("%d queries, %d keys of %d: %v, one by one %v", q.N, n, q.Len, got, want)
	}
}

func checkValuesTogether(t *testing.T, s *Set, p Rows, v []float32, stride, dim int, causal bool) {
	t.Helper()
	got, parts, want := filled(p.N, dim, dim+1), filled(p.N, dim, dim+1), filled(p.N, dim, dim+1)
	scale := [Queries]float32{0.5, 3, -1, 0.7}
	s.Values(got, p, Numbers{F32: v}, stride, &scale, causal, false)
	cut := p.Len / 2
	first, rest := p, p
	first.Len, rest.Data, rest.Len = cut, p.Data[cut:], p.Len-cut
	s.Values(parts, first, Numbers{F32: v}, stride, &[Queries]float32{1, 1, 1, 1}, false, false)
	s.Values(parts, rest, Numbers{F32: v[cut*stride:]}, stride, &scale, causal, true)
	for i := range p.N {
		more := 0
		if causal {
			more = i
		}
		s.Values(oneRow(want.row(i, 0)), oneRow(p.row(i, more)), Numbers{F32: v}, stride, &[Queries]float32{scale[i]}, false, false)
	}
	if !cmp.Equal(got.Data, want.Data) || !cmp.Equal(parts.Data, want.Data) {
		t.Fatalf("%d queries, %d values of %d, causal %v: %v, one by one %v", p.N, p.Len, dim, causal, got, want)
	}
}

// checkValues requires the sum over all keys, and the same bits wherever they are cut in two.
func checkValues(t *testing.T, s *Set, p, v []float32, stride, dim int) {
	t.Helper()
	got, parts, half := make([]float32, dim), make([]float32, dim), &[Queries]float32{0.5}
	s.Values(oneRow(got), oneRow(p), Numbers{F32: v}, stride, half, false, false)
	for d := range got {
		want, magnitude := 0.0, 0.0
		for j, x := range p {
			want += 0.5 * float64(x) * float64(v[j*stride+d])
			magnitude += math.Abs(0.5 * float64(x) * float64(v[j*stride+d]))
		}
		near(t, "Values", len(p), d, got[d], want, magnitude*bound(float64(len(p)+2)))
	}
	for n := range len(p) + 1 {
		var rest []float32
		if n < len(p) {
			rest = v[n*stride:]
		}
		s.Values(oneRow(parts), oneRow(p[:n]), Numbers{F32: v}, stride, &[Queries]float32{1}, false, false)
		s.Values(oneRow(parts), oneRow(p[n:]), Numbers{F32: rest}, stride, half, false, true)
		if !cmp.Equal(got, parts) {
			t.Fatalf("cut at %d of %d: %v, at once %v", n, len(p), parts, got)
		}
	}
}

// checkHalf requires of keys and values in float16, which end where memory does, what the same in float32 give.
func checkHalf(t *testing.T, s *Set, q, p Rows, kt, v []float32, vStride, n int) {
	t.Helper()
	halfK, fullK := halves(t, s, kt)
	halfV, fullV := halves(t, s, v)
	got, want := filled(q.N, n, n+1), filled(q.N, n, n+1)
	s.Keys(got, q, halfK)
	s.Keys(want, q, fullK)
	if !cmp.Equal(got.Data, want.Data) {
		t.Fatalf("%d queries, %d keys of %d in float16: %v, in float32 %v", q.N, n, q.Len, got, want)
	}
	got, want = filled(q.N, q.Len, q.Len+1), filled(q.N, q.Len, q.Len+1)
	for _, add := range []bool{false, true} {
		s.Values(got, p, halfV, vStride, &[Queries]float32{0.5, 3, -1, 0.7}, add, add)
		s.Values(want, p, fullV, vStride, &[Queries]float32{0.5, 3, -1, 0.7}, add, add)
		if !cmp.Equal(got.Data, want.Data) {
			t.Fatalf("%d queries, %d values of %d in float16: %v, in float32 %v", q.N, n, q.Len, got, want)
		}
	}
}

// halves returns numbers rounded to float16, and what they are.
func halves(t *testing.T, s *Set, x []float32) (half, full Numbers) {
	memory := guarded(t, 2*len(x))
	half = Numbers{F16: unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(memory))), len(x))}
	s.RoundF16(half.F16, x)
	full = NewNumbers(len(x), false)
	for i, h := range half.F16 {
		full.F32[i] = fromF16(h)
	}
	return half, full
}

// TestRoundF16 requires the nearest number, of two the one whose last bit is zero.
func TestRoundF16(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 1))
	x := []float32{0, float32(math.Copysign(0, -1)), 65504, 65519, 65520, -1e30, 0x1p-24, 0x1p-25, 0x1.8p-25, float32(math.Inf(1))}
	for h := range uint16(0x7bff) { // halfway to the next one, and beside it
		middle := (fromF16(h) + fromF16(h+1)) / 2
		x = append(x, middle, math.Nextafter32(middle, 0), -math.Nextafter32(middle, 1e9))
	}
	for range 1000 {
		x = append(x, float32(random.NormFloat64()*math.Exp(8*random.NormFloat64())))
	}
	eachSet(t, func(t *testing.T, s *Set) {
		if !s.HasF16() {
			t.Skip("no float16")
		}
		got := make([]uint16, len(x))
		s.RoundF16(got, x)
		for i, v := range x {
			h := got[i] & 0x7fff
			a, here := math.Abs(float64(v)), float64(fromF16(h))
			if math.Signbit(float64(v)) != (got[i]>>15 == 1) || h > 0x7c00 || h == 0x7c00 != (a >= 65520) {
				t.Fatalf("%g became %#x", v, got[i])
			}
			for _, other := range []uint16{h - 1, h + 1} {
				if h == 0x7c00 || other >= 0x7c00 {
					continue
				}
				d, e := math.Abs(here-a), math.Abs(float64(fromF16(other))-a)
				if d > e || d == e && h%2 == 1 {
					t.Fatalf("%g became %#x, %#x is nearer", v, h, other)
				}
			}
		}
	})
}
