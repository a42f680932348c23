//go:build !goexperiment.simd || !amd64

package compute

// slowWarning says why the Go backend of this build is slow.
const slowWarning = "built without GOEXPERIMENT=simd: the go backend multiplies matrices about 24 times slower; build with GOEXPERIMENT=simd on amd64"
