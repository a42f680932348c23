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
	"strings"

	"d2nwg/safetensors"
)

// Tokenizer maps text to token ids and back. It is safe for concurrent use.
type Tokenizer interface {
	// Encode returns the ids of text. With special, the post-processor's tokens are added, such as <s> at the start.
	// Special tokens spelled out in the text are recognized in either case.
	Encode(text string, special bool) ([]int, error)
	// Decode returns the text of ids; ids outside the vocabulary are left out, and with skipSpecial special tokens too.
	Decode(ids []int, skipSpecial bool) string
	// VocabSize is the largest id + 1.
	VocabSize() int
	// BOS and EOS are the ids of the tokens that begin and end a text, where the files name one.
	BOS() (int, bool)
	EOS() (int, bool)
}

// Open reads tokenizer.json of a checkpoint directory, and the names of the begin and end tokens from
// tokenizer_config.json or special_tokens_map.json beside it. The error wraps fs.ErrNotExist where there is no
// tokenizer.json, safetensors.ErrFormat where it can't be used.
func Open(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: a checkpoint needs its tokenizer as tokenizer.json: %w", dir, fs.ErrNotExist)
	}
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
	return t, nil
}

// tokenizer is the line of components; a nil component passes its input on.
type tokenizer struct {
	added     addedTokens
	normalize normalizer
	model     *bpe
	template  []templatePart
	decode    decoder
	tokens    []string // by id; added tokens included
	known     []bool   // by id
	bos, eos  int      // -1 = none
}

// file is the layout of tokenizer.json.
type file struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

func parse(data []byte, configs [][]byte) (*tokenizer, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	t := &tokenizer{}
	var err error
	if t.normalize, err = parseNormalizer(f.Normalizer); err != nil {
		return nil, err
	}
	if err := parsePreTokenizer(f.PreTokenizer); err != nil {
		return nil, err
	}
	if t.model, err = parseModel(f.Model); err != nil {
		return nil, err
	}
	if t.template, err = parsePostProcessor(f.PostProcessor); err != nil {
		return nil, err
	}
	if t.decode, err = parseDecoder(f.Decoder); err != nil {
		return nil, err
	}
	if t.added, err = newAddedTokens(f.AddedTokens, t.normalize); err != nil {
		return nil, err
	}
	if err := t.number(); err != nil {
		return nil, err
	}
	if t.bos, err = t.named("bos_token", configs, "<s>", "<|begin_of_text|>"); err != nil {
		return nil, err
	}
	if t.eos, err = t.named("eos_token", configs, "</s>", "<|end_of_text|>"); err != nil {
		return nil, err
	}
	return t, nil
}

// maxID bounds the ids a file may give, since tokens are kept in a table by id.
const maxID = 1 << 22

// number fills the table of tokens by id.
func (t *tokenizer) number() error {
	size := 0
	grow := func(id int, token string) error {
		if id < 0 || id >= maxID {
			return fmt.Errorf("token %q has the id %d, outside 0…%d", token, id, maxID-1)
		}
		size = max(size, id+1)
		return nil
	}
	for token, id := range t.model.vocab {
		if err := grow(id, token); err != nil {
			return err
		}
	}
	for _, a := range t.added.all {
		if err := grow(a.ID, a.Content); err != nil {
			return err
		}
	}
	t.tokens, t.known = make([]string, size), make([]bool, size)
	for token, id := range t.model.vocab {
		if t.known[id] {
			return fmt.Errorf("the tokens %q and %q share the id %d", t.tokens[id], token, id)
		}
		t.tokens[id], t.known[id] = token, true
	}
	for _, a := range t.added.all {
		t.tokens[a.ID], t.known[a.ID] = a.Content, true
	}
	for _, part := range t.template {
		for _, id := range part.ids {
			if id < 0 || id >= size || !t.known[id] {
				return fmt.Errorf("the post-processor adds the id %d, which no token has", id)
			}
		}
	}
	return nil
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
		id, ok := t.id(token.Content)
		if !ok {
			return -1, fmt.Errorf("tokenizer settings: %s is %q, which the vocabulary lacks", setting, token.Content)
		}
		return id, nil
	}
	for _, name := range usual {
		if a, ok := t.added.byContent[name]; ok {
			return a.ID, nil
		}
	}
	return -1, nil
}

func (t *tokenizer) id(token string) (int, bool) {
	if a, ok := t.added.byContent[token]; ok {
		return a.ID, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

func (t *tokenizer) Encode(text string, special bool) ([]int, error) {
	ids := make([]int, 0, len(text)/2+2)
	if !special || t.template == nil {
		return t.appendText(ids, text), nil
	}
	for _, part := range t.template {
		if part.text {
			ids = t.appendText(ids, text)
		} else {
			ids = append(ids, part.ids...)
		}
	}
	return ids, nil
}

// appendText appends the ids of text without the post-processor's tokens. Added tokens that aren't normalized are cut
// out of the text itself, the others out of what the normalizer makes of each piece between them.
func (t *tokenizer) appendText(ids []int, text string) []int {
	for _, outer := range t.added.raw.split(text) {
		if outer.id >= 0 {
			ids = append(ids, outer.id)
			continue
		}
		s := outer.text
		if t.normalize != nil {
			s = t.normalize.normalize(s)
		}
		for _, inner := range t.added.normalized.split(s) {
			if inner.id >= 0 {
				ids = append(ids, inner.id)
			} else {
				ids = t.model.appendWord(ids, inner.text)
			}
		}
	}
	return ids
}

func (t *tokenizer) Decode(ids []int, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if id < 0 || id >= len(t.tokens) || !t.known[id] || skipSpecial && t.added.special[id] {
			continue
		}
		tokens = append(tokens, t.tokens[id])
	}
	if t.decode == nil {
		return strings.Join(tokens, " ") // as the Rust library does without a decoder
	}
	return strings.Join(t.decode.decode(tokens), "")
}

func (t *tokenizer) VocabSize() int   { return len(t.tokens) }
func (t *tokenizer) BOS() (int, bool) { return t.bos, t.bos >= 0 }
func (t *tokenizer) EOS() (int, bool) { return t.eos, t.eos >= 0 }
