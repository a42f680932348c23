//go:build !(goexperiment.simd && amd64)

package safetensors

// Without vectors, no element is converted here and the functions for one element convert them all.

func decodeBF16Vector([]float32, []byte) int { return 0 }
func encodeBF16Vector([]byte, []float32) int { return 0 }
func roundBF16Vector([]float32) int          { return 0 }
func decodeF16Vector([]float32, []byte) int  { return 0 }
func encodeF16Vector([]byte, []float32) int  { return 0 }
func roundF16Vector([]float32) int           { return 0 }
