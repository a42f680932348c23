//go:build unix

package llm

import (
	"os"
	"syscall"
)

// flock takes an exclusive lock without waiting.
func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
