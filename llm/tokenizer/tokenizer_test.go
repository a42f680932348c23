package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"d2nwg/safetensors"
)

// small returns a tokenizer.json from the parts a test is about.
func small(normalizer, decoder, model, added string) []byte {
	return []byte(fmt.Sprintf(`{"added_tokens": [%s], "normalizer": %s, "decoder": %s, "model": %s}`,
		added, normalizer, decoder, model))
}

func mustParse(t interface{ Fatal(...any) }, data []byte) Tokenizer {
	tok, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func encode(t *testing.T, tok Tokenizer, text string, special bool) []int {
	t.Helper()
	ids, err := tok.Encode(text, special)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestASCIIIsReversible(t *testing.T) {
	tok := mustParse(t, NewASCII())
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(),
			rapid.StringMatching(`[ -~\n]{0,40}`),
			rapid.StringMatching(`(<0x[0-9A-F]{2}>|<s>|</s>|<unk>| |▁|é){0,8}`)).Draw(rt, "text")
		ids, err := tok.Encode(text, false)
		if err != nil {
			rt.Fatal(err)
		}
		if got := tok.Decode(ids, false); got != text {
			rt.Fatalf("%q came back as %q", text, got)
		}
		for _, id := range ids {
			if id == asciiUnk && !strings.Contains(text, "<unk>") {
				rt.Fatalf("%q has an unknown token", text)
			}
		}
	})
}

func TestASCIIVocabulary(t *testing.T) {
	tok := mustParse(t, NewASCII())
	if tok.VocabSize() != 3+256+1+95 {
		t.Fatalf("vocabulary of %d", tok.VocabSize())
	}
	if bos, ok := tok.BOS(); bos != 1 || !ok {
		t.Errorf("BOS %d %v", bos, ok)
	}
	if eos, ok := tok.EOS(); eos != 2 || !ok {
		t.Errorf("EOS %d %v", eos, ok)
	}
	if got := encode(t, tok, "\n ~", true); !cmp.Equal(got, []int{1, 259, 260, 354}) {
		t.Errorf("newline, space and tilde are %v", got)
	}
	for c := rune(0); c < 128; c++ {
		if got := encode(t, tok, string(c), false); len(got) != 1 {
			t.Errorf("%q is %d tokens", c, len(got))
		}
	}
	if got := encode(t, tok, "é", false); !cmp.Equal(got, []int{3 + 0xC3, 3 + 0xA9}) {
		t.Errorf("é is %v", got)
	}
	// A run of bytes that isn't UTF-8 as a whole becomes one U+FFFD a byte.
	if got := tok.Decode([]int{1, 3 + 0xC3, 3 + 0xA9, 3 + 0xC3, 260, -1, 999, 2}, true); got != "\uFFFD\uFFFD\uFFFD " {
		t.Errorf("an invalid run of bytes decodes to %q", got)
	}
}

const merging = `{"type": "BPE", "vocab": {"a":0,"b":1,"c":2,"aa":3,"ab":4,"abc":5,"bc":6,"aaa":7}, "merges": %s}`

func TestMergesByRankThenLeftmost(t *testing.T) {
	cases := []struct {
		merges, text string
		want         []int
	}{
		{`["a b", "b c"]`, "abc", []int{4, 2}},
		{`["b c", "a b", "a bc"]`, "abc", []int{5}},
		{`["a a"]`, "aaa", []int{3, 0}},
		{`["a a", "aa a"]`, "aaaaa", []int{3, 7}},
		{`[["a", "a"], ["aa", "a"]]`, "aaa", []int{7}},
		{`["a b", "ab c"]`, "xaxbcabc", []int{5, 5}}, // without an unk_token x vanishes, and its neighbours meet
	}
	for _, c := range cases {
		tok := mustParse(t, small("null", `{"type": "Fuse"}`, fmt.Sprintf(merging, c.merges), ""))
		if got := encode(t, tok, c.text, false); !cmp.Equal(got, c.want) {
			t.Errorf("%s of %q gives %v, want %v", c.merges, c.text, got, c.want)
		}
	}
}

