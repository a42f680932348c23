package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const killTasks = `
task: %s
dataset_path: own
test_split: test
output_type: %s
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
`

// TestKilledEvalEndsTheSame kills eval with SIGKILL again and again, later each time and with other numbers of workers;
// results and samples must be those of an evaluation that nobody touched, but for the times.
func TestKilledEvalEndsTheSame(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("tasks/likely.yaml", fmt.Sprintf(killTasks, "likely", "loglikelihood"))
	write("tasks/written.yaml", fmt.Sprintf(killTasks, "written", "generate_until")+"generation_kwargs: {until: [\"\\n\"], max_gen_toks: 12}\n")
	var rows strings.Builder
	for i := range 120 {
		fmt.Fprintf(&rows, "{\"q\": \"Number %d and what came before it, told at some length\", \"a\": \"more %d\"}\n", i, i*i)
	}
	write("data/own/test.jsonl", rows.String())
	eval := func(timeout time.Duration, args ...string) (killed bool) {
		t.Helper()
		return runKilled(t, dir, timeout, codeOK, args...)
	}
	eval(time.Minute, "random", "--shape", "tiny", "--out", "base", "--seed", "3")
	run := []string{"eval", "base", "--tasks", "likely,written", "--include_path", "tasks", "--data", "data", "--log_samples", "--quiet", "--output_path"}
	start := time.Now()
	eval(2*time.Minute, append(run, "whole")...)
	whole := time.Since(start)
	kills := 0
	for i := 1; eval(whole*time.Duration(i)/12, append(run, "killed", "--workers", fmt.Sprint(1+i%3))...); i++ {
		if kills++; i > 200 {
			t.Fatal("the evaluation does not get on between kills")
		}
	}
	if kills < 2 {
		t.Errorf("killed only %d times", kills)
	}
	t.Logf("killed %d times", kills)
	for _, pattern := range []string{"results_*.json", "samples_likely_*", "samples_written_*"} {
		if a, b := untimed(t, filepath.Join(dir, "whole", "base", pattern)), untimed(t, filepath.Join(dir, "killed", "base", pattern)); a != b {
			t.Errorf("%s differs from that of an evaluation that was not killed", pattern)
		}
	}
}

var times = regexp.MustCompile(`(?m)^ *"(date|total_evaluation_time_seconds)".*$`)

// untimed reads the newest file of a pattern without its times: a run that is killed between its last file and its end
// leaves files that the next one writes again, under a later time.
func untimed(t *testing.T, pattern string) string {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v (%v)", pattern, files, err)
	}
	data, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	return times.ReplaceAllString(string(data), "")
}
