//go:build !linux

package llm

import "os"

// startWriteback does nothing where there is no such hint.
func startWriteback(*os.File, int64, int64) {}
