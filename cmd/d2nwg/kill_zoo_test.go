package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
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
	writeTasks(t, filepath.Join(dir, "tasks"))
	runKilled(t, dir, time.Minute, codeOK, "random", "--shape", "tiny", "--out", "base", "--seed", "3")
	untilDone := func(what string, parts int, args func(side string) []string) {
		t.Helper()
		start := time.Now()
		runKilled(t, dir, 2*time.Minute, codeOK, args("whole")...)
		whole := time.Since(start)
		kills := 0
		for i := 1; runKilled(t, dir, whole*time.Duration(i)/time.Duration(parts), codeOK, args("killed")...); i++ {
			if kills++; kills > 200 {
				t.Fatalf("%s does not get on between kills", what)
			}
		}
		if kills < 2 {
			t.Errorf("%s was killed only %d times", what, kills)
		}
		t.Logf("%s: killed %d times, alone it took %v", what, kills, whole)
	}
	untilDone("zoo build", 12, func(side string) []string {
		return []string{"zoo", "build", filepath.Join(side, "zoo"), "--from", "tasks", "--base", "base", "--steps", "80", "--rank", "2", "--lr", "0.01",
			"--group", "3", "--seeds", "2", "--oracles", "--backend", "go"}
	})
	for _, side := range []string{"whole", "killed"} {
		files := 0
		err := filepath.WalkDir(filepath.Join(dir, side, "zoo"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files++
			}
			return err
		})
		// The index, a file of questions and two adapters of two files of each task, the manifest, the journal, and nothing else.
		if want := 1 + 4 + 4*2*2 + 2; err != nil || files != want {
			t.Errorf("%s/zoo has %d files, want %d (%v)", side, files, want, err)
		}
	}
	for _, pattern := range []string{"zoo/*.json*", "zoo/adapters/*/*", "zoo/oracles/*/*"} {
		sameFiles(t, dir, pattern)
	}
	untilDone("zoo learn", 5, func(side string) []string {
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
		split := "train"
		if k == 3 {
			split = "held-out"
		}
		index = append(index, map[string]any{"name": name, "split": split, "description": fmt.Sprintf("Write the letter %c.", 'a'+k)})
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
