package finetune

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval"
	"d2nwg/internal/compute"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
)

// TestWrittenIsWhatWasScored fine-tunes the bundled model on a text and scores what was written, read back as any other: the
// adapter and the checkpoint must have the score that the result tells, to the last bit, and be better than the base.
func TestWrittenIsWhatWasScored(t *testing.T) {
	dir := t.TempDir()
	if err := bundled.Base(filepath.Join(dir, "base")); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "line %d is like line %d, but for its number\n\n", i, i+1)
	}
	file := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{false, true} {
		var r recipe.Finetune
		r.SetDefaults()
		r.Base, r.Full, r.Data.Text, r.Data.Rows, r.Data.Length, r.Stop.Split = filepath.Join(dir, "base"), full, file, 2, 64, 0.3
		r.Train.Steps, r.Train.SaveEvery = 12, 0
		if !full {
			r.LoRA.Rank, r.LoRA.Alpha = 2, 3 // a scale that is no power of two
		}
		out := filepath.Join(dir, fmt.Sprint("full=", full))
		result := runJob(t, r, out)
		h := result.Held
		if h == nil || h.Metric != eval.BitsPerByte || !(h.After < h.Before) || !(h.Loss < h.LossBefore) {
			t.Fatalf("result %+v, held out %+v", result, h)
		}
		if got := bitsPerByte(t, r, out); got != h.After {
			t.Errorf("full=%v: what was written costs %v bits per byte, the result says %v", full, got, h.After)
		}
	}
}

func runJob(t *testing.T, r recipe.Finetune, out string) *Result {
	t.Helper()
	job, err := Open(r, Options{
		Out: out, Resolve: func(address string, model bool) (string, string, error) { return address, address, nil },
		Backend: func(ctx context.Context, name string) (*compute.Backend, error) { return compute.Open(ctx, compute.Go) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	result, err := job.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// bitsPerByte scores the output of a job on its held-out text.
func bitsPerByte(t *testing.T, r recipe.Finetune, out string) float64 {
	t.Helper()
	open := func(dir string) *llm.Checkpoint {
		c, err := llm.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	base := open(r.Base)
	v := &llm.Variant{Base: base}
	if r.Full {
		base = open(out)
		v.Base = base
	} else {
		var err error
		if v, _, err = lora.Open(base, out); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Open(r.Base)
	if err != nil {
		t.Fatal(err)
	}
	data, err := eval.ReadDocuments(r.Data.Text, "", stats.Shares{Train: 70, Select: 30})
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
	scores, err := scorer.Score(context.Background(), v, stats.Select)
	if err != nil {
		t.Fatal(err)
	}
	return -scores.Mean()
}

// Held-out questions never reach the training, with a share of one file and with a file of their own.
func TestHeldOutStaysOut(t *testing.T) {
	dir := t.TempDir()
	if err := bundled.Base(filepath.Join(dir, "base")); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Open(filepath.Join(dir, "base"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, from, to int) string {
		var lines strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&lines, "{\"prompt\": \"%d>\", \"answer\": \"%d\"}\n", i, 10*i)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	prompts := func(questions []eval.Question) (all []string) {
		for _, q := range questions {
			all = append(all, q.Prompt)
		}
		return all
	}
	var r recipe.Finetune
	r.SetDefaults()
	r.Data.Questions, r.Stop.Split = write("q.jsonl", 0, 100), 0.2
	d, err := readData(r, r, tok, 1)
	if err != nil {
		t.Fatal(err)
	}
	held, trained := prompts(d.held.Questions[heldSplit]), prompts(d.known.Questions[stats.Train])
	if len(held) < 10 || len(held)+len(trained) != 100 || d.items != len(trained) || d.seen() != 0 {
		t.Errorf("%d held out, %d trained on, %d of them seen", len(held), len(trained), d.seen())
	}
	for _, p := range held {
		if slices.Contains(trained, p) {
			t.Errorf("%s is trained on and held out", p)
		}
	}
	r.Stop.File = write("held.jsonl", 95, 105)
	if d, err = readData(r, r, tok, 1); err != nil {
		t.Fatal(err)
	}
	if d.items != 100 || d.held.Items(heldSplit) != 10 || d.seen() != 5 {
		t.Errorf("with a file: %d trained on, %d held out, %d seen, want 100, 10, 5", d.items, d.held.Items(heldSplit), d.seen())
	}
	r.Stop.File, r.Stop.Split = "", 0
	if d, err = readData(r, r, tok, 1); err != nil || d.items != 100 || d.held != nil {
		t.Errorf("without a share: %d trained on (%v)", d.items, err)
	}
}
