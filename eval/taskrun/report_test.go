package taskrun

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/internal/jinja"
)

func goldenReports(t *testing.T) []string {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, _ := filepath.Glob(filepath.Join(root, "golden", "eval", "report", "*", "*", "results_*.json"))
	if len(files) == 0 {
		t.Skipf("no recorded reports below %s: set D2NWG_SHARED to the shared folder", root)
	}
	return files
}

func readDict(t *testing.T, data []byte) *jinja.Dict {
	v, err := jinja.DecodeJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return v.(*jinja.Dict)
}

// TestGoldenTable prints recorded results; the table is the harness' own.
func TestGoldenTable(t *testing.T) {
	for _, file := range goldenReports(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(file)), "table.md"))
		if err != nil {
			t.Fatal(err)
		}
		got := Table(readDict(t, data))
		if d := cmp.Diff(strings.TrimSpace(string(want)), strings.TrimSpace(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}

// TestGoldenJSON writes recorded files anew: every byte is as the harness wrote it.
func TestGoldenJSON(t *testing.T) {
	lines := 0
	for _, file := range goldenReports(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Split(string(data), "\n"), strings.Split(string(encode(readDict(t, data), 2)), "\n")); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
		samples, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "samples_*.jsonl"))
		for _, s := range samples {
			data, err := os.ReadFile(s)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				lines++
				line = strings.TrimSuffix(line, "\n")
				if got := string(encode(readDict(t, []byte(line)), 0)); got != line {
					t.Errorf("%s: got  %.300s\nwant %.300s", s, got, line)
				}
			}
		}
	}
	t.Logf("%d samples held", lines)
}
