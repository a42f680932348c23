package tokenizer

import (
	"encoding/json"
	"fmt"
)

// maxID bounds the ids a file may give, since tokens are kept in a table by id.
const maxID = 1 << 22

// vocabulary maps words to ids and back. Of a byte-level model words are bytes, not the characters that stand for them
// in the file.
type vocabulary struct {
	ids    map[string]int32 // tokens that the model can produce
	odd    map[string]int32 // tokens of a byte-level model that have characters which stand for no byte
	tokens []string         // by id: the word, as in ids or odd
	known  []bool           // by id
	size   int              // number of entries; ids may leave gaps
}

// readVocabulary reads {"token": id, …}.
func readVocabulary(raw json.RawMessage, byteLevel bool) (*vocabulary, error) {
	v := &vocabulary{ids: make(map[string]int32, len(raw)/20), odd: map[string]int32{}}
	r := reader{data: raw}
	err := r.object(func(token string) error {
		id, err := r.number()
		if err != nil {
			return err
		}
		return v.add(token, id, byteLevel)
	})
	if err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	return v, nil
}

func (v *vocabulary) add(token string, id int, byteLevel bool) error {
	if id < 0 || id >= maxID {
		return fmt.Errorf("token %.100q has the id %d, outside 0…%d", token, id, maxID-1)
	}
	v.grow(id)
	if v.known[id] {
		return fmt.Errorf("the tokens %.100q and %.100q share the id %d", v.tokens[id], token, id)
	}
	into := v.ids
	if byteLevel {
		if word, ok := wordBytes(token); ok {
			token = word
		} else {
			into = v.odd
		}
	}
	if old, twice := into[token]; twice { // the last entry counts, as in the reference
		v.known[old] = false
		v.size--
	}
	into[token] = int32(id)
	v.tokens[id], v.known[id] = token, true
	v.size++
	return nil
}

// grow makes room for an id.
func (v *vocabulary) grow(id int) {
	for len(v.tokens) <= id {
		if cap(v.tokens) <= id {
			n := max(2*cap(v.tokens), id+1)
			v.tokens = append(make([]string, 0, n), v.tokens...)
			v.known = append(make([]bool, 0, n), v.known...)
		}
		v.tokens, v.known = v.tokens[:id+1], v.known[:id+1]
	}
}

// wordBytes returns the bytes that the characters of a token stand for.
func wordBytes(token string) (string, bool) {
	plain := true
	for i := range len(token) {
		if token[i] < '!' || token[i] > '~' {
			plain = false
			break
		}
	}
	if plain {
		return token, true
	}
	word := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := charByte(r)
		if !ok {
			return "", false
		}
		word = append(word, b)
	}
	return string(word), true
}

// id looks up a token as the file spells it.
func (v *vocabulary) id(token string, byteLevel bool) (int, bool) {
	if byteLevel {
		word, ok := wordBytes(token)
		if !ok {
			id, ok := v.odd[token]
			return int(id), ok
		}
		token = word
	}
	id, ok := v.ids[token]
	return int(id), ok
}

// spelled returns a token as the file spells it.
func (v *vocabulary) spelled(id int, byteLevel bool) string {
	token := v.tokens[id]
	if _, odd := v.odd[token]; !byteLevel || odd && v.odd[token] == int32(id) {
		return token
	}
	var chars []byte
	for i := range len(token) {
		chars = append(chars, byteChar[token[i]]...)
	}
	return string(chars)
}
