package task

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"d2nwg/internal/jinja"
)

const (
	maxTaskFile  = 64 << 20  // bytes
	maxYAMLNodes = 4_000_000 // values of a file, aliases counted each time
	maxYAMLDepth = 100
	functionTag  = "!function"
)

// readYAML reads a task file and what it includes, merged: the file's own keys win. A !function is a Function.
func readYAML(path string) (Doc, error) { return readIncluded(path, map[string]bool{}) }

func readIncluded(path string, seen map[string]bool) (Doc, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if seen[path] {
		return nil, fmt.Errorf("%s: its includes lead back to it", path)
	}
	seen[path] = true
	own, err := readMapping(path)
	if err != nil {
		return nil, err
	}
	include, ok := own.Get("include")
	if !ok {
		return own, nil
	}
	names := []Value{include}
	if list, ok := include.(*jinja.List); ok {
		names = list.Items
	}
	merged := jinja.NewDict()
	for _, name := range names {
		file, ok := name.(string)
		if !ok {
			return nil, fmt.Errorf("%s: include has to name files, not %v", path, name)
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		part, err := readIncluded(file, seen)
		if err != nil {
			return nil, fmt.Errorf("%s includes a file that can't be read: %w", path, err)
		}
		merged.Merge(args(part, "task_list"))
	}
	merged.Merge(args(own, "include"))
	return merged, nil
}

// readMapping reads one YAML file, which has to hold a mapping.
func readMapping(path string) (Doc, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxTaskFile {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d of a task file", path, info.Size(), maxTaskFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := &yamlReader{folder: functionFolder(filepath.Dir(path))}
	v, err := r.value(&node, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d, ok := v.(Doc)
	if !ok {
		return nil, fmt.Errorf("%s holds no mapping; a task file is one of keys such as task and dataset_path", path)
	}
	return d, nil
}

// functionFolder is where a !function is looked for: below the harness' lm_eval/tasks if the folder is there.
func functionFolder(folder string) string {
	slashed := filepath.ToSlash(folder)
	if i := strings.LastIndex(slashed+"/", "/lm_eval/tasks/"); i >= 0 {
		return strings.TrimPrefix(slashed[i:], "/lm_eval/tasks/")
	}
	return slashed
}

// yamlReader makes Python's values of YAML nodes as PyYAML does.
type yamlReader struct {
	folder string
	nodes  int
}

func (r *yamlReader) value(n *yaml.Node, depth int) (Value, error) {
	if r.nodes++; r.nodes > maxYAMLNodes || depth > maxYAMLDepth {
		return nil, fmt.Errorf("line %d: it nests too deeply or holds too many values", n.Line)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.value(n.Content[0], depth+1)
	case yaml.AliasNode:
		return r.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := &jinja.List{}
		for _, item := range n.Content {
			v, err := r.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, v)
		}
		return list, nil
	case yaml.MappingNode:
		return r.mapping(n, depth)
	case yaml.ScalarNode:
		return r.scalar(n)
	}
	return nil, nil // an empty file
}

func (r *yamlReader) mapping(n *yaml.Node, depth int) (Value, error) {
	d, own := jinja.NewDict(), jinja.NewDict()
	for i := 0; i+1 < len(n.Content); i += 2 {
		v, err := r.value(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if n.Content[i].Tag == "!!merge" {
			if err := mergeInto(d, v); err != nil {
				return nil, fmt.Errorf("line %d: %w", n.Line, err)
			}
			continue
		}
		key, err := r.value(n.Content[i], depth+1)
		if err == nil {
			err = own.SetItem(key, v)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
	}
	d.Merge(own)
	return d, nil
}

// mergeInto adds what a "<<" names: a mapping or several, of which the first wins.
func mergeInto(d Doc, v Value) error {
	switch v := v.(type) {
	case Doc:
		d.Merge(v)
		return nil
	case *jinja.List:
		for i := range v.Items {
			if err := mergeInto(d, v.Items[len(v.Items)-1-i]); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("<< needs a mapping")
}

func (r *yamlReader) scalar(n *yaml.Node) (Value, error) {
	switch {
	case n.Tag == functionTag:
		if !strings.Contains(n.Value, ".") {
			return nil, fmt.Errorf("line %d: !function %s names no module", n.Line, n.Value)
		}
		return Function{Folder: r.folder, Name: n.Value}, nil
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0,
		n.Style&yaml.TaggedStyle != 0 && n.Tag == "!!str":
		return n.Value, nil
	case n.Style&yaml.TaggedStyle != 0 && !strings.HasPrefix(n.Tag, "!!"):
		return nil, fmt.Errorf("line %d: the tag %s isn't known", n.Line, n.Tag)
	}
	return plainScalar(n.Value), nil
}

// What PyYAML takes for numbers, as YAML 1.1 has them.
var (
	yamlInt   = regexp.MustCompile(`^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*|[1-9][0-9_]*(:[0-5]?[0-9])+)$`)
	yamlFloat = regexp.MustCompile(`^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	yamlWords = map[string]Value{"": nil, "~": nil, "null": nil, "Null": nil, "NULL": nil}
)

func init() {
	for _, word := range []string{"yes", "true", "on"} {
		yamlWords[word], yamlWords[strings.ToUpper(word)], yamlWords[strings.ToUpper(word[:1])+word[1:]] = true, true, true
	}
	for _, word := range []string{"no", "false", "off"} {
		yamlWords[word], yamlWords[strings.ToUpper(word)], yamlWords[strings.ToUpper(word[:1])+word[1:]] = false, false, false
	}
}

func plainScalar(s string) Value {
	if v, ok := yamlWords[s]; ok {
		return v
	}
	clean := strings.ReplaceAll(s, "_", "")
	if yamlInt.MatchString(s) {
		if n, ok := yamlInteger(clean); ok {
			return n
		}
	}
	if yamlFloat.MatchString(s) {
		switch lower := strings.ToLower(strings.TrimLeft(clean, "+-")); lower {
		case ".inf":
			if clean[0] == '-' {
				return math.Inf(-1)
			}
			return math.Inf(1)
		case ".nan":
			return math.NaN()
		}
		if f, err := strconv.ParseFloat(clean, 64); err == nil {
			return f
		}
	}
	return s
}

func yamlInteger(s string) (Value, bool) {
	sign, digits := "", s
	if s[0] == '-' || s[0] == '+' {
		sign, digits = strings.TrimPrefix(s[:1], "+"), s[1:]
	}
	n := new(big.Int)
	switch {
	case strings.Contains(digits, ":"): // base 60
		for _, part := range strings.Split(digits, ":") {
			d, err := strconv.Atoi(part)
			if err != nil {
				return nil, false
			}
			n.Add(n.Mul(n, big.NewInt(60)), big.NewInt(int64(d)))
		}
	case len(digits) > 1 && digits[0] == '0' && digits[1] != 'x' && digits[1] != 'b':
		if _, ok := n.SetString(digits, 8); !ok {
			return nil, false
		}
	default:
		if _, ok := n.SetString(digits, 0); !ok {
			return nil, false
		}
	}
	if sign == "-" {
		n.Neg(n)
	}
	if n.IsInt64() {
		return int(n.Int64()), true
	}
	return n, true
}
