package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledFinetuneEndsTheSame kills finetune with SIGKILL again and again, later each time; what it writes must be that of
// a fine-tune that nobody touched, for adapters with and without a shared A and for all weights.
func TestKilledFinetuneEndsTheSame(t *testing.T) {
	dir := t.TempDir()
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, "{\"prompt\": \"%d plus one is \", \"answer\": \"%d\"}\n", i, i+1)
	}
	if err := os.WriteFile(filepath.Join(dir, "q.jsonl"), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	runKilled(t, dir, time.Minute, codeOK, "random", "--shape", "tiny", "--out", "base", "--seed", "3")
	for name, flags := range map[string][]string{
		"own": {"--rank", "2", "--alpha", "3"}, "shared": {"--rank", "2", "--shared-a", "7"}, "full": {"--full"},
	} {
		finetune := func(timeout time.Duration, out string) (killed bool) {
			t.Helper()
			args := append([]string{"finetune", "base", "--data", "q.jsonl", "--out", out, "--backend", "go", "--steps", "90", "--set", "train.save_every=8",
				"--rows", "2", "--length", "64", "--eval-split", "0.2", "--lr", "0.02"}, flags...)
			return runKilled(t, dir, timeout, codeOK, args...)
		}
		start := time.Now()
		finetune(2*time.Minute, "whole/"+name)
		whole := time.Since(start)
		kills := 0
		for i := 1; finetune(whole*time.Duration(i)/12, "killed/"+name); i++ {
			if kills++; kills > 200 {
				t.Fatal("the fine-tune does not get on between kills")
			}
		}
		if kills < 2 {
			t.Errorf("%s: killed only %d times", name, kills)
		}
		t.Logf("%s: killed %d times, alone it took %v", name, kills, whole)
		for _, pattern := range []string{"%s/*.safetensors", "%s/config.json", "%s/adapter_config.json", "%s.state/recipe.yaml", "%s.state/loss.svg"} {
			sameFiles(t, dir, fmt.Sprintf(pattern, name))
		}
		a, errA := os.ReadFile(filepath.Join(dir, "whole", name+".state", "result.json"))
		b, errB := os.ReadFile(filepath.Join(dir, "killed", name+".state", "result.json"))
		if err := errors.Join(errA, errB); err != nil || !bytes.Equal(bytes.ReplaceAll(b, []byte("killed/"), []byte("whole/")), a) {
			t.Errorf("%s: result %s, after kills %s (%v)", name, a, b, err)
		}
	}
}

// sameFiles compares the files of a pattern in dir/whole with those in dir/killed.
func sameFiles(t *testing.T, dir, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "whole", pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		rel, err := filepath.Rel(filepath.Join(dir, "whole"), path)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := os.ReadFile(path)
		b, errB := os.ReadFile(filepath.Join(dir, "killed", rel))
		if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from that of a fine-tune that was not killed (%v)", rel, err)
		}
	}
}
