//go:build !unix

package kernel

import "testing"

func guarded(_ *testing.T, n int) []byte { return make([]byte, n) }
