package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"d2nwg/safetensors"
)

// texts draws strings of what the small tokenizers know and don't know.
func texts() *rapid.Generator[string] {
	part := rapid.OneOf(rapid.SampledFrom([]string{
		" the", "word", "12", "  ", "\n", "日本", "漢", "é", "e\u0301", "😀", "ſ", "aa", "=", "<s>", "▁", "'S", "\xff", "\u0334",
	}), rapid.StringN(0, 3, -1))
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(part, 0, 60).Draw(t, "parts"), "")
	})
}

// Cutting long words where no merge joins, the cache, and keeping track of offsets are to change no token.
func TestFastPathsChangeNothing(t *testing.T) {
	f := readSmall(t)
	for i, test := range f.Tests {
		fast := mustParse(t, f.changed(t, i)).(*tokenizer)
		plain := mustParse(t, f.changed(t, i)).(*tokenizer)
		plain.model.joints = nil
		rapid.Check(t, func(rt *rapid.T) {
			text := texts().Draw(rt, "text")
			want, err := plain.EncodeOffsets(text, true)
			if err != nil {
				rt.Fatal(err)
			}
			got, _ := fast.EncodeOffsets(text, true)
			ids, _ := fast.Encode(text, true)
			again, _ := fast.Encode(text, true)
			if d := cmp.Diff(want, got); d != "" || !slices.Equal(ids, want.IDs) || !slices.Equal(again, want.IDs) {
				rt.Fatalf("%s: %q: %v, %v, %s", test.Name, text, ids, again, d)
			}
			runes := utf8.RuneCountInString(strings.ToValidUTF8(text, "\uFFFD"))
			for j := 0; j < len(got.Offsets); j += 2 {
				if a, b := got.Offsets[j], got.Offsets[j+1]; a < 0 || a > b || b > max(runes, utf8.RuneCountInString(text)) {
					rt.Fatalf("%s: %q: offsets %v", test.Name, text, got.Offsets)
				}
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	e := Encoding{IDs: []int{9, 1, 2, 3, 8}, Offsets: []int{0, 0, 0, 1, 1, 2, 2, 3, 0, 0}, Before: 1, After: 1}
	cases := []struct {
		n    int
		left bool
		want []int
	}{
		{6, false, []int{9, 1, 2, 3, 8}}, {4, false, []int{9, 1, 2, 8}}, {4, true, []int{9, 2, 3, 8}}, {2, true, []int{9, 8}},
		{0, false, []int{9, 8}},
	}
	for _, c := range cases {
		got := e.Truncated(c.n, c.left)
		if !slices.Equal(got.IDs, c.want) || len(got.Offsets) != 2*len(got.IDs) {
			t.Errorf("%d left %v: %v %v, want %v", c.n, c.left, got.IDs, got.Offsets, c.want)
		}
	}
	if len(e.IDs) != 5 || e.IDs[1] != 1 {
		t.Error("the encoding was changed")
	}
}

// Rust's String::from_utf8_lossy on these bytes, and the examples of the Unicode standard, section 3.9, table 3-8.
func TestLossy(t *testing.T) {
	cases := map[string]string{
		"a\xf1\x80\x80\xe1\x80\xc2b\x80c\x80\xbfd": "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd",
		"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41":     "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA",
		"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41":     "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA",
		"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42":     "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB",
		"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41":     "\uFFFD\uFFFD\uFFFD\uFFFDA",
		"\xf0\x9f\x98":                             "\uFFFD",
		"\xe6\x97":                                 "\uFFFD",
	}
	for in, want := range cases {
		if got := lossy([]byte(in)); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

// Files that are broken or hostile end soon in one error of the format.
func TestMalformed(t *testing.T) {
	const model = `{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`
	deep := strings.Repeat(`{"type":"Sequence","normalizers":[`, 5000) + strings.Repeat(`]}`, 5000)
	junk := make([]byte, 100<<20)
	for i := range junk {
		junk[i] = byte(rand.Uint32())
	}
	cases := map[string]string{
		"empty":           "",
		"truncated":       model[:40],
		"no object":       `[1, 2]`,
		"trailing":        `{"model":` + model + `} x`,
		"deep":            `{"normalizer":` + deep + `,"model":` + model + `}`,
		"brackets":        `{"model":` + strings.Repeat("[", 10<<20),
		"no merges":       `{"model":{"type":"BPE","vocab":{"a":0}}}`,
		"unknown part":    `{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a c"]}}`,
		"cycle":           `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["ab a","a ab"]}}`,
		"three parts":     `{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a","a"]]}}`,
		"merges no list":  `{"model":{"type":"BPE","vocab":{"a":0},"merges":{"a":1}}}`,
		"number in merge": `{"model":{"type":"BPE","vocab":{"a":0},"merges":[[1,2]]}}`,
		"id too large":    `{"model":{"type":"BPE","vocab":{"a":4294967296},"merges":[]}}`,
		"id fraction":     `{"model":{"type":"BPE","vocab":{"a":1.5},"merges":[]}}`,
		"id negative":     `{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`,
		"id text":         `{"model":{"type":"BPE","vocab":{"a":"1"},"merges":[]}}`,
		"template id":     `{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[77]}}},"model":` + model + `}`,
		"bad UTF-8":       "{\"model\":" + model + ",\"x\":\"\xff\"}",
		"bad escape":      `{"model":{"type":"BPE","vocab":{"\q":0},"merges":[]}}`,
		"bad regex":       `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false},"model":` + model + `}`,
		"bad class":       `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Isolated","invert":false},"model":` + model + `}`,
		"long added":      `{"added_tokens":[{"content":"` + strings.Repeat("a", 50<<20) + `"}],"model":` + model + `}`,
		"long name":       `{"decoder":{"type":"` + strings.Repeat("a", 50<<20) + `"},"model":` + model + `}`,
		"junk":            string(junk),
		"zeros":           string(make([]byte, 100<<20)),
		"one string":      `{"model":"` + strings.Repeat("x", 100<<20) + `"}`,
	}
	for name, data := range cases {
		start := time.Now()
		_, err := Parse([]byte(data))
		if !errors.Is(err, safetensors.ErrFormat) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.300v", name, err)
		}
		if d := time.Since(start); d > 10*time.Second { // far beyond what any takes: a sign of quadratic work
			t.Errorf("%s took %v", name, d)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(`{"model":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("the error %v doesn't name the file", err)
	}
}

// Counts without bound take no more time than there is to strip.
func TestStripOfManyCharacters(t *testing.T) {
	tok := mustParse(t, small("null", `{"type":"Strip","content":"a","start":1000000000000,"stop":1000000000000}`,
		`{"type":"BPE","vocab":{"aba":0},"merges":[]}`, ""))
	if got := tok.Decode([]int{0}, false); got != "b" {
		t.Errorf("stripped to %q", got)
	}
}

// A token that strips white space may swallow others that strip, too; the reference has no answer to the last.
func TestStrippedTokensMaySwallowOthers(t *testing.T) {
	tok := mustParse(t, small("null", "null", `{"type":"BPE","vocab":{"x":0," ":1},"merges":[]}`,
		`{"content":"<R>","rstrip":true},{"content":"\t","lstrip":true},{"content":"\n"}`))
	for text, want := range map[string][]int{"<R>\tx": {2, 0}, "<R>\n x": {2, 4, 1, 0}, "<R> \t x": {2, 0}} {
		if got := encode(t, tok, text, false); !cmp.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
}

// Ids are handed out as the reference does: what the model knows keeps its id, the others follow it.
func TestAddedTokensAreNumbered(t *testing.T) {
	tok := mustParse(t, small("null", "null", `{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}`,
		`{"id":7,"content":"<x>"},{"id":9,"content":"b"},{"id":11,"content":""},{"id":12,"content":"<y>"}`))
	if got := encode(t, tok, "a<y>b<x>", false); !cmp.Equal(got, []int{0, 3, 1, 2}) {
		t.Errorf("ids %v", got)
	}
}

func TestStreamWaitsForWholeCharacters(t *testing.T) {
	tok := mustParse(t, NewASCII())
	ids := encode(t, tok, "a😀é", false)
	var got []string
	s := NewStream(tok, true)
	for _, id := range ids {
		got = append(got, s.Add(id))
	}
	if want := []string{"a", "", "", "", "😀", "", "é"}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Bytes that never become a character don't wait forever.
	s = NewStream(tok, true)
	out := 0
	for range 50 {
		out += len(s.Add(asciiBytes + 0x80))
	}
	if out == 0 {
		t.Error("fifty stray bytes gave no text")
	}
}

// The time a byte takes must not grow with the length of a word.
func TestLongWordsAreNotQuadratic(t *testing.T) {
	f := readSmall(t)
	for i, test := range f.Tests {
		tok := mustParse(t, f.changed(t, i))
		for _, unit := range []string{"a", " ", "aaaaab", "😀", "\n", "=-", "<", "日本"} {
			start := time.Now()
			if _, err := tok.Encode(strings.Repeat(unit, 200_000/len(unit)), false); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > 8*time.Second { // linear: 20 ms; quadratic: minutes
				t.Errorf("%s: 200 KB of %q took %v", test.Name, unit, d)
			}
		}
	}
}

func TestRegexTranslation(t *testing.T) {
	cases := []struct {
		regex, text string
		want        []string
	}{
		{`(?i:'s|k)`, "'ſ 'S K k \u212A x", []string{"'ſ", "'S", "K", "k", "\u212A"}},
		{`\p{N}{1,2}+`, "12345", []string{"12345"}}, // Ruby: a quantifier of a quantifier
		{`a++a|b`, "aaab", []string{"b"}},
		{`[^\s\p{L}]+`, "ab, 12!x", []string{",", "12!"}},
		{`[\P{L}]+`, "ab, 12!x", []string{", 12!"}},
		{`[a\-z]+|[\]x-]`, "a-z]b", []string{"a-z", "]"}},
		{`(?<=a)b|^c|d$`, "ab\ncd\nd", []string{"b", "c", "d", "d"}},
		{`a{,2}b`, "aaab", []string{"aab"}},
		{`(?i:[’']S)`, "’s", []string{"’s"}},
		{`𐐀+`, "x𐐀𐐀", []string{"𐐀𐐀"}},
		{"\\p{L}", "\U00010D4A", []string{"\U00010D4A"}}, // a letter since Unicode 16
	}
	for _, c := range cases {
		re, err := newRegex(c.regex)
		if err != nil {
			t.Errorf("%s: %v", c.regex, err)
			continue
		}
		var got []string
		for _, m := range re.find(c.text) {
			got = append(got, c.text[m.start:m.end])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s in %q finds %q, want %q", c.regex, c.text, got, c.want)
		}
	}
	for _, bad := range []string{`\p{Greek}`, `[a[b]]`, `[a&&b]`, `(a`, `\X`, `(?<n>a)`, `[z-a]`, `a{`, `\`,
		`a{b}`, `a{2}?`, `(?i:ss)`, `(?i:é)`, `(?i:[a-c])`, `(?i:[é])`, `(?i:\p{Lu})`, strings.Repeat("a+", 5000)} {
		if _, err := newRegex(bad); err == nil || !strings.Contains(err.Error(), "isn't supported") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The scanners find what their regular expressions find.
func TestScannersAgainstRegexp2(t *testing.T) {
	for _, source := range []string{gpt2Regex, llama3Regex, cl100kRegex, qwenRegex} {
		re, err := newRegex(source)
		if err != nil {
			t.Fatal(err)
		}
		words := scannedWords{scannerOf(source)}
		rapid.Check(t, func(rt *rapid.T) {
			text := strings.ToValidUTF8(texts().Draw(rt, "text"), "")
			if got, want := words.find(text), re.find(text); !slices.Equal(got, want) {
				rt.Fatalf("%q: %v, want %v", text, got, want)
			}
		})
	}
}

func TestReaderAgainstEncodingJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key, value := rapid.String().Draw(rt, "key"), rapid.IntRange(0, 1<<20).Draw(rt, "value")
		data := []byte(fmt.Sprintf(" { %s : %d , \"x\":[ {} , \"}\" , -1e5,true ] }\n", quoted(rt, key), value))
		all, err := members(data)
		if err != nil {
			rt.Fatal(err)
		}
		if key != "x" && string(bytes.TrimSpace(all[key])) != fmt.Sprint(value) {
			rt.Fatalf("%q is %s, want %d", key, all[key], value)
		}
		if string(all["x"]) != `[ {} , "}" , -1e5,true ]` {
			rt.Fatalf("x is %s", all["x"])
		}
	})
}

func quoted(t *rapid.T, s string) []byte {
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
