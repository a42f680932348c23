//go:build unix

package safetensors

import (
	"os"
	"syscall"
)

// openFlags keeps the opening of a named pipe from waiting for its other end; regular files ignore it.
const openFlags = syscall.O_NONBLOCK | syscall.O_CLOEXEC

// mapFile maps a file read-only. An empty file cannot be mapped and needs no mapping.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	return syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
}

func unmapFile(data []byte) error {
	if data == nil {
		return nil
	}
	return syscall.Munmap(data)
}
