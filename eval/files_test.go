package eval

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/internal/stats"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	data := []byte(content)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(data)
		w.Close()
		data = b.Bytes()
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func total(d *Dataset) int {
	n := 0
	for _, split := range stats.Splits {
		n += d.Items(split)
	}
	return n
}

func TestReadQuestions(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "{\"prompt\": \"%d+1=\", \"answer\": \"%d\"}\n\n", i, i+1)
	}
	b.WriteString(`{"answer": "1", "prompt": "0+1="}`) // a repetition, without a newline
	for _, name := range []string{"q.jsonl", "q.jsonl.gz"} {
		d, err := ReadQuestions(write(t, name, b.String()), stats.DefaultShares)
		if err != nil {
			t.Fatal(err)
		}
		if total(d) != 200 || d.CheckJudged() != nil {
			t.Errorf("%d questions", total(d))
		}
		for split, questions := range d.Questions {
			for _, q := range questions {
				if stats.DefaultShares.Cut(q.Prompt) != split {
					t.Fatalf("%+v is in %s", q, split)
				}
			}
		}
	}
}

func TestReadQuestionsRefusals(t *testing.T) {
	good := `{"prompt": "a", "answer": "b"}` + "\n"
	for name, c := range map[string]struct{ content, want string }{
		"empty":      {"\n \n", "no question"},
		"not json":   {good + "prompt,answer", "line 2"},
		"array":      {good + `["a", "b"]`, "line 2"},
		"other key":  {good + `{"prompt": "a", "answer": "b", "label": 1}`, `unknown field "label"`},
		"no answer":  {good + good + `{"prompt": "c"}`, `line 3: "answer" is missing`},
		"null":       {`{"prompt": null, "answer": "b"}`, `line 1: "prompt" is missing`},
		"empty text": {`{"prompt": "a", "answer": ""}`, `"answer" is missing or empty`},
		"number":     {`{"prompt": "a", "answer": 5}`, "line 1"},
		"two":        {`{"prompt": "a", "answer": "b"} {}`, "follows the object"},
		"conflict":   {good + "\n" + `{"prompt": "a", "answer": "c"}`, "line 3: the prompt of line 1"},
		"utf-8":      {"{\"prompt\": \"\xff\", \"answer\": \"b\"}", "line 1: not valid UTF-8"},
		"long line":  {good + `{"prompt": "` + strings.Repeat("a", 1<<20) + `"}`, "after line 1: a line is longer"},
		"no gzip.gz": {"", ""},
	} {
		path := write(t, name, c.content)
		if name == "no gzip.gz" {
			os.WriteFile(path, []byte("plain"), 0o644)
		}
		_, err := ReadQuestions(path, stats.DefaultShares)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadQuestions("nowhere.jsonl", stats.DefaultShares); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := ReadQuestions(write(t, "q", good), stats.Shares{Train: 10}); err == nil {
		t.Error("shares of 10 % were accepted")
	}
}

func TestReadDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		text, separator string
		want            int
	}{
		"end of text": {"one\n\n\ntwo<|endoftext|>\nthree\n<|endoftext|>one\n\n\ntwo", "", 2},
		"two blanks":  {"one\n\npart\n\n\ntwo\n\n\n\nthree\n", "", 3},
		"one blank":   {"one\nline\r\n\r\ntwo\n\nthree\n\none\nline", "", 3},
		"given":       {"one\n\ntwo---three\n---", "---", 2},
		"whole":       {"only one", "", 1},
	} {
		d, err := ReadDocuments(write(t, "t.txt.gz", c.text), c.separator, stats.DefaultShares)
		if err != nil || total(d) != c.want {
			t.Errorf("%s: %d documents, want %d (%v): %q", name, total(d), c.want, err, d.Documents)
			continue
		}
		for split, documents := range d.Documents {
			for _, text := range documents {
				if text != strings.TrimSpace(text) || stats.DefaultShares.Cut(text) != split {
					t.Errorf("%s: %q in %s", name, text, split)
				}
			}
		}
	}
	for name, content := range map[string]string{"empty": " \n\n", "binary": "\xff\xfe\x00"} {
		if _, err := ReadDocuments(write(t, name, content), "", stats.DefaultShares); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	d, err := ReadDocuments(write(t, "t", "a\n\nb"), "", stats.DefaultShares)
	if err != nil || d.CheckJudged() == nil {
		t.Error("two documents were enough for a search")
	}
}