// Merging must find what the definition says: again and again, the leftmost of the pairs with the lowest rank.
func TestMergeAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &bpe{pairs: newPairTable(20)}
		for i := range rapid.IntRange(1, 12).Draw(rt, "merges") {
			top := int32(3 + i)
			m.pairs.add(rapid.Int32Range(0, top-1).Draw(rt, "left"), rapid.Int32Range(0, top-1).Draw(rt, "right"), top)
		}
		want := rapid.SliceOfN(rapid.Int32Range(0, 2), 2, 60).Draw(rt, "ids")
		var short []symbol
		for _, id := range want {
			short = append(short, symbol{id: id, size: 1})
		}
		long := slices.Clone(short)
		for {
			best, at := merge{rank: noMerge}, -1
			for i := range len(want) - 1 {
				if found := m.pairs.find(want[i], want[i+1]); found.rank < best.rank {
					best, at = found, i
				}
			}
			if at < 0 {
				break
			}
			want[at] = best.id
			want = append(want[:at+1], want[at+2:]...)
		}
		for name, got := range map[string][]symbol{"short": short[:m.mergeShort(short)], "long": long[:m.mergeLong(long, newQueue(len(m.pairs.left)))]} {
			var ids []int32
			size := int32(0)
			for _, x := range got {
				ids = append(ids, x.id)
				size += x.size
			}
			if !slices.Equal(ids, want) || int(size) != len(short) {
				rt.Fatalf("%s: got %v of %d bytes, want %v", name, ids, size, want)
			}
		}
	})
}

func TestUnknownCharacters(t *testing.T) {
	model := `{"type": "BPE", "unk_token": "?", "fuse_unk": %v, "byte_fallback": %v, "vocab": {"?":0,"a":1,"<0x62>":2}, "merges": []}`
	cases := []struct {
		fuse, fallback bool
		want           []int
	}{
		{false, false, []int{0, 0, 1, 0}},
		{true, false, []int{0, 1, 0}},
		{false, true, []int{2, 0, 1, 0}},
	}
	for _, c := range cases {
		tok := mustParse(t, small("null", "null", fmt.Sprintf(model, c.fuse, c.fallback), ""))
		if got := encode(t, tok, "bcaz", false); !cmp.Equal(got, c.want) {
			t.Errorf("fuse %v, fallback %v: %v, want %v", c.fuse, c.fallback, got, c.want)
		}
	}
}

func TestAddedTokens(t *testing.T) {
	model := `{"type": "BPE", "unk_token": "?", "vocab": {"?":0,"_":1,"a":2,"b":3," ":4}, "merges": []}`
	added := `{"id":5,"content":"<x>","special":true},{"id":6,"content":"<x>y"},
		{"id":7,"content":"ab","single_word":true},{"id":8,"content":"<l>","lstrip":true},{"id":9,"content":"<r>","rstrip":true},
		{"id":10,"content":"a b","normalized":true}`
	normalizer := `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},
		{"type":"Replace","pattern":{"String":" "},"content":"_"}]}`
	tok := mustParse(t, small(normalizer, `{"type":"Sequence","decoders":[{"type":"Fuse"}]}`, model, added))
	cases := []struct {
		text string
		want []int
	}{
		{"a<x>a", []int{1, 2, 5, 1, 2}}, // each segment is normalized by itself
		{"<x>y", []int{6}},              // the longest
		{"ab", []int{7}},
		{"aab", []int{1, 2, 2, 3}},
		{"a  <l>", []int{1, 2, 8}},
		{"<r>  a", []int{9, 1, 2}},
		{"", []int{}},
		{"ba b", []int{1, 3, 2, 1, 3}}, // its normalized form is _a_b
		{"a b", []int{10}},
	}
	for _, c := range cases {
		if got := encode(t, tok, c.text, false); !cmp.Equal(got, c.want) {
			t.Errorf("%q gives %v, want %v", c.text, got, c.want)
		}
	}
	if got := tok.Decode([]int{2, 5, 3}, true); got != "ab" {
		t.Errorf("skipping special tokens gives %q", got)
	}
	if got := tok.Decode([]int{2, 5, 3}, false); got != "a<x>b" {
		t.Errorf("keeping special tokens gives %q", got)
	}
}

