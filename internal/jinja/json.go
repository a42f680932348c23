package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf16"
)

// DecodeJSON reads a JSON text as Python's json.loads does: the order of keys kept, integers of any size.
func DecodeJSON(data []byte) (Value, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func decodeValue(dec *json.Decoder, depth int) (Value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the JSON nests deeper than %d levels", maxDepth)
	}
	t, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return decodeList(dec, depth)
		}
		return decodeDict(dec, depth)
	case json.Number:
		return decodeNumber(t.String())
	}
	return t, nil // nil, bool or string
}

func decodeList(dec *json.Decoder, depth int) (Value, error) {
	l := &List{}
	for dec.More() {
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, v)
	}
	_, err := dec.Token()
	return l, err
}

func decodeDict(dec *json.Decoder, depth int) (Value, error) {
	d := NewDict()
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("a key is no string")
		}
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		d.Put(name, v)
	}
	_, err := dec.Token()
	return d, err
}

func decodeNumber(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, err
		}
		return f, nil
	}
	if len(s) > maxIntDigits {
		return nil, fmt.Errorf("an integer has more than %d digits", maxIntDigits)
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no integer", s)
	}
	return normInt(n), nil
}

// jsonWriter writes what json.dumps does.
type jsonWriter struct {
	printer
	ascii     bool
	indent    string
	lines     bool // an indent is given
	item, key string
	sorted    bool
}

// tojson is the filter of transformers: json.dumps with ensure_ascii=False unless told otherwise.
func (rt *run) tojson(v Value, args arguments) (Value, error) {
	a, err := args.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{printer: printer{rt: rt}, item: ", ", key: ": "}
	w.ascii = a.has(0) && truth(a.vals[0])
	w.sorted = a.has(3) && truth(a.vals[3])
	if a.has(1) && a.vals[1] != nil {
		w.lines, w.item = true, ","
		if s, ok := text(a.vals[1]); ok {
			w.indent = s
		} else if n, ok := index(a.vals[1]); ok {
			if err := rt.charge(max(n, 0)); err != nil {
				return nil, err
			}
			w.indent = strings.Repeat(" ", max(n, 0))
		} else {
			return nil, typeError("indent has to be a number or a string, not %s", typeName(a.vals[1]))
		}
	}
	if a.has(2) && a.vals[2] != nil {
		parts, err := rt.iterate(a.vals[2])
		if err != nil {
			return nil, err
		}
		if len(parts) != 2 {
			return nil, valueError("separators have to be two strings")
		}
		item, ok := text(parts[0])
		key, ok2 := text(parts[1])
		if !ok || !ok2 {
			return nil, typeError("separators have to be two strings")
		}
		w.item, w.key = item, key
	}
	err = w.value(v, 0)
	return w.out.String(), err
}

func (w *jsonWriter) value(v Value, depth int) error {
	if err := w.rt.step(); err != nil {
		return err
	}
	if depth > maxDepth {
		return errDeep()
	}
	switch v := v.(type) {
	case nil:
		return w.write("null")
	case bool:
		return w.write(strconv.FormatBool(v))
	case string:
		return w.write(w.quote(v))
	case Markup:
		return w.write(w.quote(string(v)))
	case *List:
		return w.list(v.Items, depth)
	case Tuple:
		return w.list(v, depth)
	case *Dict:
		return w.object(v, depth)
	}
	s, ok, err := jsonNumber(v)
	if err != nil {
		return err
	}
	if !ok {
		return typeError("Object of type %s is not JSON serializable", typeName(v))
	}
	return w.write(s)
}

func jsonNumber(v Value) (string, bool, error) {
	s, ok, err := numeral(v)
	switch s {
	case "inf":
		s = "Infinity"
	case "-inf":
		s = "-Infinity"
	case "nan":
		s = "NaN"
	}
	return s, ok, err
}

// line begins a line at a depth if lines are indented.
func (w *jsonWriter) line(depth int) error {
	if !w.lines {
		return nil
	}
	if err := w.rt.charge(len(w.indent) * depth); err != nil {
		return err
	}
	return w.write("\n" + strings.Repeat(w.indent, depth))
}

func (w *jsonWriter) list(items []Value, depth int) error {
	if len(items) == 0 {
		return w.write("[]")
	}
	open := "["
	for _, item := range items {
		if err := w.write(open); err != nil {
			return err
		}
		if err := w.line(depth + 1); err != nil {
			return err
		}
		if err := w.value(item, depth+1); err != nil {
			return err
		}
		open = w.item
	}
	if err := w.line(depth); err != nil {
		return err
	}
	return w.write("]")
}

func (w *jsonWriter) object(d *Dict, depth int) error {
	if len(d.keys) == 0 {
		return w.write("{}")
	}
	pairs := d.items()
	if w.sorted {
		if err := w.rt.sort(pairs, func(v Value) (Value, error) { return v.(Tuple)[0], nil }, false); err != nil {
			return err
		}
	}
	open := "{"
	for _, pair := range pairs {
		if err := w.write(open); err != nil {
			return err
		}
		if err := w.line(depth + 1); err != nil {
			return err
		}
		name, err := jsonKey(pair.(Tuple)[0])
		if err != nil {
			return err
		}
		if err := w.write(w.quote(name) + w.key); err != nil {
			return err
		}
		if err := w.value(pair.(Tuple)[1], depth+1); err != nil {
			return err
		}
		open = w.item
	}
	if err := w.line(depth); err != nil {
		return err
	}
	return w.write("}")
}

func jsonKey(key Value) (string, error) {
	switch k := key.(type) {
	case nil:
		return "null", nil
	case bool:
		return strconv.FormatBool(k), nil
	}
	if s, ok := text(key); ok {
		return s, nil
	}
	s, ok, err := jsonNumber(key)
	if err == nil && !ok {
		err = typeError("keys must be str, int, float, bool or None, not %s", typeName(key))
	}
	return s, err
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func (w *jsonWriter) quote(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		if e, ok := jsonEscapes[r]; ok {
			out.WriteString(e)
			continue
		}
		switch {
		case r < 0x20 || w.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			a, b := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, a, b)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
