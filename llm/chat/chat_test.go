package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"d2nwg/internal/jinja"
	"d2nwg/safetensors"
)

func write(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var hello = Input{Messages: []byte(`[{"role": "user", "content": "hello"}]`), Now: goldenNow}

func TestOpenChoosesTheTemplate(t *testing.T) {
	const config = `{"chat_template": "config {{ bos_token }}{{ eos_token }}", "bos_token": "<s>",
		"eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null, "add_bos_token": true}`
	withTools := hello
	withTools.Tools = []byte(`[{"name": "f"}]`)
	for name, c := range map[string]struct {
		files map[string]string
		in    Input
		want  string
	}{
		"settings": {map[string]string{"tokenizer_config.json": config}, hello, "config <s></s>"},
		"file": {map[string]string{"tokenizer_config.json": config, "chat_template.jinja": "file {{ eos_token }}"}, hello,
			"file </s>"},
		"json": {map[string]string{"tokenizer_config.json": config, "chat_template.json": `{"chat_template": "json"}`},
			hello, "json"},
		"file before json": {map[string]string{"chat_template.jinja": "file", "chat_template.json": `{"chat_template": "j"}`},
			hello, "file"},
		"named": {map[string]string{"tokenizer_config.json": `{"chat_template": [
			{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]}`}, hello, "default"},
		"named, with tools": {map[string]string{"tokenizer_config.json": `{"chat_template": [
			{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]}`}, withTools, "tools"},
		"named files": {map[string]string{"chat_template.jinja": "file",
			"additional_chat_templates/tool_use.jinja": "tools"}, withTools, "tools"},
		"special tokens": {map[string]string{
			"chat_template.jinja":     "{{ bos_token }}{{ unk_token }}{{ pad_token is defined }}",
			"special_tokens_map.json": `{"bos_token": "<a>", "unk_token": {"content": "<unk>"}}`,
			"tokenizer_config.json":   `{"bos_token": "<b>"}`}, hello, "<b><unk>False"},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := Open(write(t, t.TempDir(), c.files))
			if err != nil {
				t.Fatal(err)
			}
			got, err := tmpl.Render(c.in)
			if err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  error
		text  string
	}{
		"nothing":  {nil, fs.ErrNotExist, "chat_template.jinja, chat_template.json or tokenizer_config.json"},
		"none":     {map[string]string{"tokenizer_config.json": `{"chat_template": null}`}, fs.ErrNotExist, "no chat"},
		"no JSON":  {map[string]string{"tokenizer_config.json": `{`}, safetensors.ErrFormat, "tokenizer_config.json"},
		"a number": {map[string]string{"tokenizer_config.json": `{"chat_template": 1}`}, safetensors.ErrFormat, "neither"},
		"bad":      {map[string]string{"chat_template.jinja": "\n{% if %}{% endif %}"}, safetensors.ErrFormat, "line 2"},
		"bad tools": {map[string]string{"chat_template.jinja": "", "additional_chat_templates/tool_use.jinja": "{{"},
			safetensors.ErrFormat, "tools"},
		"no default": {map[string]string{"tokenizer_config.json": `{"chat_template": [{"name": "rag", "template": ""}]}`},
			safetensors.ErrFormat, `"rag"`},
		"large": {map[string]string{"chat_template.jinja": strings.Repeat("x", jinja.MaxSource+1)},
			safetensors.ErrFormat, "bytes"},
		"unknown tag": {map[string]string{"chat_template.jinja": "{% nope %}"}, safetensors.ErrFormat, `unknown tag "nope"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(write(t, t.TempDir(), c.files))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

func TestRenderTellsItsVariables(t *testing.T) {
	tmpl, err := Parse("{{ messages[0].content }} {{ tools is none }} {{ documents }} {{ add_generation_prompt }} " +
		"{{ enable_thinking }} {{ extra }}")
	if err != nil {
		t.Fatal(err)
	}
	in := hello
	in.AddGenerationPrompt = true
	in.Documents = []byte(`[{"b": 1, "a": 2}]`)
	in.Extra = []byte(`{"enable_thinking": false, "extra": {"z": 1, "y": [1.0, 1e16]}}`)
	got, err := tmpl.Render(in)
	want := "hello True [{'b': 1, 'a': 2}] True False {'z': 1, 'y': [1.0, 1e+16]}"
	if err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, bad := range []Input{
		{}, {Messages: []byte("{}")}, {Messages: []byte("null")}, {Messages: []byte("[")},
		{Messages: []byte("[]"), Tools: []byte("1")}, {Messages: []byte("[]"), Extra: []byte("[]")},
	} {
		if _, err := tmpl.Render(bad); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v", bad.Messages, err)
		}
	}
}

func TestRaisedErrorsKeepTheirWords(t *testing.T) {
	tmpl, err := Parse("{% macro m() %}{% for x in [1] %}{% if x %}" +
		"{{ raise_exception('No: ' ~ messages[0].role) }}{% endif %}{% endfor %}{% endmacro %}{{ m() }}")
	if err != nil {
		t.Fatal(err)
	}
	_, err = tmpl.Render(hello)
	var raised *RaisedError
	if !errors.As(err, &raised) || raised.Message != "No: user" || errors.Is(err, safetensors.ErrFormat) {
		t.Errorf("%v", err)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for source, want := range map[string]string{
		"\n\n{{ a.b }}": "line 3: UndefinedError: 'a' is undefined",
		"{% if 1 %}\n{{ messages[0].x.y }}{% endif %}": "line 2: UndefinedError: 'dict object' has no attribute 'x'",
		"{{ 1 + 'a' }}":            "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
		"{{ 'a' + 1 }}":            `TypeError: can only concatenate str (not "int") to str`,
		"{{ messages|nope }}":      "No filter named 'nope'.",
		"{{ messages is nope }}":   "No test named 'nope'.",
		"{{ messages.append(1) }}": "SecurityError: access to attribute 'append' of 'list' object is unsafe.",
	} {
		tmpl, err := Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tmpl.Render(hello)
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", source, err, want)
		}
	}
}

// The date is the caller's: the two ways in which Llama 3's templates ask for it.
func TestDatesAreTheCallers(t *testing.T) {
	tmpl, err := Parse("{%- if not date_string is defined %}{%- if strftime_now is defined %}" +
		"{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}" +
		"{%- endif %}{{ date_string }}")
	if err != nil {
		t.Fatal(err)
	}
	in := hello
	in.Now = time.Date(1999, 12, 31, 23, 59, 59, 0, time.FixedZone("", 3600))
	for extra, want := range map[string]string{`{}`: "31 Dec 1999", `{"date_string": "today"}`: "today"} {
		in.Extra = []byte(extra)
		if got, err := tmpl.Render(in); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

func TestTojson(t *testing.T) {
	for data, want := range map[string]string{
		`{"b": 1, "a": {"d": [], "c": {}}}`:               `{"b": 1, "a": {"d": [], "c": {}}}`,
		`[1.0, 1e100, 1E-7, 0.1, -0.0]`:                   `[1.0, 1e+100, 1e-07, 0.1, -0.0]`,
		`[1e15, 1e16, 1e400]`:                             `[1000000000000000.0, 1e+16, Infinity]`,
		`[123456789012345678901234567890, -0, -7]`:        `[123456789012345678901234567890, 0, -7]`,
		`"<é 🙂 \u2028 \u0000 \" \\ / \b\f\n\r\t \u007f>"`: "\"<é 🙂 \u2028 \\u0000 \\\" \\\\ / \\b\\f\\n\\r\\t \u007f>\"",
		`{"a": 1, "b": 2, "a": 3}`:                        `{"a": 3, "b": 2}`,
		`[null, true, false]`:                             `[null, true, false]`,
	} {
		tmpl, err := Parse("{{ x|tojson }}")
		if err != nil {
			t.Fatal(err)
		}
		got, err := tmpl.RenderJSON(json.RawMessage(fmt.Sprintf(`{"x": %s}`, data)), goldenNow)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", data, d)
		}
	}
}

// TestOpenShared opens every tokenizer and model of the shared data that has a template.
func TestOpenShared(t *testing.T) {
	root := shared(t)
	opened := 0
	for _, kind := range []string{"tokenizers", "models"} {
		dirs, err := filepath.Glob(filepath.Join(root, kind, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			tmpl, err := Open(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			in := hello
			in.AddGenerationPrompt = true
			in.Extra = []byte(`{"bos_token": "<s>"}`)
			got, err := tmpl.Render(in)
			if err != nil || !strings.Contains(got, "hello") {
				t.Errorf("%s: %q, %v", dir, got, err)
			}
			opened++
		}
	}
	t.Logf("%d templates opened", opened)
	if opened == 0 {
		t.Error("no template was found")
	}
}
