package sample

import "math"

// exponentials sets dst to e to the power x − top.
func exponentials(dst []float64, x []float32, top float32) {
	n := expVector(dst, x, top)
	expScalar(dst[n:], x[n:], top)
}

func expScalar(dst []float64, x []float32, top float32) {
	for i := range dst {
		dst[i] = math.Exp(float64(x[i]) - float64(top))
	}
}
