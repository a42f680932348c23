package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"d2nwg/internal/jinja"
	"d2nwg/safetensors"
)

const (
	templateFile  = "chat_template.jinja"
	templateJSON  = "chat_template.json"
	tokenizerFile = "tokenizer_config.json"
	specialFile   = "special_tokens_map.json"
	maxSettings   = 64 << 20 // bytes of a settings file
)

// Open reads the chat template of a checkpoint directory and the special tokens it may name. The template is
// chat_template.jinja if there is one (with further ones by name in additional_chat_templates), else "chat_template"
// of chat_template.json or tokenizer_config.json: a text, or a list of named templates, of which "default" counts and,
// where tools are given, "tool_use". The tokens come from tokenizer_config.json and special_tokens_map.json. The error
// wraps fs.ErrNotExist where there is no template, safetensors.ErrFormat where a file can't be used.
func Open(dir string) (*Template, error) {
	t := &Template{tokens: map[string]string{}}
	named := map[string]string{}
	for _, name := range []string{specialFile, tokenizerFile, templateJSON} { // a later one wins
		settings, err := readSettings(dir, name)
		if err != nil {
			return nil, err
		}
		if name != templateJSON {
			t.addTokens(settings)
		}
		if name == specialFile {
			continue
		}
		found, err := templatesOf(settings["chat_template"])
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", filepath.Join(dir, name), safetensors.ErrFormat, err)
		}
		if len(found) > 0 {
			named = found
		}
	}
	if err := readTemplates(dir, named); err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("%s: no chat template in %s, %s or %s: %w", dir, templateFile, templateJSON, tokenizerFile,
			fs.ErrNotExist)
	}
	if err := t.templates(named); err != nil {
		return nil, fmt.Errorf("%s: chat template: %w", dir, err)
	}
	return t, nil
}

// read returns a file's contents, nil where there is none.
func read(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > most {
		return nil, fmt.Errorf("%s: %w: it has %d bytes, more than %d", path, safetensors.ErrFormat, info.Size(), most)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the chat template: %w", err)
	}
	return data, nil
}

func readSettings(dir, name string) (map[string]json.RawMessage, error) {
	path := filepath.Join(dir, name)
	data, err := read(path, maxSettings)
	if err != nil || data == nil {
		return nil, err
	}
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(data, &settings); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, safetensors.ErrFormat, err)
	}
	return settings, nil
}

// readTemplates adds the templates that are files of their own.
func readTemplates(dir string, named map[string]string) error {
	data, err := read(filepath.Join(dir, templateFile), jinja.MaxSource)
	if err != nil {
		return err
	}
	if data != nil {
		clear(named)
		named["default"] = string(data)
	}
	more, err := filepath.Glob(filepath.Join(globbed(dir), "additional_chat_templates", "*.jinja"))
	if err != nil {
		return fmt.Errorf("looking for chat templates: %w", err)
	}
	for _, path := range more {
		data, err := read(path, jinja.MaxSource)
		if err != nil {
			return err
		}
		named[strings.TrimSuffix(filepath.Base(path), ".jinja")] = string(data)
	}
	return nil
}

// globbed escapes what a pattern would read as its own.
func globbed(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// templatesOf reads the setting chat_template.
func templatesOf(raw json.RawMessage) (map[string]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return map[string]string{"default": one}, nil
	}
	var several []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &several); err != nil {
		return nil, errors.New("chat_template is neither a text nor a list of named templates")
	}
	named := map[string]string{}
	for _, s := range several {
		named[s.Name] = s.Template
	}
	return named, nil
}

// addTokens takes the special tokens of a settings file, texts or objects with their content.
func (t *Template) addTokens(settings map[string]json.RawMessage) {
	for name, raw := range settings {
		if !strings.HasSuffix(name, "_token") {
			continue
		}
		var token struct {
			Content *string `json:"content"`
		}
		var text *string
		if json.Unmarshal(raw, &text) == nil && text != nil {
			t.tokens[name] = *text
		} else if json.Unmarshal(raw, &token) == nil && token.Content != nil {
			t.tokens[name] = *token.Content
		}
	}
}
