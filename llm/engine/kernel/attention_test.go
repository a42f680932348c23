package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func oneRow(x []float32) Rows { return Rows{x, 1, len(x), 0} }

// TestAttention has keys and values that end where memory does, for every number of queries.
func TestAttention(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 1))
	for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130} {
		for _, dim := range []int{1, 2, 8, 12, 16, 17, 24, 48, 64, 65, 128} {
			const more = Queries - 1 // keys that only the last query sees, if each sees one more than the one before
			qStep, pStep, stride, vStride := dim+2, n+more+1, n+3, dim+5
			q := Rows{behind(t, random, more*qStep+dim), Queries, dim, qStep}
			p := Rows{behind(t, random, more*pStep+n+more), Queries, n, pStep}
			kt := behind(t, random, (dim-1)*stride+n)
			v := behind(t, random, (n+more-1)*vStride+dim)
			eachSet(t, func(t *testing.T, s *Set) {
				checkKeys(t, s, q, kt, stride, n)
				for i := range p.N {
					checkValues(t, s, p.row(i, i), v, vStride, dim)
				}
				for queries := 1; queries <= Queries; queries++ {
					q.N, p.N = queries, queries
					checkTogether(t, s, q, kt, stride, n)
					checkValuesTogether(t, s, p, v, vStride, dim, false)
					checkValuesTogether(t, s, p, v, vStride, dim, true)
				}
			})
		}
	}
}

func checkKeys(t *testing.T, s *Set, queries Rows, kt []float32, stride, n int) {
	t.Helper()
	for i := range queries.N {
		q := queries.row(i, 0)
		got := make([]float32, n)
		s.Keys(oneRow(got), oneRow(q), kt, stride)
		for j := range n {
			want, magnitude := 0.0, 0.0
			for d, x := range q {
				want += float64(x) * float64(kt[d*stride+j])
				magnitude += math.Abs(float64(x) * float64(kt[d*stride+j]))
			}
			near(t, "Keys", n, j, got[j], want, magnitude*bound(float64(len(q)+1)))
			alone := []float32{0}
			if s.Keys(oneRow(alone), oneRow(q), kt[j:], stride); alone[0] != got[j] {
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
func checkTogether(t *testing.T, s *Set, q Rows, kt []float32, stride, n int) {
	t.Helper()
	got, want := filled(q.N, n, n+1), filled(q.N, n, n+1)
	s.Keys(got, q, kt, stride)
	for i := range q.N {
		s.Keys(oneRow(want.row(i, 0)), oneRow(q.row(i, 0)), kt, stride)
	}
	if !cmp.Equal(got.Data, want.Data) {
		t.Fatalf("%d queries, %d keys of %d: %v, one by one %v", q.N, n, q.Len, got, want)
	}
}

func checkValuesTogether(t *testing.T, s *Set, p Rows, v []float32, stride, dim int, causal bool) {
	t.Helper()
	got, parts, want := filled(p.N, dim, dim+1), filled(p.N, dim, dim+1), filled(p.N, dim, dim+1)
	scale := [Queries]float32{0.5, 3, -1, 0.7}
	s.Values(got, p, v, stride, &scale, causal, false)
	cut := p.Len / 2
	first, rest := p, p
	first.Len, rest.Data, rest.Len = cut, p.Data[cut:], p.Len-cut
	s.Values(parts, first, v, stride, &[Queries]float32{1, 1, 1, 1}, false, false)
	s.Values(parts, rest, v[cut*stride:], stride, &scale, causal, true)
	for i := range p.N {
		more := 0
		if causal {
			more = i
		}
		s.Values(oneRow(want.row(i, 0)), oneRow(p.row(i, more)), v, stride, &[Queries]float32{scale[i]}, false, false)
	}
	if !cmp.Equal(got.Data, want.Data) || !cmp.Equal(parts.Data, want.Data) {
		t.Fatalf("%d queries, %d values of %d, causal %v: %v, one by one %v", p.N, p.Len, dim, causal, got, want)
	}
}

// checkValues requires the sum over all keys, and the same bits wherever they are cut in two.
func checkValues(t *testing.T, s *Set, p, v []float32, stride, dim int) {
	t.Helper()
	got, parts, half := make([]float32, dim), make([]float32, dim), &[Queries]float32{0.5}
	s.Values(oneRow(got), oneRow(p), v, stride, half, false, false)
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
		s.Values(oneRow(parts), oneRow(p[:n]), v, stride, &[Queries]float32{1}, false, false)
		s.Values(oneRow(parts), oneRow(p[n:]), rest, stride, half, false, true)
		if !cmp.Equal(got, parts) {
			t.Fatalf("cut at %d of %d: %v, at once %v", n, len(p), parts, got)
		}
	}
}
