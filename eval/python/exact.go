package python

import (
	"math"
	"math/big"
)

// The C library's log, sin and cos, which CPython calls, round almost always as the exact value does; Go's differ in the
// last bit now and then. Here they are computed with more digits and rounded once.

const precision = 192 // bits; enough for what the series lose to cancellation

func wide(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

func product(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Mul(a, b) }

// exactLog is the natural logarithm of x > 0, correctly rounded but for ties that no test can find.
func exactLog(x float64) float64 {
	if x == 1 || x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return math.Log(x)
	}
	y, target := wide(math.Log(x)), wide(x)
	for range 2 { // Halley's rule triples the right digits
		e := exp(y)
		step := new(big.Float).SetPrec(precision).Sub(target, e)
		step.Quo(step, e.Add(target, e))
		y.Add(y, step.Add(step, step))
	}
	f, _ := y.Float64()
	return f
}

// exp is e to the power of y.
func exp(y *big.Float) *big.Float {
	const halvings = 16
	small := new(big.Float).SetPrec(precision).SetMantExp(y, -halvings)
	sum, term := wide(1), wide(1)
	for n := 1; n <= 24; n++ {
		term.Quo(product(term, small), wide(float64(n)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum = product(sum, sum)
	}
	return sum
}

// exactSinCos is the sine and the cosine of an angle from 0 to 2π.
func exactSinCos(angle float64) (sin, cos float64) {
	x := wide(angle)
	s, c, term := wide(0), wide(0), wide(1)
	for n := 0; n < 80; n += 4 { // term = xⁿ/n!
		for k, sum := range []*big.Float{c, s, c, s} {
			if k < 2 {
				sum.Add(sum, term)
			} else {
				sum.Sub(sum, term)
			}
			term.Quo(product(term, x), wide(float64(n+k+1)))
		}
	}
	sin, _ = s.Float64()
	cos, _ = c.Float64()
	return sin, cos
}
