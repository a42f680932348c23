//go:build goexperiment.simd && amd64

package compute

// slowWarning is empty: the Go backend was built with SIMD matrix products.
const slowWarning = ""
