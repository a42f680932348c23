//go:build !unix

package safetensors

import (
	"io"
	"os"
)

const openFlags = 0

// mapFile reads the whole file where memory mapping is not at hand.
func mapFile(f *os.File, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(f, data)
	return data, err
}

func unmapFile([]byte) error { return nil }
