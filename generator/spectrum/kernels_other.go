//go:build !(goexperiment.simd && amd64)

package spectrum

// bestKernels returns the fastest kernels of this machine.
func bestKernels() kernels { return portable }
