package chat

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"
)

// TestAgainstJinja2 checks testdata/jinja.jsonl, written by golden.py: the last line holds the variables of all.
func TestAgainstJinja2(t *testing.T) {
	cases := readGolden(t, filepath.Join("testdata", "jinja.jsonl"))
	data := cases[len(cases)-1].Data
	cases = cases[:len(cases)-1]
	if len(cases) < 600 || !json.Valid(data) {
		t.Fatalf("%d cases", len(cases))
	}
	now := time.Date(2025, 3, 9, 7, 4, 5, 0, time.UTC)
	failed := 0
	for _, c := range cases {
		c.Data = data
		if bad := c.failure(now); bad != "" {
			failed++
			t.Errorf("%s: %s: %s", c.Name, c.Template, bad)
		}
	}
	t.Logf("%d of %d cases held", len(cases)-failed, len(cases))
}
