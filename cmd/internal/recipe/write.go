package recipe

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// commentWidth is where comments are wrapped.
const commentWidth = 88

// Commented writes value, a struct or a pointer to one, as YAML in which every key, those of nested
// structs too, is present and carries its `doc` tag as a comment above it. title, which may have several
// lines, stands at the top. Parse reads the result back to an equal value.
func Commented(title string, value any) ([]byte, error) {
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("writing a recipe: %T is no struct", value)
	}
	node, err := mapping(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for line := range strings.Lines(strings.TrimSpace(title) + "\n") {
		if line = strings.TrimSpace(line); line != "" {
			line = " " + line
		}
		if title != "" {
			out.WriteString("#" + line + "\n")
		}
	}
	if title != "" {
		out.WriteString("\n")
	}
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, fmt.Errorf("writing a recipe: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing a recipe: %w", err)
	}
	return out.Bytes(), nil
}

// field is one key of a struct.
type field struct {
	index []int
	key   string
	doc   string
}

// fieldsOf lists the keys of a struct type in order; inlined structs contribute their own.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "-" || !f.IsExported() {
			continue
		}
		if strings.Contains(options, "inline") && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if key == "" {
			key = strings.ToLower(f.Name)
		}
		fields = append(fields, field{index: []int{i}, key: key, doc: f.Tag.Get("doc")})
	}
	return fields
}

// mapping builds the YAML mapping of a struct, with comments.
func mapping(v reflect.Value) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.key, HeadComment: comment(f.doc)}
		value, err := valueNode(v.FieldByIndex(f.index))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
		node.Content = append(node.Content, key, value)
	}
	return node, nil
}

// valueNode builds the YAML of any value. Structs that marshal themselves are left to do so.
func valueNode(v reflect.Value) (*yaml.Node, error) {
	if _, custom := v.Interface().(yaml.Marshaler); !custom {
		switch {
		case v.Kind() == reflect.Struct:
			return mapping(v)
		case v.Kind() == reflect.Pointer && !v.IsNil():
			return valueNode(v.Elem())
		case v.Kind() == reflect.Slice && v.Len() == 0: // nil and empty slices both read back as "none"
			return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}, nil
		case v.Kind() == reflect.Slice && elementKind(v.Type()) == reflect.Struct:
			return sequence(v)
		}
	}
	node := &yaml.Node{}
	if err := node.Encode(v.Interface()); err != nil {
		return nil, err
	}
	if node.Kind == yaml.SequenceNode {
		node.Style = yaml.FlowStyle
	}
	return node, nil
}

// sequence builds the YAML of a slice of structs.
func sequence(v reflect.Value) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		item, err := valueNode(v.Index(i))
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, item)
	}
	return node, nil
}

func elementKind(t reflect.Type) reflect.Kind {
	t = t.Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind()
}

// comment wraps text into the lines of a YAML comment.
func comment(text string) string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && len(line)+1+len(word) > commentWidth {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "# " + strings.Join(lines, "\n# ")
}
