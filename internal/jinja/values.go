package jinja

import (
	"math"
	"strings"
)

// Str is Python's str(v). It fails for what nests without end.
func Str(v Value) (string, error) { return (&run{}).str(v) }

// Repr is Python's repr(v). It fails for what nests without end.
func Repr(v Value) (string, error) { return (&run{}).repr(v) }

// Truth is Python's bool(v).
func Truth(v Value) bool { return truth(v) }

// Equal is Python's a == b; what nests too deeply to compare is unequal.
func Equal(a, b Value) bool {
	eq, err := (&run{}).equal(a, b, 0)
	return err == nil && eq
}

// EncodeJSON is json.dumps(v, ensure_ascii=False), indented by a number of blanks, or on one line for 0. It fails for
// what JSON can't tell.
func EncodeJSON(v Value, indent int) (string, error) {
	w := &jsonWriter{printer: printer{rt: &run{}}, item: ", ", key: ": "}
	if indent > 0 {
		w.lines, w.item, w.indent = true, ",", strings.Repeat(" ", indent)
	}
	err := w.value(v, 0)
	return w.out.String(), err
}

// Strip is s.strip().
func Strip(s string) string { return strings.TrimFunc(s, IsSpace) }

// StripRight is s.rstrip().
func StripRight(s string) string { return strings.TrimRightFunc(s, IsSpace) }

// IsDigits is s.isdigit().
func IsDigits(s string) bool { return every(s, IsDigit) }

// SplitLines is s.splitlines().
func SplitLines(s string) []string { return splitLines(s, false) }

// Int returns the number in v, a bool being one too; ok is false for other values and for integers outside int.
func Int(v Value) (n int, ok bool) {
	if n, ok := v.(int); ok {
		return n, true
	}
	big, ok := integer(v)
	if !ok || !big.IsInt64() || big.Int64() > math.MaxInt {
		return 0, false
	}
	return int(big.Int64()), true
}

// SetItem is d[key] = v. It fails where the key can't be one, as a list.
func (d *Dict) SetItem(key, v Value) error {
	hash, err := (&run{}).hash(key)
	if err == nil {
		d.set(hash, key, v)
	}
	return err
}
