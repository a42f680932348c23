package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"d2nwg/llm/engine/kernel"
)

// TestPositionsSeeTheirPastAlone requires the same bits of a position as the last of a sequence and amid longer ones,
// where its queries go through keys and values with those of other tokens.
func TestPositionsSeeTheirPastAlone(t *testing.T) {
	const n = 83
	for name, c := range shapes() {
		checkpoint, _ := randomModel(t, c, 7)
		base := mustModel(t, checkpoint)
		ids := randomIDs(rand.New(rand.NewPCG(7, 7)), min(n, c.MaxPositions), c.VocabSize)
		for _, k := range kernel.Available() {
			m := base.withKernels(k)
			all, err := m.Logits(ids)
			if err != nil {
				t.Fatal(err)
			}
			for end := 1; end <= len(ids); end += 3 {
				last, err := m.LogitsLast(ids[:end])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(last, all[(end-1)*c.VocabSize:end*c.VocabSize]) {
					t.Fatalf("%s, %s: position %d differs in a sequence of %d", name, k.Name(), end, len(ids))
				}
			}
		}
	}
}
