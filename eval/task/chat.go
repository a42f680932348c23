package task

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"d2nwg/internal/jinja"
	"d2nwg/llm/chat"
)

// errPrefix is the error of a template that doesn't print what an answer is to begin with.
var errPrefix = errors.New("it doesn't print the last message as it stands, so that no answer can continue it; leave gen_prefix out")

// FromTemplate makes a ChatTemplate of a model's chat template, as the harness calls it through transformers: where
// the last message is to be continued the text ends with it, and a template that refuses a system message is tried
// again without it. now is what templates take for the date.
func FromTemplate(t *chat.Template, now time.Time) ChatTemplate {
	return func(messages []Message, generation bool) (string, error) {
		text, err := renderChat(t, messages, generation, now)
		var raised *chat.RaisedError
		if errors.As(err, &raised) && len(messages) > 1 && messages[0].Role == "system" {
			text, err = renderChat(t, messages[1:], generation, now)
		}
		if err != nil || generation {
			return text, err
		}
		return continued(text, messages[len(messages)-1].Content)
	}
}

func renderChat(t *chat.Template, messages []Message, generation bool, now time.Time) (string, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	list := make([]message, len(messages))
	for i, m := range messages {
		list[i] = message(m)
	}
	data, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	return t.Render(chat.Input{Messages: data, AddGenerationPrompt: generation, Now: now})
}

// continued cuts a text after its last message, as continue_final_message does.
func continued(text, last string) (string, error) {
	at := strings.LastIndex(text, jinja.Strip(last))
	if at < 0 {
		return "", errPrefix
	}
	left := strings.TrimLeftFunc(last, jinja.IsSpace)
	if strings.HasPrefix(text[at:], left) {
		return text[:at+len(left)], nil
	}
	return text[:at+len(jinja.Strip(last))], nil
}
