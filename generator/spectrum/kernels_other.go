//go:build !(goexperiment.simd && amd64)

package spectrum

// available returns the kernels that this machine can run, the fastest first.
func available() []kernels { return []kernels{portable()} }
