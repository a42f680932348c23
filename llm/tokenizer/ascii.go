package tokenizer

import (
	"bytes"
	"fmt"
	"strconv"
)

// The ids of the bundled model's vocabulary.
const (
	asciiUnk     = 0
	asciiBOS     = 1
	asciiEOS     = 2
	asciiBytes   = 3                // <0x00> … <0xFF>
	asciiNewline = asciiBytes + 256 // "\n"
	asciiSpace   = asciiNewline + 1 // " " … "~", the printable characters in ASCII's order
	asciiSize    = asciiSpace + 95
)

// NewASCII returns the tokenizer.json of the bundled model: <unk>, <s>, </s>, 256 byte tokens, the newline and the 95
// printable ASCII characters, without merges. A character is a token, any other character its UTF-8 bytes, and nothing
// is added to a text but <s> at its start, so that decoding gives back every text. Hugging Face's library reads it.
func NewASCII() []byte {
	var b bytes.Buffer
	b.WriteString(`{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [
`)
	for id, token := range []string{asciiUnk: "<unk>", asciiBOS: "<s>", asciiEOS: "</s>"} {
		comma := ","
		if id == asciiEOS {
			comma = ""
		}
		fmt.Fprintf(&b, `    {"id": %d, "content": %q, "single_word": false, "lstrip": false, "rstrip": false, `+
			`"normalized": false, "special": true}%s`+"\n", id, token, comma)
	}
	fmt.Fprintf(&b, `  ],
  "normalizer": null,
  "pre_tokenizer": null,
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [%d], "tokens": ["<s>"]}}
  },
  "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": "<unk>",
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": true,
    "ignore_merges": false,
    "vocab": {
`, asciiBOS)
	for id := range asciiSize {
		comma := ","
		if id == asciiSize-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "      %s: %d%s\n", strconv.Quote(asciiToken(id)), id, comma) // Go's quotes of ASCII are JSON's
	}
	b.WriteString("    },\n    \"merges\": []\n  }\n}\n")
	return b.Bytes()
}

func asciiToken(id int) string {
	switch {
	case id == asciiUnk:
		return "<unk>"
	case id == asciiBOS:
		return "<s>"
	case id == asciiEOS:
		return "</s>"
	case id < asciiNewline:
		return fmt.Sprintf("<0x%02X>", id-asciiBytes)
	case id == asciiNewline:
		return "\n"
	}
	return string(rune(' ' + id - asciiSpace))
}
