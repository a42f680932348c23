package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenCase is a line of a golden file made with Hugging Face's tokenizers: an encoding where it has ids_special, a
// decoding where it has text_skip. Both are checked as far as the line goes.
type goldenCase struct {
	Text       string  `json:"text"`
	IDs        []int   `json:"ids"`
	IDsSpecial []int   `json:"ids_special"`
	Offsets    []int   `json:"offsets"`
	TextSkip   *string `json:"text_skip"`
	Decoded    *string `json:"decoded"`
	Skipped    *string `json:"decoded_skip"`
}

func readGolden(t *testing.T, path string) []goldenCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []goldenCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c goldenCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// failures checks one case and says what differs.
func (c goldenCase) failures(tok Tokenizer) []string {
	var bad []string
	same := func(what string, got, want any) {
		if d := cmp.Diff(want, got); d != "" {
			bad = append(bad, what+": "+d)
		}
	}
	if c.TextSkip != nil {
		same("decode", tok.Decode(c.IDs, false), c.Text)
		same("decode without special tokens", tok.Decode(c.IDs, true), *c.TextSkip)
		return bad
	}
	ids, err := tok.Encode(c.Text, false)
	if err != nil {
		return []string{err.Error()}
	}
	same("encode", ids, append([]int{}, c.IDs...))
	ids, err = tok.Encode(c.Text, true)
	if err != nil {
		return []string{err.Error()}
	}
	same("encode with special tokens", ids, append([]int{}, c.IDsSpecial...))
	if c.Offsets != nil {
		e, err := tok.EncodeOffsets(c.Text, false)
		if err != nil {
			return []string{err.Error()}
		}
		same("ids with offsets", e.IDs, append([]int{}, c.IDs...))
		same("offsets", e.Offsets, c.Offsets)
	}
	if c.Decoded != nil {
		same("decode", tok.Decode(c.IDs, false), *c.Decoded)
	}
	if c.Skipped != nil {
		same("decode without special tokens", tok.Decode(c.IDsSpecial, true), *c.Skipped)
	}
	return bad
}

func checkGolden(t *testing.T, tok Tokenizer, path string) {
	t.Helper()
	cases := readGolden(t, path)
	failed := 0
	for _, c := range cases {
		if bad := c.failures(tok); len(bad) > 0 {
			if failed++; failed <= 3 {
				t.Errorf("%s: %q: %s", filepath.Base(path), c.Text, strings.Join(bad, "; "))
			}
		}
	}
	t.Logf("%s: %d of %d cases held", filepath.Base(path), len(cases)-failed, len(cases))
	if failed > 0 {
		t.Errorf("%s: %d of %d cases failed", filepath.Base(path), failed, len(cases))
	}
}

func shared(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("D2NWG_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "golden")); err != nil {
		t.Skipf("no shared test data in %s; set D2NWG_SHARED to run this test", dir)
	}
	return dir
}

// tokenizerDirs lists the shared tokenizers.
func tokenizerDirs(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(shared(t), "tokenizers", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no tokenizers: %v", err)
	}
	return dirs
}

// The bundled tokenizer through the Rust library, written once by testdata/golden.mjs.
func TestASCIIAgainstHuggingFace(t *testing.T) {
	checkGolden(t, mustParse(t, NewASCII()), filepath.Join("testdata", "ascii.jsonl"))
}

// TestGoldenTokenizers checks every tokenizer of the shared data that this package can open. A file it refuses has to
// be refused for a component it names.
func TestGoldenTokenizers(t *testing.T) {
	root := shared(t)
	checked := 0
	for _, dir := range tokenizerDirs(t) {
		tok, err := Open(dir)
		if err != nil {
			if !strings.Contains(err.Error(), "isn't supported") {
				t.Errorf("%s: %v", filepath.Base(dir), err)
			}
			t.Logf("%s is refused: %v", filepath.Base(dir), err)
			continue
		}
		name := filepath.Base(dir)
		goldens, err := filepath.Glob(filepath.Join(root, "golden", "tokenizer", name+".*jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range goldens {
			checkGolden(t, tok, path)
			checked++
		}
	}
	if checked == 0 {
		t.Error("no golden file was checked")
	}
}

// TestGoldenModels checks the tokenizers of the shared models against testdata/NAME.jsonl, written by golden.mjs.
func TestGoldenModels(t *testing.T) {
	root := shared(t)
	files, err := filepath.Glob(filepath.Join(root, "models", "*", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		tok, err := Open(filepath.Dir(path))
		if err != nil {
			t.Error(err)
			continue
		}
		golden := filepath.Join("testdata", filepath.Base(filepath.Dir(path))+".jsonl")
		if _, err := os.Stat(golden); err != nil {
			t.Logf("%s opens; no golden for it", filepath.Base(filepath.Dir(path)))
			continue
		}
		checkGolden(t, tok, golden)
	}
}
