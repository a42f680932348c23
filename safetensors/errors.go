package safetensors

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrFormat is wrapped by every error that says that a file breaks the format.
var ErrFormat = errors.New("bad checkpoint")

// Rule is one rule of the format, in words.
type Rule string

// The rules that Open, ReadIndex and Write enforce.
const (
	RuleRegular   Rule = "a checkpoint is a regular file"
	RuleLength    Rule = "the file begins with the header's length as 8 little-endian bytes, at most 100,000,000 and within the file"
	RuleUTF8      Rule = "the header is valid UTF-8"
	RuleStart     Rule = "the header begins with {"
	RuleJSON      Rule = "the header is one JSON object"
	RuleDuplicate Rule = "every key of an object is unique"
	RuleMetadata  Rule = "__metadata__ maps strings to strings"
	RuleEntry     Rule = "a tensor has exactly dtype, shape and data_offsets"
	RuleDType     Rule = "a dtype is one of the format's types"
	RuleNumber    Rule = "sizes and offsets are non-negative integers"
	RuleOverflow  Rule = "a tensor's size fits 64 bits"
	RuleWhole     Rule = "a tensor fills whole bytes"
	RuleSize      Rule = "data_offsets span exactly the bytes of shape and dtype"
	RuleOrder     Rule = "data_offsets are [begin, end] with begin at most end"
	RuleOverlap   Rule = "tensors do not overlap"
	RuleHole      Rule = "tensors lie back to back, from offset 0"
	RuleEnd       Rule = "the data section ends where the last tensor ends"
	RuleIndex     Rule = "an index is an object with metadata and weight_map, at most 100,000,000 bytes"
	RuleShardName Rule = "a shard is a plain file name ending in .safetensors"
)

const (
	remedyWrite = "write the file again with a safetensors library"
	remedyFetch = "fetch the file again"
)

// FormatError says which rule a file breaks, where and how. It wraps ErrFormat.
type FormatError struct {
	Path   string // the file
	Tensor string // the tensor it is about, empty when it is about the file
	Rule   Rule
	Detail string // what was found
	Remedy string // what to do about it
}

// Error is one sentence on one line, however hostile the names in it.
func (e *FormatError) Error() string {
	var s strings.Builder
	s.WriteString(ErrFormat.Error())
	if e.Path != "" {
		fmt.Fprintf(&s, " %s", clean(e.Path))
	}
	if e.Tensor != "" {
		fmt.Fprintf(&s, ", tensor %s", quote(e.Tensor))
	}
	fmt.Fprintf(&s, ": %s (rule: %s)", e.Detail, e.Rule)
	if e.Remedy != "" {
		fmt.Fprintf(&s, "; %s", e.Remedy)
	}
	return s.String()
}

// Unwrap makes errors.Is(err, ErrFormat) hold.
func (e *FormatError) Unwrap() error { return ErrFormat }

// broken makes a FormatError without path and tensor, which callers further up fill in.
func broken(rule Rule, format string, args ...any) *FormatError {
	return &FormatError{Rule: rule, Detail: fmt.Sprintf(format, args...), Remedy: remedyWrite}
}

// quote quotes a name taken from a file, cut to a readable length.
func quote(name string) string {
	const most = 100
	if len(name) <= most {
		return fmt.Sprintf("%q", name)
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return fmt.Sprintf("%q…", name[:cut])
}

// clean shows a path as it is, or quoted when it holds control characters.
func clean(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Sprintf("%q", path)
	}
	return path
}
