package llm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
)

// Hash identifies a candidate by its base and the values that it changes.
func (v *Variant) Hash() (string, error) {
	base, err := v.Base.Hash()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	io.WriteString(h, base)
	for _, name := range v.Names() {
		fmt.Fprintf(h, "\n%q ", name)
		if lr, ok := v.LowRank[name]; ok {
			fmt.Fprintf(h, "low-rank %d ", lr.Rank)
			if lr.Seed != nil {
				fmt.Fprintf(h, "seed %d ", *lr.Seed)
			} else {
				hashFloats(h, lr.A)
			}
			hashFloats(h, lr.B)
			continue
		}
		hashFloats(h, v.Replace[name])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFloats(w io.Writer, values []float32) {
	buffer := make([]byte, 0, 1<<14)
	for chunk := range slices.Chunk(values, 1<<12) {
		buffer = buffer[:0]
		for _, f := range chunk {
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(f))
		}
		w.Write(buffer)
	}
}
