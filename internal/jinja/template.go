// Package jinja renders Jinja2 templates over Python's values: the template engine is gonja, and since the texts that
// models are trained and measured on count on Python's semantics down to how a list prints, the tags are defined here
// over expressions with Python's values:
//
//	source ─► pieces (lexer) ─► gonja's template over numbered tags ─► text
//	                │                          │
//	                └► expressions (parser) ◄──┘ evaluated with Python's rules
//
// A template is somebody else's program: it reads no files, and its steps, its text and its nesting are limited.
package jinja

import (
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"

	"d2nwg/safetensors"
)

// Settings are what environments of Jinja2 differ in. The zero value is Jinja2's own default.
type Settings struct {
	TrimBlocks  bool              // trim_blocks and lstrip_blocks: a tag takes its line's indentation and end along
	KeepNewline bool              // keep_trailing_newline
	Filters     map[string]Filter // besides Jinja2's own
	Strict      bool              // StrictUndefined: what isn't there can't be printed, tested or walked over
}

// Filter is a filter that an environment adds.
type Filter struct {
	Required int                                        // how many of Params have to be given
	Params   []string                                   // names of the arguments after the value
	Call     func(v Value, args []Value) (Value, error) // args in the order of Params, nil where one isn't given
}

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	exec     *exec.Template
	settings Settings
}

// Parse parses the source of a template. Errors wrap safetensors.ErrFormat, or ErrLimit for a source that is too large
// or nests too deeply.
func Parse(source string, settings Settings) (t *Template, err error) {
	defer recovered(&err)
	compiled, err := compile(source, settings)
	if err != nil {
		return nil, plain(err)
	}
	return &Template{compiled, settings}, nil
}

// recovered turns a panic of the template engine into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: the template engine failed: %v", safetensors.ErrFormat, r)
	}
}

// Render renders the template with the variables of a dict whose keys are strings; now is what strftime_now tells. A
// template that calls raise_exception gives a *RaisedError; other failures wrap ErrLimit or safetensors.ErrFormat.
func (t *Template) Render(vars *Dict, now time.Time) (string, error) {
	return t.render(vars, &run{now: now, strict: t.settings.Strict, own: t.settings.Filters})
}

func (t *Template) render(vars *Dict, rt *run) (text string, err error) {
	defer recovered(&err)
	data := map[string]any{runName: rt}
	for i, key := range vars.keys {
		name, ok := key.(string)
		if !ok {
			return "", fmt.Errorf("%w: a variable's name is no string", safetensors.ErrFormat)
		}
		data[variable(name)] = vars.vals[i]
	}
	out := &output{}
	if err := t.exec.Execute(out, exec.NewContext(data)); err != nil {
		return "", plain(err)
	}
	return out.text.String(), nil
}

// output collects a rendering up to the limit.
type output struct{ text strings.Builder }

func (o *output) Write(p []byte) (int, error) {
	if o.text.Len()+len(p) > maxOutput {
		return 0, limitError("it prints too much text")
	}
	return o.text.Write(p)
}
