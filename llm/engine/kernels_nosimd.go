//go:build !(goexperiment.simd && amd64)

package engine

func simdKernels() []*kernels { return nil }
