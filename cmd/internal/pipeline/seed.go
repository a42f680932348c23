package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Seed derives the seed of one purpose from the one seed a user gives. SHA-256 keeps the streams of different purposes
// and items apart whatever the seeds are.
func Seed(seed uint64, purpose string, item int) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d", seed, purpose, item))
	return binary.LittleEndian.Uint64(sum[:])
}
