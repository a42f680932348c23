package task

import (
	"errors"
	"fmt"
	"strings"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// call runs a helper on a document.
func (t *Task) call(fn Function, doc Doc) (Value, error) {
	helper := docHelpers[fn.key()]
	if helper == nil {
		return nil, fmt.Errorf("%w: its helper %s isn't one for documents", ErrHelper, fn.Name)
	}
	v, err := helper(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fn.Name, err)
	}
	return v, nil
}

// column returns a value as it stands where a template is the name of a column.
func (t *Task) column(doc Doc, name string) (Value, bool, error) {
	if !t.features[name] {
		return nil, false, nil
	}
	v, ok := doc.Get(name)
	if !ok {
		return nil, true, noColumn(name)
	}
	return v, true, nil
}

// text is doc_to_text: a text, or the index of the right one of several contexts.
func (t *Task) text(doc Doc, f Field) (Value, error) {
	v, err := t.plainField(doc, f, false)
	if err != nil {
		return nil, fmt.Errorf("doc_to_text: %w", err)
	}
	return v, nil
}

// target is doc_to_target: an index, a text, or a list.
func (t *Task) target(doc Doc, f Field) (Value, error) {
	v, err := t.plainField(doc, f, true)
	if err != nil {
		return nil, fmt.Errorf("doc_to_target: %w", err)
	}
	return v, nil
}

func (t *Task) plainField(doc Doc, f Field, target bool) (Value, error) {
	if f.Function.Name != "" {
		return t.call(f.Function, doc)
	}
	switch v := f.Value.(type) {
	case int:
		return v, nil
	case *jinja.List:
		if target {
			return v, nil
		}
	case string:
		if value, ok, err := t.column(doc, v); ok {
			return value, err
		}
		out, err := t.render(v, doc)
		if err != nil {
			return nil, err
		}
		if jinja.IsDigits(out) && t.Config.DocToChoice.Set() {
			return python.Literal(out)
		}
		if target && len(out) >= 2 && out[0] == '[' && out[len(out)-1] == ']' {
			if list, err := python.Literal(out); err == nil {
				return list, nil
			}
		}
		return out, nil
	case nil:
		return nil, errors.New("the task file doesn't set it")
	}
	return nil, fmt.Errorf("it can't be %v", f.Value)
}

// choices is doc_to_choice: the texts to choose from.
func (t *Task) choices(doc Doc, f Field) ([]string, error) {
	v, err := t.choiceValue(doc, f)
	if err != nil {
		return nil, fmt.Errorf("doc_to_choice: %w", err)
	}
	var items []Value
	switch v := v.(type) {
	case *jinja.List:
		items = v.Items
	case jinja.Tuple:
		items = v
	default:
		return nil, fmt.Errorf("doc_to_choice gives no list but %.80s", fmt.Sprint(v))
	}
	texts := make([]string, len(items))
	for i, item := range items {
		if texts[i], err = jinja.Str(item); err != nil {
			return nil, fmt.Errorf("doc_to_choice: %w", err)
		}
	}
	return texts, nil
}

func (t *Task) choiceValue(doc Doc, f Field) (Value, error) {
	if f.Function.Name != "" {
		return t.call(f.Function, doc)
	}
	switch v := f.Value.(type) {
	case *jinja.List:
		return v, nil
	case Doc:
		list := &jinja.List{}
		for _, choice := range v.All() {
			list.Items = append(list.Items, choice)
		}
		return list, nil
	case string:
		if value, ok, err := t.column(doc, v); ok {
			return value, err
		}
		out, err := t.render(v, doc)
		if err != nil {
			return nil, err
		}
		return python.Literal(out)
	case nil:
		return nil, errors.New("the task file doesn't set it")
	}
	return nil, fmt.Errorf("it can't be %v", f.Value)
}

// own is a description or gen_prefix: a column or a template; "" where there is none.
func (t *Task) own(doc Doc, source string) (string, error) {
	if source == "" {
		return "", nil
	}
	v, ok := doc.Get(source)
	if !ok {
		return t.render(source, doc)
	}
	s, isText := v.(string)
	if !isText && v != nil {
		return "", fmt.Errorf("the column %q holds no text", source)
	}
	return s, nil
}

// spaceEnds tells whether a text begins or ends with white space, as Python sees it.
func spaceEnds(s string) (first, last bool) {
	return s != "" && strings.TrimLeftFunc(s, jinja.IsSpace) != s, s != "" && jinja.StripRight(s) != s
}

// joined puts a delimiter between two texts unless either brings white space along or is empty.
func joined(prefix, suffix, delimiter string) string {
	_, space := spaceEnds(prefix)
	before, _ := spaceEnds(suffix)
	if prefix == "" || suffix == "" || space || before {
		return prefix + suffix
	}
	return prefix + delimiter + suffix
}
