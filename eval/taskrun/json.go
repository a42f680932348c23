package taskrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"d2nwg/eval/metric"
	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// object builds a dict from pairs of key and value.
func object(pairs ...any) *jinja.Dict {
	d := jinja.NewDict()
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Put(pairs[i].(string), pairs[i+1])
	}
	return d
}

func list[T any](items []T) *jinja.List {
	l := &jinja.List{}
	for _, item := range items {
		l.Items = append(l.Items, item)
	}
	return l
}

// encode writes a value as Python's json.dumps(value, ensure_ascii=False, indent=…) does; indent 0 is none. Unlike
// jinja.EncodeJSON it has no limit, since it writes the program's own results, and can't fail.
func encode(v task.Value, indent int) []byte {
	w := &jsonWriter{indent: indent}
	w.value(v, 0)
	return w.out.Bytes()
}

// encodeStrict is encode with null for numbers that JSON lacks.
func encodeStrict(v task.Value, indent int) []byte {
	w := &jsonWriter{indent: indent, strict: true}
	w.value(v, 0)
	return w.out.Bytes()
}

type jsonWriter struct {
	out    bytes.Buffer
	indent int
	strict bool
}

func (w *jsonWriter) value(v task.Value, depth int) {
	switch v := v.(type) {
	case nil:
		w.out.WriteString("null")
	case bool:
		w.out.WriteString(strconv.FormatBool(v))
	case int:
		w.out.WriteString(strconv.Itoa(v))
	case int64:
		w.out.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		w.out.WriteString(v.String())
	case float64:
		if w.strict && (math.IsNaN(v) || math.IsInf(v, 0)) {
			w.out.WriteString("null")
			return
		}
		w.out.WriteString(jsonFloat(v))
	case string:
		w.text(v)
	case jinja.Markup:
		w.text(string(v))
	case *jinja.List:
		w.items(v.Items, depth)
	case jinja.Tuple:
		w.items(v, depth)
	case *jinja.Dict:
		w.dict(v, depth)
	default:
		w.text(fmt.Sprint(v))
	}
}

func (w *jsonWriter) text(s string) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // text always encodes
	out := strings.TrimSuffix(b.String(), "\n")
	// Go escapes these two, Python with ensure_ascii=False doesn't.
	w.out.WriteString(strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\\`, `\\`).Replace(out))
}

func (w *jsonWriter) line(depth int, comma bool) {
	switch {
	case w.indent > 0:
		if comma {
			w.out.WriteByte(',')
		}
		w.out.WriteString("\n" + strings.Repeat(" ", depth*w.indent))
	case comma:
		w.out.WriteString(", ")
	}
}

func (w *jsonWriter) items(all []task.Value, depth int) {
	w.out.WriteByte('[')
	for i, v := range all {
		w.line(depth+1, i > 0)
		w.value(v, depth+1)
	}
	if len(all) > 0 {
		w.line(depth, false)
	}
	w.out.WriteByte(']')
}

func (w *jsonWriter) dict(d *jinja.Dict, depth int) {
	w.out.WriteByte('{')
	first := true
	for key, v := range d.All() {
		w.line(depth+1, !first)
		first = false
		w.text(pythonText(key))
		w.out.WriteString(": ")
		w.value(v, depth+1)
	}
	if !first {
		w.line(depth, false)
	}
	w.out.WriteByte('}')
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatText(f)
}

// floatText is Python's repr of a float.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "+")
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// pythonText is Python's str of what a sample shows as text.
func pythonText(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return floatText(v)
	}
	s, err := jinja.Str(v)
	if err != nil { // what no template prints is no value of a task
		return fmt.Sprint(v)
	}
	return s
}

// plain turns Python's values into those of package metric.
func plain(v task.Value) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case *jinja.List:
		return plainList(v.Items)
	case jinja.Tuple:
		return plainList(v)
	case *jinja.Dict:
		m := map[string]any{}
		for key, value := range v.All() {
			m[pythonText(key)] = plain(value)
		}
		return m
	case jinja.Markup:
		return string(v)
	}
	return v
}

func plainList(items []task.Value) []any {
	out := make([]any, len(items))
	for i, v := range items {
		out[i] = plain(v)
	}
	return out
}

// settings are the further keys of a filter or metric.
func settings(d task.Doc) metric.Settings {
	if d == nil {
		return metric.Settings{}
	}
	s, _ := plain(d).(map[string]any)
	return s
}

// document lets metrics look at a row.
type document struct{ task.Doc }

func (d document) Get(column string) (any, bool) {
	v, ok := d.Doc.Get(column)
	return plain(v), ok
}

// sanitized turns answers into text, however they nest.
func sanitized(v any) task.Value {
	switch v := v.(type) {
	case []any:
		l := &jinja.List{}
		for _, item := range v {
			l.Items = append(l.Items, sanitized(item))
		}
		return l
	case metric.LogLikelihood:
		return list([]task.Value{floatText(v.Sum), pythonText(v.Greedy)})
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return pythonText(v)
}

// shown is a metric's value as samples show it.
func shown(v metric.Value) task.Value {
	switch v := v.(type) {
	case metric.Ratio:
		return list([]task.Value{v.Sum, v.Weight})
	case metric.Label:
		return list([]task.Value{v.Gold, v.Picked})
	case metric.Choice:
		return list([]task.Value{v.Gold, list(v.Probabilities)})
	case metric.Translation:
		return list([]task.Value{strings.Join(v.References, "\n"), v.Answer})
	case []float64:
		return list(v)
	}
	return v
}
