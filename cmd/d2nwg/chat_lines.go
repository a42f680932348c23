package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"d2nwg/llm/chat"
	"d2nwg/llm/sample"
)

// chatLines answers JSON Lines, some at a time. A line that can't be answered gets {"error":…}.
func chatLines(ctx context.Context, s *session, t *talker) error {
	refused := 0
	err := s.answerBatches(ctx, s.Int("batch"), func(lines []inputLine) ([]any, error) {
		values := make([]any, 0, len(lines))
		var reqs []sample.Request
		var places []int // of the requests in values
		var wrong error
		for _, line := range lines {
			prompt, err := t.line(line.text)
			if errors.Is(err, errNotAsked) {
				wrong = fmt.Errorf("line %d: %w", line.n, err)
				break
			}
			if err != nil {
				refused++
				values = append(values, map[string]string{"error": err.Error()})
			} else {
				places = append(places, len(values))
				values = append(values, nil)
				reqs = append(reqs, sample.Request{Prompt: prompt, Sequence: t.answered})
			}
			t.answered++
		}
		answers, err := sample.Run(ctx, t.model, t.tok, reqs, t.options, t.ending, nil)
		if err != nil {
			return nil, fmt.Errorf("lines %d to %d: %w", lines[0].n, lines[len(lines)-1].n, err)
		}
		for i, answer := range answers {
			values[places[i]] = newChatAnswer(answer)
		}
		return values, wrong
	})
	if err == nil && refused > 0 {
		err = fmt.Errorf("%d of %d lines could not be answered: %w", refused, t.answered, errPartial)
	}
	return err
}

var errNotAsked = errors.New(`not an object {"messages":[…]} or {"prompt":"…"}`)

// line turns a line of input into the tokens of a prompt.
func (t *talker) line(line []byte) ([]int, error) {
	var in struct {
		Messages  json.RawMessage `json:"messages"`
		Prompt    *string         `json:"prompt"`
		Tools     json.RawMessage `json:"tools"`
		Documents json.RawMessage `json:"documents"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotAsked, err)
	}
	switch {
	case (in.Messages == nil) == (in.Prompt == nil):
		return nil, errNotAsked
	case in.Prompt != nil:
		return t.ask(*in.Prompt)
	case t.template == nil:
		return nil, errors.New("messages need a chat template; use \"prompt\" for a text to continue")
	}
	messages, err := t.withSystem(in.Messages)
	if err != nil {
		return nil, err
	}
	extra, err := otherKeys(line, "messages", "prompt", "tools", "documents")
	if err != nil {
		return nil, err
	}
	return t.render(chat.Input{Messages: messages, Tools: in.Tools, Documents: in.Documents, Extra: extra})
}

// withSystem puts --system before messages that don't begin with a system message of their own.
func (t *talker) withSystem(messages json.RawMessage) (json.RawMessage, error) {
	if t.system == "" {
		return messages, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(messages, &all); err != nil {
		return nil, fmt.Errorf("messages have to be a list: %w", err)
	}
	var first message
	if len(all) > 0 && json.Unmarshal(all[0], &first) == nil && first.Role == "system" {
		return messages, nil
	}
	system, err := json.Marshal(message{"system", t.system})
	if err != nil {
		return nil, err
	}
	return json.Marshal(append([]json.RawMessage{system}, all...))
}
