package task

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"d2nwg/internal/jinja"
)

// turn is a message of a prompt with what follows it where the prompt is plain text.
type turn struct {
	Message
	delimiter string
}

// contexts builds a document's prompt, or one a choice with MultipleInput; question is what doc_to_text gives.
func (b *builder) contexts(doc Doc, choices []string, shots []int) (contexts []string, question Value, err error) {
	c := b.Config
	turns, err := b.opening(doc)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range shots {
		shot, err := b.shot(row)
		if err != nil {
			return nil, nil, fmt.Errorf("few-shot %d: %w", row, err)
		}
		turns = append(turns, shot...)
	}
	if question, err = b.text(doc, c.DocToText); err != nil {
		return nil, nil, err
	}
	prefix, err := b.own(doc, c.GenPrefix)
	if err != nil {
		return nil, nil, err
	}
	questions := choices
	if b.MultipleInput == 0 {
		text, err := asText(question)
		if err != nil {
			return nil, nil, err
		}
		questions = []string{text}
	}
	delimiter := c.TargetDelimiter
	if b.MultipleInput > 0 {
		delimiter = ""
	}
	for _, q := range questions {
		prompt, err := b.prompt(append(slices.Clip(turns), questionTurns(q, prefix, delimiter)...), prefix == "")
		if err != nil {
			return nil, nil, err
		}
		contexts = append(contexts, prompt)
	}
	return contexts, question, nil
}

func asText(question Value) (string, error) {
	text, ok := question.(string)
	if !ok {
		return "", fmt.Errorf("doc_to_text gives %.80s, which is no text", fmt.Sprint(question))
	}
	return text, nil
}

// opening is the system instruction and the description.
func (b *builder) opening(doc Doc) ([]turn, error) {
	description, err := b.own(doc, b.Config.Description)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	system := joined(b.o.SystemInstruction, description, b.Config.FewshotDelimiter)
	if system == "" {
		return nil, nil
	}
	return []turn{{Message{"system", system}, ""}}, nil
}

// questionTurns end a prompt: a question, and the beginning of the answer where there is a prefix.
func questionTurns(question, prefix, delimiter string) []turn {
	if prefix == "" {
		return []turn{{Message{"user", question}, ""}}
	}
	if !needsDelimiter(question, prefix) {
		delimiter = ""
	}
	return []turn{{Message{"user", question}, delimiter}, {Message{"assistant", prefix}, ""}}
}

// needsDelimiter tells whether neither text brings white space to where they meet.
func needsDelimiter(question, prefix string) bool {
	_, after := spaceEnds(question)
	before, _ := spaceEnds(prefix)
	return question != "" && !after && !before
}

// shot is a question of the few-shot pool with its answer.
func (b *builder) shot(row int) ([]turn, error) {
	if turns, ok := b.cached[row]; ok {
		return turns, nil
	}
	fc, doc := b.Config.Fewshot, b.Pool[row]
	field := func(own, task Field) Field {
		if own.Set() {
			return own
		}
		return task
	}
	question, err := b.text(doc, field(fc.DocToText, b.Config.DocToText))
	if err != nil {
		return nil, err
	}
	var choices []string
	if fc.DocToChoice.Set() {
		if choices, err = b.choices(doc, fc.DocToChoice); err != nil {
			return nil, err
		}
	}
	target, err := b.target(doc, field(fc.DocToTarget, b.Config.DocToTarget))
	if err != nil {
		return nil, err
	}
	prefix, err := b.own(doc, fc.GenPrefix)
	if err != nil {
		return nil, err
	}
	if b.MultipleInput > 0 {
		if question, err = pick(choices, question); err != nil {
			return nil, fmt.Errorf("doc_to_text: %w", err)
		}
		choices = nil
	}
	text, err := asText(question)
	if err != nil {
		return nil, err
	}
	turns, err := shotTurns(text, prefix, choices, target, fc)
	if err == nil {
		b.cached[row] = turns
	}
	return turns, err
}

// shotTurns are the turns of a question and its answer; an empty answer is none.
func shotTurns(question, prefix string, choices []string, target Value, fc FewshotConfig) ([]turn, error) {
	if target == nil || target == "" {
		return questionTurns(question, prefix, fc.TargetDelimiter), nil
	}
	answer := target
	if _, isIndex := jinja.Int(target); isIndex && len(choices) > 0 {
		var err error
		if answer, err = pick(choices, target); err != nil {
			return nil, fmt.Errorf("doc_to_target: %w", err)
		}
	} else if list, ok := target.(*jinja.List); ok {
		if len(list.Items) == 0 {
			return nil, errors.New("doc_to_target gives an empty list")
		}
		answer = list.Items[0]
	}
	text, ok := answer.(string)
	if !ok {
		return nil, fmt.Errorf("doc_to_target gives %.80s, which is no text", fmt.Sprint(answer))
	}
	delimiter := fc.TargetDelimiter
	if prefix != "" && !needsDelimiter(question, prefix) {
		delimiter = ""
	}
	return []turn{{Message{"user", question}, delimiter},
		{Message{"assistant", joined(prefix, text, " ")}, fc.FewshotDelimiter}}, nil
}

// pick is choices[index], which may count from the end.
func pick(choices []string, index Value) (Value, error) {
	n, ok := jinja.Int(index)
	if !ok {
		return nil, fmt.Errorf("%.80s is no index of the choices", fmt.Sprint(index))
	}
	if n < 0 {
		n += len(choices)
	}
	if n < 0 || n >= len(choices) {
		return nil, fmt.Errorf("the index %v is beyond the %d choices", index, len(choices))
	}
	return choices[n], nil
}

// prompt writes turns as plain text or with the chat template.
func (b *builder) prompt(turns []turn, generation bool) (string, error) {
	if b.o.Chat == nil {
		return plainText(turns), nil
	}
	messages := make([]Message, 0, len(turns))
	if b.o.FewshotAsMultiturn {
		for _, t := range turns {
			messages = append(messages, t.Message)
		}
	} else {
		messages = oneTurn(turns)
	}
	text, err := b.o.Chat(messages, generation)
	if err != nil {
		return "", fmt.Errorf("the chat template: %w", err)
	}
	return text, nil
}

func plainText(turns []turn) string {
	size := 0
	for _, t := range turns {
		size += len(t.Content) + len(t.delimiter)
	}
	var out strings.Builder
	out.Grow(size)
	for _, t := range turns {
		out.WriteString(t.Content)
		out.WriteString(t.delimiter)
	}
	return out.String()
}

// oneTurn folds the turns between the system's and the answer's beginning into one of the user.
func oneTurn(turns []turn) []Message {
	var messages []Message
	if turns[0].Role == "system" {
		messages, turns = append(messages, turns[0].Message), turns[1:]
	}
	var last []Message
	if n := len(turns) - 1; turns[n].Role == "assistant" {
		last, turns = []Message{turns[n].Message}, turns[:n]
	}
	turns = slices.Clone(turns)
	turns[len(turns)-1].delimiter = ""
	return append(append(messages, Message{"user", plainText(turns)}), last...)
}
