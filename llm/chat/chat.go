// Package chat renders chat templates as Hugging Face transformers does: a Jinja2 template turns a conversation into
// the text that a model was trained on.
package chat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"d2nwg/internal/jinja"
	"d2nwg/safetensors"
)

// Template is a parsed chat template, with the special tokens it may name. It is safe for concurrent use.
type Template struct {
	source string
	main   *jinja.Template
	tools  *jinja.Template   // for conversations with tools; nil = main
	tokens map[string]string // variables such as bos_token
}

// Parse parses the source of a template. Errors wrap safetensors.ErrFormat, or ErrLimit for a source that is too large
// or nests too deeply.
func Parse(source string) (*Template, error) {
	main, err := parse(source)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return &Template{source: source, main: main}, nil
}

// ErrLimit is wrapped by the error of a template that runs too long, nests too deeply or builds too much.
var ErrLimit = jinja.ErrLimit

// RaisedError is what a template says with raise_exception, such as that roles must alternate.
type RaisedError = jinja.RaisedError

// parse parses a template in the environment that transformers builds.
func parse(source string) (*jinja.Template, error) {
	return jinja.Parse(source, jinja.Settings{TrimBlocks: true})
}

// Source is the template as it was written.
func (t *Template) Source() string { return t.source }

// SpecialToken returns a special token by its variable, such as "eos_token", where the files named one.
func (t *Template) SpecialToken(name string) (string, bool) {
	token, ok := t.tokens[name]
	return token, ok
}

// Input is a conversation to render. The JSON texts keep the order of their keys, which templates print.
type Input struct {
	Messages            json.RawMessage // a list of {"role": …, "content": …}
	Tools               json.RawMessage // a list of tools as JSON schemas; nil = none
	Documents           json.RawMessage // a list; nil = none
	AddGenerationPrompt bool            // end with what begins an answer
	Extra               json.RawMessage // an object of further variables, such as {"enable_thinking": false}
	Now                 time.Time       // what strftime_now tells; no template sees the clock
}

// Render renders a conversation as apply_chat_template does. A template that refuses the conversation gives a
// *RaisedError; other failures wrap ErrLimit or safetensors.ErrFormat.
func (t *Template) Render(in Input) (string, error) {
	vars := jinja.NewDict()
	for name, token := range t.tokens {
		vars.Put(name, token)
	}
	for _, part := range []struct {
		name string
		json json.RawMessage
	}{{"messages", in.Messages}, {"tools", in.Tools}, {"documents", in.Documents}} {
		var v any
		if part.json != nil {
			var err error
			if v, err = jinja.DecodeJSON(part.json); err != nil {
				return "", fmt.Errorf("chat: %w: %s: %w", safetensors.ErrFormat, part.name, err)
			}
		}
		if _, ok := v.(*jinja.List); !ok && (v != nil || part.name == "messages") {
			return "", fmt.Errorf("chat: %w: %s have to be a list", safetensors.ErrFormat, part.name)
		}
		vars.Put(part.name, v)
	}
	vars.Put("add_generation_prompt", in.AddGenerationPrompt)
	if in.Extra != nil {
		extra, err := decodeObject(in.Extra)
		if err != nil {
			return "", err
		}
		vars.Merge(extra)
	}
	tools, _ := vars.Get("tools")
	return t.render(vars, tools != nil, in.Now)
}

// RenderJSON renders the template with the variables of a JSON object and the special tokens that the object doesn't
// set. Errors are those of Render.
func (t *Template) RenderJSON(data json.RawMessage, now time.Time) (string, error) {
	given, err := decodeObject(data)
	if err != nil {
		return "", err
	}
	vars := jinja.NewDict()
	for name, token := range t.tokens {
		vars.Put(name, token)
	}
	vars.Merge(given)
	tools, _ := vars.Get("tools")
	return t.render(vars, tools != nil, now)
}

func decodeObject(data json.RawMessage) (*jinja.Dict, error) {
	v, err := jinja.DecodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("chat: %w: variables: %w", safetensors.ErrFormat, err)
	}
	d, ok := v.(*jinja.Dict)
	if !ok {
		return nil, fmt.Errorf("chat: %w: the variables have to be an object", safetensors.ErrFormat)
	}
	return d, nil
}

func (t *Template) render(vars *jinja.Dict, tools bool, now time.Time) (string, error) {
	main := t.main
	if tools && t.tools != nil {
		main = t.tools
	}
	text, err := main.Render(vars, now)
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	return text, nil
}

// templates parses the templates that transformers chooses from.
func (t *Template) templates(named map[string]string) error {
	source, ok := named["default"]
	if !ok {
		names := slices.Sorted(maps.Keys(named))
		return fmt.Errorf("%w: none of the named ones is the default: %q", safetensors.ErrFormat, names)
	}
	var err error
	if t.main, err = parse(source); err != nil {
		return err
	}
	t.source = source
	if tools, ok := named["tool_use"]; ok {
		if t.tools, err = parse(tools); err != nil {
			return fmt.Errorf("that for tools: %w", err)
		}
	}
	return nil
}
