//go:build unix

package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"d2nwg/llm"
)

// A file of weights that shrinks while it is mapped gives an error that names it, not a crash, wherever its bytes are
// read: in this goroutine and in others.
func TestShrunkFileIsAnError(t *testing.T) {
	c := tiny()
	c.VocabSize = 4096 // large enough for several pages and several threads
	checkpoint, _ := randomModel(t, c, 3)
	m := mustModel(t, checkpoint)
	values := make([]float32, c.HiddenSize*c.HiddenSize)
	replace := &llm.Variant{Base: checkpoint, Replace: map[string][]float32{"model.layers.3.self_attn.q_proj.weight": values}}
	if _, err := m.With(replace); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(checkpoint.Dir, "*.safetensors"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 5000); err != nil {
		t.Fatal(err)
	}
	ids := make([]int, 200)
	calls := map[string]func() error{
		"Hidden": func() error { _, err := m.Hidden(ids); return err },
		"Score": func() error {
			_, err := m.Score(context.Background(), []Request{{ids, 1}, {ids[:50], 3}}, runtime.GOMAXPROCS(0))
			return err
		},
		"Generate": func() error {
			return m.Generate(context.Background(), [][]int{ids}, func(int, []float32) (int, bool) { return 0, true })
		},
		"New": func() error { _, err := New(checkpoint, Options{}); return err },
		"With": func() error {
			low := llm.LowRank{Rank: 1, A: make([]float32, c.HiddenSize), B: make([]float32, c.HiddenSize)}
			_, err := m.With(&llm.Variant{Base: checkpoint, LowRank: map[string]llm.LowRank{"model.layers.3.self_attn.q_proj.weight": low}})
			return err
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrVanished) || !strings.Contains(err.Error(), checkpoint.Dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
