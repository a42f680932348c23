package python

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"d2nwg/internal/jinja"
)

func TestGoldenStrings(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared(t), "golden", "eval", "python_str.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	held, cut := 0, 0
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var c struct {
			S, Capitalize, Lower, Upper, Strip, Repr string
			IsDigit                                  bool
			SplitLines                               []string
		}
		if json.Unmarshal(line, &c) != nil {
			cut++ // the file's lines were cut at U+2028 and its like
			continue
		}
		repr, err := jinja.Repr(c.S)
		lines := jinja.SplitLines(c.S)
		if err != nil || repr != c.Repr || jinja.Capitalize(c.S) != c.Capitalize || jinja.Lower(c.S) != c.Lower ||
			jinja.Upper(c.S) != c.Upper || jinja.Strip(c.S) != c.Strip || jinja.IsDigits(c.S) != c.IsDigit ||
			!slices.Equal(lines, c.SplitLines) {
			t.Errorf("%s: repr %s, capitalize %q, lower %q, upper %q, strip %q, lines %q", line, repr, jinja.Capitalize(c.S),
				jinja.Lower(c.S), jinja.Upper(c.S), jinja.Strip(c.S), lines)
			continue
		}
		held++
	}
	t.Logf("%d held, %d cut lines", held, cut)
}
