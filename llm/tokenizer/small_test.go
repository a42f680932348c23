package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small is testdata/small.json: two small tokenizers, changes to them, and what Hugging Face's library makes of texts.
// internal/tools/tokenizers/small.mjs wrote it.
type smallFile struct {
	Bases map[string]map[string]json.RawMessage `json:"bases"`
	Tests []struct {
		Name    string                     `json:"name"`
		Base    string                     `json:"base"`
		Changes map[string]json.RawMessage `json:"changes"`
		Model   map[string]json.RawMessage `json:"model"`
		Cases   []goldenCase               `json:"cases"`
	} `json:"tests"`
}

func readSmall(t testing.TB) smallFile {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "small.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f smallFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// changed returns the tokenizer.json of test i.
func (f smallFile) changed(t testing.TB, i int) []byte {
	t.Helper()
	test := f.Tests[i]
	all := maps.Clone(f.Bases[test.Base])
	maps.Copy(all, test.Changes)
	var model map[string]json.RawMessage
	if err := json.Unmarshal(all["model"], &model); err != nil {
		t.Fatal(err)
	}
	maps.Copy(model, test.Model)
	var err error
	if all["model"], err = json.Marshal(model); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestComponentsAgainstHuggingFace(t *testing.T) {
	f := readSmall(t)
	cases := 0
	for i, test := range f.Tests {
		tok := mustParse(t, f.changed(t, i))
		for _, c := range test.Cases {
			cases++
			if bad := c.failures(tok); len(bad) > 0 {
				t.Errorf("%s: %q: %s", test.Name, c.Text, strings.Join(bad, "; "))
			}
		}
	}
	t.Logf("%d tokenizers, %d cases", len(f.Tests), cases)
}

// A stream gives out the text of all ids, in pieces that are whole characters.
func TestStreamGivesTheWholeText(t *testing.T) {
	f := readSmall(t)
	for i, test := range f.Tests {
		tok := mustParse(t, f.changed(t, i))
		for _, c := range test.Cases {
			for _, skip := range []bool{false, true} {
				s := NewStream(tok, skip)
				var got strings.Builder
				for _, id := range c.IDsSpecial {
					got.WriteString(s.Add(id))
				}
				got.WriteString(s.Rest())
				if want := tok.Decode(c.IDsSpecial, skip); got.String() != want {
					t.Errorf("%s, skip %v: %v streams as %q, decodes as %q", test.Name, skip, c.IDsSpecial, got.String(), want)
				}
			}
		}
	}
}
