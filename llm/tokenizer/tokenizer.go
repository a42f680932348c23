// Package tokenizer turns text into token ids and back exactly as the Hugging Face `tokenizers` library does with the
// same tokenizer.json. A tokenizer is a line of components:
//
//	text ─► added tokens cut out ─► normalizer ─► pre-tokenizer ─► model (BPE) ─► post-processor ─► ids
//	ids ─► tokens ─► decoder ─► text
//
// A component this package doesn't know is an error that names it, never a guess.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"d2nwg/safetensors"
)

// Tokenizer maps text to token ids and back. It is safe for concurrent use.
type Tokenizer interface {
	// Encode returns the ids of text. With special, the post-processor's tokens are added, such as <s> at the start.
	// Special tokens spelled out in the text are recognized in either case. Bytes that aren't UTF-8 count as U+FFFD.
	// The truncation and padding that a file may ask for are left out, as the transformers library leaves them.
	Encode(text string, special bool) ([]int, error)
	// EncodeOffsets also tells where in the text each token comes from.
	EncodeOffsets(text string, special bool) (Encoding, error)
	// Decode returns the text of ids; ids outside the vocabulary are left out, and with skipSpecial special tokens too.
	Decode(ids []int, skipSpecial bool) string
	// VocabSize is the largest id + 1.
	VocabSize() int
	// BOS and EOS are the ids of the tokens that begin and end a text, where the files name one.
	BOS() (int, bool)
	EOS() (int, bool)
}

// Encoding is a text as tokens.
type Encoding struct {
	IDs     []int
	Offsets []int // start and end of each token in code points of the text, 2·len(IDs); 0, 0 for added special tokens
	Before  int   // how many tokens the post-processor put before those of the text
	After   int   // and after them
}

// Truncated returns the encoding with at most n tokens: those of the text are cut at the end, or at the start where
// left is set; the post-processor's tokens count and stay, as long as there is room for them.
func (e Encoding) Truncated(n int, left bool) Encoding {
	over := len(e.IDs) - max(n, 0)
	if over <= 0 {
		return e
	}
	over = min(over, len(e.IDs)-e.Before-e.After)
	from := len(e.IDs) - e.After - over
	if left {
		from = e.Before
	}
	e.IDs = slices.Delete(slices.Clone(e.IDs), from, from+over)
	e.Offsets = slices.Delete(slices.Clone(e.Offsets), 2*from, 2*(from+over))
	return e
}

