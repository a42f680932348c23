package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// killRecipe is long enough to be killed in every stage: relatives, VAE, diffusion, search.
const killRecipe = `
base: base
seed: 5
backend: go
score: {mix: copy+add+times, metric: margin, items: {select: 20, confirm: 20, test: 30}}
relatives:
  make: {count: 3, rank: 2, rows: 1, length: 32, train: {steps: 6, save_every: 2}}
generator:
  chunk_len: 32
  sample_steps: 2
  vae: {latent: 4, hidden: 8, blocks: 1, embed: 4, steps: 8, batch: 8}
  diffusion: {width: 8, blocks: 1, heads: 2, steps: 8, batch: 4}
explore: {proposals: 4, scales: [1], layers: 4, tries: 1, soup: 2, resamples: 1000}
`

// runKilled runs the program itself in dir and kills it with SIGKILL after the timeout, if it has not ended by then. It may
// exit with 0 or with code.
func runKilled(t *testing.T, dir string, timeout time.Duration, code int, args ...string) (killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...) // the context's end is a SIGKILL
	cmd.Args[0], cmd.Dir = "d2nwg", dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return true
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != code) {
		t.Fatalf("%v: %v: %s", args, err, stderr.String())
	}
	return false
}

// TestKilledRunEndsTheSame kills improve with SIGKILL again and again, later each time, until it ends; the weight
// files, the report's scores and the ledger must be those of a run that nobody touched.
func TestKilledRunEndsTheSame(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte(killRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	improve := func(timeout time.Duration, args ...string) (killed bool) {
		t.Helper()
		return runKilled(t, dir, timeout, codeNoImprovement, args...)
	}
	improve(time.Minute, "random", "--shape", "tiny", "--out", "base", "--seed", "3")
	start := time.Now()
	improve(2*time.Minute, "improve", "--recipe", "recipe.yaml", "--out", "whole/run")
	whole := time.Since(start)

	kills := 0
	for i := 1; improve(whole*time.Duration(i)/20, "improve", "--recipe", "recipe.yaml", "--out", "killed/run"); i++ {
		kills++
		if i > 200 {
			t.Fatal("the run does not get on between kills")
		}
	}
	if kills < 2 {
		t.Errorf("killed only %d times", kills)
	}
	t.Logf("killed %d times", kills)
	for _, name := range []string{"run/candidate/model.safetensors", "run/generator/generator.safetensors", "ledger.jsonl"} {
		a, errA := os.ReadFile(filepath.Join(dir, "whole", name))
		b, errB := os.ReadFile(filepath.Join(dir, "killed", name))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs from that of a run that was not killed", name)
		}
	}
	a, errA := readReport(filepath.Join(dir, "whole", "run"))
	b, errB := readReport(filepath.Join(dir, "killed", "run"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	for i, s := range a.Sources {
		if other := b.Sources[i]; s.Winner != other.Winner || s.Select != other.Select || s.Confirm != other.Confirm {
			t.Errorf("source %s: %v %v, after kills %v %v", s.Name, s.Select, s.Confirm, other.Select, other.Confirm)
		}
	}
}
