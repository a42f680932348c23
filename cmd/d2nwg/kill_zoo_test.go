package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledZooEndsTheSame kills the building of a zoo, and then the training of its generator, with SIGKILL again and again, later each
// time; both must end with the bytes of those that nobody touched.
func TestKilledZooEndsTheSame(t *testing.T) {
	dir := t.TempDir()
	for _, side := range []string{"whole", "killed"} {
		writeTasks(t, filepath.Join(dir, side, "zoo"))
	}
	runKilled(t, dir, time.Minute, codeOK, "random", "--shape", "tiny", "--out", "base", "--seed", "3")
	untilDone := func(what string, args func(side string) []string) {
		t.Helper()
		start := time.Now()
		runKilled(t, dir, 2*time.Minute, codeOK, args("whole")...)
		whole := time.Since(start)
		kills := 0
		for i := 1; runKilled(t, dir, whole*time.Duration(i)/5, codeOK, args("killed")...); i++ {
			if kills++; kills > 200 {
				t.Fatalf("%s does not get on between kills", what)
			}
		}
		if kills < 2 {
			t.Errorf("%s was killed only %d times", what, kills)
		}
		t.Logf("%s: killed %d times, alone it took %v", what, kills, whole)
	}
	untilDone("zoo build", func(side string) []string {
		return []string{"zoo", "build", filepath.Join(side, "zoo"), "--base", "base", "--steps", "150", "--rank", "2", "--rows", "2", "--length", "16", "--group", "2", "--backend", "go"}
	})
	sameFiles(t, dir, "zoo/manifest.json")
	sameFiles(t, dir, "zoo/adapters/*/*")
	untilDone("zoo learn", func(side string) []string {
		return []string{"zoo", "learn", filepath.Join(side, "zoo"), "--base", "base", "--out", filepath.Join(side, "gen"), "--steps", "8", "--diffusion-steps", "8", "--length", "16", "--backend", "go"}
	})
	sameFiles(t, dir, "gen/*")
}

// writeTasks makes a folder of four tasks.
func writeTasks(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var index []map[string]any
	for k := range 4 {
		name := fmt.Sprint("task", k)
		index = append(index, map[string]any{"name": name, "split": "train", "description": fmt.Sprintf("Write the letter %c.", 'a'+k)})
		var lines strings.Builder
		for i := range 40 {
			fmt.Fprintf(&lines, "{\"prompt\": \"%d>\", \"answer\": \"%c\"}\n", i, 'a'+k)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