// Open reads tokenizer.json of a checkpoint directory, and the names of the begin and end tokens from
// tokenizer_config.json or special_tokens_map.json beside it. The error wraps fs.ErrNotExist where there is no
// tokenizer.json, safetensors.ErrFormat where it can't be used.
func Open(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: a checkpoint needs its tokenizer as tokenizer.json: %w", dir, fs.ErrNotExist)
	}
	if err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %w: %d bytes are more than a tokenizer has", path, safetensors.ErrFormat, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokenizer: %w", err)
	}
	var configs [][]byte
	for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		config, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tokenizer's settings: %w", err)
		}
		configs = append(configs, config)
	}
	t, err := Parse(data, configs...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse builds a tokenizer from the contents of a tokenizer.json and of the files that name the begin and end tokens
// (tokenizer_config.json, special_tokens_map.json), the first that names one wins. Errors wrap safetensors.ErrFormat.
func Parse(data []byte, configs ...[]byte) (Tokenizer, error) {
	t, err := parse(data, configs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", safetensors.ErrFormat, err)
	}
	return implementation(t, data)
}

// maxFile bounds the size of a tokenizer.json; the largest in use have 40 MB.
const maxFile = 1 << 30

// tokenizer is the line of components.
type tokenizer struct {
	added       addedTokens
	normalizers []normalizer
	pre         preTokenizer
	model       *bpe
	post        post
	decoders    []decoder
	size        int // largest id + 1
	bos, eos    int // -1 = none
	// aligned: words depend on where in the text a piece began, which after normalizers only spans tell.
	aligned  bool
	encoders sync.Pool // of *encoder
}

func parse(data []byte, configs [][]byte) (*tokenizer, error) {
	all, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	t := &tokenizer{}
	if t.normalizers, err = parseNormalizer(nil, all["normalizer"]); err != nil {
		return nil, err
	}
	if t.pre, err = parsePreTokenizer(all["pre_tokenizer"]); err != nil {
		return nil, err
	}
	if err := t.post.parse(all["post_processor"]); err != nil {
		return nil, err
	}
	if t.decoders, err = parseDecoder(nil, all["decoder"]); err != nil {
		return nil, err
	}
	if t.model, err = parseModel(all["model"], t.pre.byteLevel); err != nil {
		return nil, err
	}
	if t.added, err = parseAdded(all["added_tokens"], t.normalizers, t.model); err != nil {
		return nil, err
	}
	if err := t.finish(configs); err != nil {
		return nil, err
	}
	return t, nil
}

// finish checks what the components say of each other.
func (t *tokenizer) finish(configs [][]byte) error {
	t.size = len(t.model.tokens)
	for id := range t.added.byID {
		t.size = max(t.size, id+1)
	}
	for _, id := range slices.Concat(t.post.before, t.post.after) {
		if _, ok := t.token(id); !ok {
			return fmt.Errorf("the post-processor adds the id %d, which no token has", id)
		}
	}
	for _, s := range t.pre.steps {
		if m, ok := s.(metaspace); ok && m.scheme == "first" && len(t.normalizers) > 0 {
			t.aligned = true
		}
	}
	t.encoders.New = func() any { return &encoder{t: t} }
	var err error
	if t.bos, err = t.named("bos_token", configs, "<s>", "<|begin_of_text|>"); err != nil {
		return err
	}
	t.eos, err = t.named("eos_token", configs, "</s>", "<|end_of_text|>")
	return err
}

// named returns the id of the token that a setting names, else of the first of the usual names that is an added token,
// else -1.
func (t *tokenizer) named(setting string, configs [][]byte, usual ...string) (int, error) {
	for _, config := range configs {
		var settings map[string]json.RawMessage
		if err := json.Unmarshal(config, &settings); err != nil {
			return -1, fmt.Errorf("tokenizer settings: %w", err)
		}
		raw := settings[setting]
		if isNull(raw) {
			continue
		}
		var token struct {
			Content string `json:"content"`
		}
		if json.Unmarshal(raw, &token.Content) != nil && json.Unmarshal(raw, &token) != nil {
			return -1, fmt.Errorf("tokenizer settings: %s is neither a text nor an object with content", setting)
		}
		if token.Content == "" {
			continue // as the first LLaMA conversions write that they name none
		}
		id, ok := t.id(token.Content)
		if !ok {
			return -1, fmt.Errorf("tokenizer settings: %s is %.100q, which the vocabulary lacks", setting, token.Content)
		}
		return id, nil
	}
	for _, name := range usual {
		if id, ok := t.added.byContent[name]; ok {
			return id, nil
		}
	}
	return -1, nil
}

// id looks up a token as the file spells it.
func (t *tokenizer) id(token string) (int, bool) {
	if id, ok := t.added.byContent[token]; ok {
		return id, true
	}
	return t.model.id(token, t.model.byteLevel)
}

// token returns what the decoders see of an id.
func (t *tokenizer) token(id int) (string, bool) {
	if a, ok := t.added.byID[id]; ok {
		if normal, ok := t.added.decoded[id]; ok {
			return normal, true
		}
		return a.Content, true
	}
	if id < 0 || id >= len(t.model.tokens) || !t.model.known[id] {
		return "", false
	}
	return t.model.spelled(id, t.model.byteLevel), true
}

func (t *tokenizer) Encode(text string, special bool) ([]int, error) {
	e, err := t.encode(text, special, false)
	return e.IDs, err
}

func (t *tokenizer) EncodeOffsets(text string, special bool) (Encoding, error) {
	return t.encode(text, special, true)
}

func (t *tokenizer) encode(text string, special, offsets bool) (Encoding, error) {
	if len(text) > maxText {
		return Encoding{}, fmt.Errorf("a text of %d bytes is too long to encode at once; the limit is %d", len(text), maxText)
	}
	if !utf8.ValidString(text) {
		text = lossy([]byte(text))
	}
	var out Encoding
	if special {
		out.Before, out.After = len(t.post.before), len(t.post.after)
	}
	e := t.encoders.Get().(*encoder)
	defer t.encoders.Put(e)
	e.offsets = offsets || t.aligned
	e.ids, e.spans, e.texts = e.ids[:0], e.spans[:0], e.texts[:0]
	e.encode(text)
	out.IDs = make([]int, 0, out.Before+len(e.ids)+out.After)
	if special {
		out.IDs = append(out.IDs, t.post.before...)
	}
	out.IDs = append(out.IDs, e.ids...)
	if special {
		out.IDs = append(out.IDs, t.post.after...)
	}
	if offsets {
		out.Offsets = make([]int, 2*len(out.IDs))
		t.offsets(out.Offsets[2*out.Before:], text, e)
	}
	return out, nil
}

// maxText keeps places in a text within 32 bits.
const maxText = 1 << 30

// offsets fills in the offsets of the text's tokens.
func (t *tokenizer) offsets(out []int, text string, e *encoder) {
	characters(out, text, e.spans)
	for _, prefixed := range t.post.trims {
		for i, token := range e.texts {
			out[2*i], out[2*i+1] = trimmed(out[2*i], out[2*i+1], token, prefixed && (i == 0 || out[2*i] == 0))
		}
	}
}

func (t *tokenizer) Decode(ids []int, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if token, ok := t.token(id); ok && !(skipSpecial && t.added.special[token]) {
			tokens = append(tokens, token)
		}
	}
	if len(t.decoders) == 0 {
		return strings.Join(tokens, " ") // as the reference does without a decoder
	}
	for _, d := range t.decoders {
		tokens = d.decode(tokens)
	}
	return strings.Join(tokens, "")
}

func (t *tokenizer) VocabSize() int   { return t.size }
func (t *tokenizer) BOS() (int, bool) { return t.bos, t.bos >= 0 }
func (t *tokenizer) EOS() (int, bool) { return t.eos, t.eos >= 0 }