func TestUnknownComponentsAreNamed(t *testing.T) {
	const model = `{"type":"BPE","vocab":{"a":0},"merges":[]}`
	cases := map[string]string{
		`{"normalizer":{"type":"NFKQ"},"model":` + model + `}`:                                                            `normalizer "NFKQ"`,
		`{"normalizer":{"type":"Replace","pattern":{"Regex":"\\X+"},"content":""},"model":` + model + `}`:                 `expression "\\X+"`,
		`{"pre_tokenizer":{"type":"Whitespread"},"model":` + model + `}`:                                                  `pre-tokenizer "Whitespread"`,
		`{"post_processor":{"type":"Bertish"},"model":` + model + `}`:                                                     `post-processor "Bertish"`,
		`{"decoder":{"type":"Sequence","decoders":[{"type":"Odd"}]},"model":` + model + `}`:                               `decoder "Odd"`,
		`{"model":{"type":"Bigram"}}`:                                                                                     `model "Bigram"`,
		`{"model":{"type":"BPE","dropout":0.1,"vocab":{}}}`:                                                               "dropout",
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`:                                                       `"a" + "b"`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}}`:                                                         "merge 0",
		`{"model":{"type":"BPE","unk_token":"u","vocab":{"a":0},"merges":[]}}`:                                            `"u"`,
		`{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}`:                                                      "share the id 0",
		`{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`:                                                           "-1",
		`{"model":{"type":"BPE","vocab":{"a":99999999},"merges":[]}}`:                                                     "99999999",
		`{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]},"model":` + model + `}`: `"<s>"`,
		`{"model":{"type":"BPE","vocab":{"a":0}}}`:                                                                        "lacks its merges",
		`{}`:   "model is missing",
		`nope`: "tokenizer.json",
	}
	for data, want := range cases {
		_, err := Parse([]byte(data))
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: error %v, want one with %s", data, err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing tokenizer gives %v", err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tokenizer.json", string(NewASCII()))
	write("tokenizer_config.json", `{"bos_token": "", "eos_token": {"content": "~"}}`)
	write("special_tokens_map.json", `{"bos_token": "</s>", "eos_token": ""}`)
	tok, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	bos, _ := tok.BOS()
	eos, _ := tok.EOS()
	if bos != asciiEOS || eos != asciiSize-1 {
		t.Errorf("BOS %d, EOS %d", bos, eos)
	}
	write("tokenizer_config.json", `{"eos_token": "no such token"}`)
	if _, err := Open(dir); !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), "no such token") {
		t.Errorf("an unknown eos_token gives %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(NewASCII(), "a text")
	f.Add(small(`{"type":"Prepend","prepend":"_"}`, `{"type":"Strip","content":" ","start":1,"stop":0}`,
		fmt.Sprintf(merging, `["a b"]`), `{"id":9,"content":"<x>","lstrip":true}`), "abc <x>")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Parse(data)
		if err != nil {
			if !errors.Is(err, safetensors.ErrFormat) {
				t.Fatalf("%v isn't a format error", err)
			}
			return
		}
		ids, err := tok.Encode(text, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if id < 0 || id >= tok.VocabSize() {
				t.Fatalf("id %d outside the vocabulary of %d", id, tok.VocabSize())
			}
		}
		tok.Decode(ids, true)
	})
}
