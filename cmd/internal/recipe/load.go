// Package recipe reads and writes recipes: YAML files that hold everything that decides the outcome of a
// run. Reading is strict (an unknown or repeated key is an error that names its line), writing puts a
// comment on every key, from the `doc` tags of the structs.
package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"d2nwg/cmd/internal/suggest"

	"go.yaml.in/yaml/v3"
)

// ErrInvalid is what every error about a recipe's contents wraps.
var ErrInvalid = errors.New("bad recipe")

// maxSize is far above any recipe; larger files are refused unread.
const maxSize = 4 << 20

// Load reads the YAML file at path into a T.
//
// Where *T has a method SetDefaults() it is called first, so that keys left out keep their defaults; where
// it has a method Validate() error that is called last. A Validate error made by Invalid is reported with
// the line of the key it names. A missing file satisfies errors.Is(err, fs.ErrNotExist), bad contents
// errors.Is(err, ErrInvalid).
func Load[T any](path string) (T, error) {
	var value T
	data, err := readCapped(path)
	if err != nil {
		return value, err
	}
	return Parse[T](path, data)
}

// Parse is Load for contents already in memory; name stands for the file in errors.
func Parse[T any](name string, data []byte) (T, error) {
	var value T
	if d, ok := any(&value).(interface{ SetDefaults() }); ok {
		d.SetDefaults()
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&value); err != nil && err != io.EOF {
		return value, explain(name, err, reflect.TypeFor[T]())
	}
	if err := dec.Decode(new(yaml.Node)); err != io.EOF {
		return value, fmt.Errorf("%s: %w: a recipe is one YAML document, found a second one", name, ErrInvalid)
	}
	if v, ok := any(&value).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return value, locate(name, data, err)
		}
	}
	return value, nil
}

// readCapped reads a file of at most maxSize bytes.
func readCapped(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the recipe: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the recipe: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes", path, ErrInvalid, maxSize)
	}
	return data, nil
}

// KeyError is a value that a Validate method refuses.
type KeyError struct {
	Key    string // dotted, such as "explore.budget"
	Reason string
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Reason }

// Invalid makes the error a Validate method returns about the value of a dotted key.
func Invalid(key, format string, args ...any) error {
	return &KeyError{Key: key, Reason: fmt.Sprintf(format, args...)}
}

// locate adds the file and, for a KeyError, the line of its key (or of the nearest key above it that is
// in the file).
func locate(name string, data []byte, err error) error {
	var key *KeyError
	var root yaml.Node
	line := 0
	if errors.As(err, &key) && yaml.Unmarshal(data, &root) == nil && len(root.Content) == 1 {
		node := root.Content[0]
		for part := range strings.SplitSeq(key.Key, ".") {
			child, at := lookup(node, part)
			if child == nil {
				break
			}
			node, line = child, at
		}
	}
	if line > 0 {
		return fmt.Errorf("%s:%d: %w: %w", name, line, ErrInvalid, err)
	}
	return fmt.Errorf("%s: %w: %w", name, ErrInvalid, err)
}

// lookup finds a key of a mapping node and the line it stands on.
func lookup(node *yaml.Node, key string) (value *yaml.Node, line int) {
	if node.Kind != yaml.MappingNode {
		return nil, 0
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1], node.Content[i].Line
		}
	}
	return nil, 0
}

var (
	atLine       = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknownField = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
)

// explain rewrites the YAML library's errors to "file:line: reason", all problems on one line, with a
// suggestion for every misspelt key.
func explain(name string, err error, t reflect.Type) error {
	problems := []string{err.Error()}
	var typeErr *yaml.TypeError
	if errors.As(err, &typeErr) {
		problems = typeErr.Errors
	}
	keys := keysOf(t, map[reflect.Type]bool{})
	where := name
	for i, p := range problems {
		line := ""
		if m := atLine.FindStringSubmatch(p); m != nil {
			line, p = m[1], m[2]
		}
		if m := unknownField.FindStringSubmatch(p); m != nil {
			p = fmt.Sprintf("unknown key %q", m[1])
			if near := suggest.Nearest(m[1], keys); near != "" {
				p += ", did you mean " + near
			}
		}
		p = strings.TrimPrefix(p, "yaml: ")
		if line != "" && i == 0 {
			where += ":" + line
		} else if line != "" {
			p = "line " + line + ": " + p
		}
		problems[i] = p
	}
	return fmt.Errorf("%s: %w: %s", where, ErrInvalid, strings.Join(problems, "; "))
}

// keysOf lists every YAML key reachable from a type, for suggestions.
func keysOf(t reflect.Type, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return nil
	}
	seen[t] = true
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.key)
		keys = append(keys, keysOf(t.FieldByIndex(f.index).Type, seen)...)
	}
	return keys
}
