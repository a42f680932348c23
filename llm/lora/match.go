package lora

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"d2nwg/llm"

	"github.com/dlclark/regexp2"
)

// PEFT matches options against module paths with Python's re. The tests below hold for its names in a LLaMA, where the
// only number in a path is the layer's.

const (
	maxPatterns  = 1 << 13                // of one option; an adapter of 126 layers has 882 modules
	maxMatching  = 500 * time.Millisecond // of one pattern against one name
	allLinear    = "all-linear"
	defaultLayer = `[^.]*`
)

// PEFT's choice for LLaMA where target_modules is null.
var defaultTargets = []string{"q_proj", "v_proj"}

// fullMatch compiles a test for whole names. Go's own engine runs in linear time, but lacks look-around.
func fullMatch(expr string) (func(name string) (bool, error), error) {
	if re, err := regexp.Compile(`\A(?:` + expr + `)\z`); err == nil {
		return func(name string) (bool, error) { return re.MatchString(name), nil }, nil
	}
	re, err := regexp2.Compile(`\A(?:`+expr+`)\z`, regexp2.RE2)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression: %v", clip(expr), err)
	}
	re.MatchTimeout = maxMatching
	return func(name string) (bool, error) {
		ok, err := re.MatchString(name)
		if err != nil {
			err = fmt.Errorf("the regular expression %q takes too long: %v", clip(expr), err)
		}
		return ok, err
	}, nil
}

// pattern is one entry of rank_pattern or alpha_pattern.
type pattern struct {
	text  string
	value float64
	match func(name string) (bool, error)
}

// patterns reads an object of numbers in the order of the file, which decides between patterns that match one module.
func (o *options) patterns(key string) []pattern {
	raw, ok := o.fields[key]
	if !ok || neutral(raw) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		o.fail("%s is %s, want an object", key, clip(string(raw)))
		return nil
	}
	var out []pattern
	for dec.More() && o.err == nil {
		name, _ := dec.Token() // the whole value has been parsed before: it is a key
		p := pattern{text: name.(string)}
		if err := dec.Decode(&p.value); err != nil {
			o.fail("%s gives %q no number", key, clip(p.text))
			return nil
		}
		if out = append(out, p); len(out) > maxPatterns {
			o.fail("%s has more than %d entries", key, maxPatterns)
			return nil
		}
		last := &out[len(out)-1]
		var err error
		if last.match, err = pathEnd(p.text); err != nil {
			o.fail("%s: %v", key, err)
		}
	}
	return out
}

// pathEnd compiles PEFT's (.*\.)?(expr)$. An expr without operators but dots, as they mostly are, needs no engine.
func pathEnd(expr string) (func(name string) (bool, error), error) {
	if strings.Trim(expr, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != "" {
		return fullMatch(`(?:.*\.)?(?:` + expr + `)`)
	}
	return func(name string) (bool, error) {
		front := len(name) - len(expr)
		if front < 0 || front > 0 && name[front-1] != '.' {
			return false, nil
		}
		for i := range len(expr) {
			if expr[i] != '.' && expr[i] != name[front+i] {
				return false, nil
			}
		}
		return true, nil
	}, nil
}

// lookup returns the value of the first pattern that matches.
func lookup(patterns []pattern, module string, absent float64) (float64, error) {
	for _, p := range patterns {
		ok, err := p.match(module)
		if err != nil {
			return 0, err
		}
		if ok {
			return p.value, nil
		}
	}
	return absent, nil
}

// targets tells which modules an adapter updates.
type targets struct {
	names    []string                        // target_modules as a list
	expr     func(name string) (bool, error) // … or as a regular expression
	linear   bool                            // … or "all-linear"
	excluded []func(name string) (bool, error)
	layers   []int // layers_to_transform; nil for all
	layerIn  []func(name string) (bool, error)
}

// targets reads the options that choose modules.
func (o *options) targets(saved []string) (t targets) {
	compiled := func(key, expr string) func(string) (bool, error) {
		f, err := fullMatch(expr)
		if err != nil {
			o.fail("%s: %v", key, err)
		}
		return f
	}
	switch names, isText := o.texts("target_modules"); {
	case isText && strings.ToLower(names[0]) == allLinear:
		t.linear = true
	case isText:
		t.expr = compiled("target_modules", names[0])
	default:
		if t.names = names; names == nil {
			t.names = defaultTargets
		}
	}
	names, isText := o.texts("exclude_modules")
	if isText {
		t.excluded = append(t.excluded, compiled("exclude_modules", names[0]))
	} else if len(names) > 0 {
		t.excluded = append(t.excluded, func(name string) (bool, error) { return endsWith(names, name), nil })
	}
	if len(saved) > maxPatterns {
		o.fail("modules_to_save has more than %d entries", maxPatterns)
		return t
	}
	for _, m := range saved {
		t.excluded = append(t.excluded, compiled("modules_to_save", `(?:|.*\.)(?:`+m+`)(?:|\..*)`))
	}
	if raw := o.fields["layers_to_transform"]; len(raw) > 0 && raw[0] == '[' {
		o.decode("layers_to_transform", "a number or a list of numbers", &t.layers)
	} else {
		var one int
		if o.decode("layers_to_transform", "a number or a list of numbers", &one) {
			t.layers = []int{one}
		}
	}
	layerNames, _ := o.texts("layers_pattern")
	if len(layerNames) > maxPatterns {
		o.fail("layers_pattern has more than %d entries", maxPatterns)
		return t
	}
	if len(layerNames) == 0 || layerNames[0] == "" {
		layerNames = []string{defaultLayer}
	}
	for _, p := range layerNames {
		t.layerIn = append(t.layerIn, compiled("layers_pattern", `.*?\.(?:`+p+`)\.\d+\..*`))
	}
	return t
}

// endsWith tells whether a path is one of the names or ends with one after a dot.
func endsWith(names []string, path string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return path == n || strings.HasSuffix(path, "."+n) })
}

// match tells whether a module is updated, as PEFT decides it.
func (t *targets) match(module string) (bool, error) {
	if out, err := anyMatch(t.excluded, module); out || err != nil {
		return false, err
	}
	_, layer, _ := llm.ParseName(module + weightSuffix)
	switch {
	case t.linear:
		return layer >= 0, nil // the head is left out; matrices outside the layers are no others
	case t.expr != nil:
		return t.expr(module)
	case slices.Contains(t.names, module):
		return true, nil
	case !endsWith(t.names, module):
		return false, nil
	case len(t.layers) == 0:
		return true, nil
	}
	in, err := anyMatch(t.layerIn, module)
	return in && slices.Contains(t.layers, layer), err
}

func anyMatch(tests []func(string) (bool, error), name string) (bool, error) {
	for _, test := range tests {
		if ok, err := test(name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
