package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/eval"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// TestAdapterScores: an adapter of the bundled model has the same score on every question, to the last bit, as the
// variant it was written from, read again and merged into a checkpoint.
func TestAdapterScores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, relatives := filepath.Join(dir, "base"), filepath.Join(dir, "relatives")
	if err := bundled.Base(source); err != nil {
		t.Fatal(err)
	}
	if err := bundled.Relatives(relatives); err != nil {
		t.Fatal(err)
	}
	original := openCheckpointT(t, source)
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16} {
		folder := filepath.Join(dir, string(dt))
		if err := llm.WriteCheckpoint(folder, original.Config, dt, original.Float32, nil); err != nil {
			t.Fatal(err)
		}
		base := openCheckpointT(t, folder)
		tok, err := tokenizer.Open(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"000-copy+diff+modadd9", "037-length+larger+times"} {
			trained, _, err := llm.LoadVariant(original, filepath.Join(relatives, name))
			if err != nil {
				t.Fatal(err)
			}
			v := &llm.Variant{Base: base, Replace: trained.Replace, LowRank: trained.LowRank}
			adapter, checkpoint := filepath.Join(folder, name, "adapter"), filepath.Join(folder, name, "merged")
			if err := lora.Write(adapter, v, lora.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			read, _, err := lora.Open(base, adapter)
			if err != nil {
				t.Fatal(err)
			}
			if err := read.Write(checkpoint, llm.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			_, mix, _ := strings.Cut(name, "-")
			want := itemsOf(t, base, tok, v, mix)
			if slices.Equal(want.Items, itemsOf(t, base, tok, &llm.Variant{Base: base}, mix).Items) {
				t.Errorf("%s %s: the adapter changes no answer", dt, name)
			}
			merged := openCheckpointT(t, checkpoint)
			for what, got := range map[string]stats.Scores{
				"read again": itemsOf(t, base, tok, read, mix),
				"merged":     itemsOf(t, merged, tok, &llm.Variant{Base: merged}, mix),
			} {
				if !slices.Equal(got.Items, want.Items) || !slices.Equal(got.Tie, want.Tie) {
					t.Errorf("%s %s: %s it scores differently", dt, name, what)
				}
			}
			t.Logf("%s %s: the same score on %d items, mean %.3f", dt, name, len(want.Items), want.Mean())
		}
	}
}

func openCheckpointT(t *testing.T, dir string) *llm.Checkpoint {
	t.Helper()
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// itemsOf scores a variant on the test questions of a mix.
func itemsOf(t *testing.T, base *llm.Checkpoint, tok tokenizer.Tokenizer, v *llm.Variant, mix string) stats.Scores {
	t.Helper()
	data, err := mixData([]string{mix}, "bare", 50, 1)
	if err != nil {
		t.Fatal(err)
	}
	model, err := engine.New(base, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	scorer, err := eval.NewScorer(model, tok, data, eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	scores, err := scorer.Score(context.Background(), v, stats.Test)
	if err != nil {
		t.Fatal(err)
	}
	return scores
}
