package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// reader reads JSON piece by piece. encoding/json takes longer for a vocabulary of 128,000 tokens and 280,000 merges
// than everything else in loading takes together; small values are left to it.
type reader struct {
	data []byte
	at   int
}

var errJSON = errors.New("not valid JSON")

func (r *reader) fail() error { return fmt.Errorf("%w near byte %d", errJSON, r.at) }

// peek skips white space and returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) take(c byte) error {
	if r.peek() != c {
		return r.fail()
	}
	r.at++
	return nil
}

// list reads the values between open and shut, separated by commas, with item.
func (r *reader) list(open, shut byte, item func() error) error {
	if err := r.take(open); err != nil {
		return err
	}
	if r.peek() == shut {
		r.at++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.at++
		case shut:
			r.at++
			return nil
		default:
			return r.fail()
		}
	}
}

func (r *reader) array(item func() error) error { return r.list('[', ']', item) }

// object calls member with each key, which has to read the value.
func (r *reader) object(member func(key string) error) error {
	return r.list('{', '}', func() error {
		key, err := r.text()
		if err != nil {
			return err
		}
		if err := r.take(':'); err != nil {
			return err
		}
		return member(key)
	})
}

// text reads a string.
func (r *reader) text() (string, error) {
	if err := r.take('"'); err != nil {
		return "", err
	}
	first := r.at
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return string(r.data[first : r.at-1]), nil
		case c == '\\':
			return r.escaped(first)
		case c < ' ':
			return "", r.fail()
		}
	}
	return "", r.fail()
}

// escaped reads on a string that began at first and has an escape; encoding/json knows them.
func (r *reader) escaped(first int) (string, error) {
	for ; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			var s string
			if err := json.Unmarshal(r.data[first-1:r.at], &s); err != nil {
				return "", r.fail()
			}
			return s, nil
		}
	}
	return "", r.fail()
}

// number reads a whole number of at most nine digits: ids are bounded far below.
func (r *reader) number() (int, error) {
	r.peek()
	first, negative := r.at, r.at < len(r.data) && r.data[r.at] == '-'
	if negative {
		r.at++
	}
	n, digits := 0, 0
	for ; r.at < len(r.data) && r.data[r.at]-'0' <= 9; r.at++ {
		if digits++; digits > 9 {
			return 0, fmt.Errorf("the number near byte %d is too large for an id", first)
		}
		n = n*10 + int(r.data[r.at]-'0')
	}
	if digits == 0 {
		return 0, r.fail()
	}
	if r.at < len(r.data) {
		switch r.data[r.at] {
		case '.', 'e', 'E':
			return 0, fmt.Errorf("the number near byte %d isn't whole", first)
		}
	}
	if negative {
		n = -n
	}
	return n, nil
}

// raw returns the bytes of the next value, whose inside is checked only as far as strings and brackets go.
func (r *reader) raw() (json.RawMessage, error) {
	r.peek()
	first, depth := r.at, 0
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case '"':
			if err := r.skipText(); err != nil {
				return nil, err
			}
			r.at-- // the end of a string ends a value, as a bracket does
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ' ', '\t', '\n', '\r':
			r.at++
			continue
		default: // a number, true, false or null
			if depth > 0 {
				r.at++
				continue
			}
			return r.literal(first)
		}
		r.at++
		if depth == 0 {
			return r.data[first:r.at], nil
		}
		if depth < 0 {
			break
		}
	}
	return nil, r.fail()
}

func (r *reader) literal(first int) (json.RawMessage, error) {
	for r.at < len(r.data) && !strings.ContainsRune(",}] \t\n\r", rune(r.data[r.at])) {
		r.at++
	}
	return r.data[first:r.at], nil
}

func (r *reader) skipText() error {
	for r.at++; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			return nil
		}
	}
	return r.fail()
}

// members splits an object into its values. A key that occurs twice has its last value.
func members(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	r := reader{data: data}
	all := map[string]json.RawMessage{}
	err := r.object(func(key string) (err error) {
		all[key], err = r.raw()
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.peek() != 0 || r.at < len(r.data) {
		return nil, r.fail()
	}
	return all, nil
}
