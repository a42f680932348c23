package sample

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The bits must be those of math.Exp, in every range and at every place of a vector.
func TestExponentials(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	special := []float32{0, -0x1p-149, -1e-30, -0.34657, -0.34658, -87, -699.9, -700, -700.1, -708, -709, -744, -745.2, -746, -1e30, float32(math.Inf(-1))}
	for _, scale := range []float64{1e-6, 0.1, 1, 10, 100, 300, 1000} {
		x := make([]float32, 100_003)
		for i := range x {
			if x[i] = float32(-math.Abs(random.NormFloat64()) * scale); i%50 == 49 {
				x[i] = special[random.IntN(len(special))]
			}
		}
		for _, top := range []float32{0, 3.25, -17.3, 1e4} {
			got := make([]float64, len(x))
			for i := range x {
				x[i] = min(x[i]+top, top)
			}
			exponentials(got, x, top)
			for i, v := range x {
				if want := math.Exp(float64(v) - float64(top)); math.Float64bits(got[i]) != math.Float64bits(want) {
					t.Fatalf("e^(%g − %g) is %g, want %g", v, top, got[i], want)
				}
			}
			for i := range x {
				x[i] -= top
			}
		}
	}
}
