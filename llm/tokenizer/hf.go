//go:build hftokenizers && cgo

package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	hf "github.com/daulet/tokenizers"
)

// rust is Hugging Face's library behind the interface of this package: to cross-check the one with the other in a whole
// program. It needs libtokenizers.a at link time.
type rust struct {
	*tokenizer // for what the binding doesn't tell: the largest id, BOS and EOS, what a post-processor adds
	lib        *hf.Tokenizer
}

func implementation(own *tokenizer, data []byte) (Tokenizer, error) {
	lib, err := hf.FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("the tokenizers library: %w", err)
	}
	return &rust{own, lib}, nil
}

var errNUL = errors.New("the binding of the tokenizers library can't take a text with a NUL character")

func (r *rust) Encode(text string, special bool) ([]int, error) {
	e, err := r.encode(text, special)
	return e.IDs, err
}

func (r *rust) EncodeOffsets(text string, special bool) (Encoding, error) {
	return r.encode(text, special, hf.WithReturnOffsets())
}

func (r *rust) encode(text string, special bool, options ...hf.EncodeOption) (Encoding, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return Encoding{}, errNUL
	}
	if !utf8.ValidString(text) {
		text = lossy([]byte(text))
	}
	found := r.lib.EncodeWithOptions(text, special, options...)
	out := Encoding{IDs: make([]int, len(found.IDs))}
	if special {
		out.Before, out.After = len(r.post.before), len(r.post.after)
	}
	for i, id := range found.IDs {
		out.IDs[i] = int(id)
	}
	spans := make([]span, len(found.Offsets)) // the binding counts bytes
	for i, o := range found.Offsets {
		spans[i] = span{int32(o[0]), int32(o[1])}
	}
	out.Offsets = make([]int, 2*len(spans))
	characters(out.Offsets, text, spans)
	return out, nil
}

func (r *rust) Decode(ids []int, skipSpecial bool) string {
	known := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && id < r.size {
			known = append(known, uint32(id))
		}
	}
	return r.lib.Decode(known, skipSpecial)
}
