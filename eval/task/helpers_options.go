package task

import (
	"errors"
	"fmt"
	"strings"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// The helpers of MuSR and MMLU-Pro, which write options as a list.

func musrChoice(doc Doc) (Value, error) {
	s, err := column(doc, "choices")
	if err != nil {
		return nil, err
	}
	v, err := python.Literal(s)
	if err != nil {
		return nil, fmt.Errorf("the column \"choices\" holds %w", err)
	}
	return v, nil
}

func musrText(doc Doc) (Value, error) {
	v, err := musrChoice(doc)
	if err != nil {
		return nil, err
	}
	items, err := textList(v, `the column "choices"`)
	if err != nil {
		return nil, err
	}
	parts, err := columns(doc, "narrative", "question")
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	for i, item := range items {
		fmt.Fprintf(&list, "%d - %s\n", i+1, item)
	}
	return parts[0] + "\n\n" + parts[1] + "\n\n" + list.String() + "\nAnswer:", nil
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

var errOptions = errors.New("it has more options than there are letters")

func mmluProText(doc Doc) (Value, error) {
	question, err := column(doc, "question")
	if err != nil {
		return nil, err
	}
	options, err := texts(doc, "options")
	if err != nil {
		return nil, err
	}
	if len(options) > len(letters) {
		return nil, errOptions
	}
	var out strings.Builder
	out.WriteString(question + "\n")
	for i, option := range options {
		fmt.Fprintf(&out, "%c. %s\n", letters[i], option)
	}
	return out.String() + "Answer:", nil
}

func mmluProChoice(doc Doc) (Value, error) {
	options, err := texts(doc, "options")
	if err != nil {
		return nil, err
	}
	if len(options) > len(letters) {
		return nil, errOptions
	}
	return listOf(strings.Split(letters[:len(options)], "")), nil
}

// mmluProQuestion asks for a chain of thought; only the first ten options are shown.
func mmluProQuestion(doc Doc) (Value, error) {
	question, err := column(doc, "question")
	if err != nil {
		return nil, err
	}
	options, err := texts(doc, "options")
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	out.WriteString("Question:\n" + question + "\nOptions:\n")
	for i, option := range options[:min(10, len(options))] {
		fmt.Fprintf(&out, "%c. %s\n", letters[i], jinja.Strip(option))
	}
	return out.String() + "Answer: Let's think step by step.", nil
}

func mmluProThoughts(doc Doc) (Value, error) {
	thoughts, err := column(doc, "cot_content")
	return strings.ReplaceAll(thoughts, "A: Let's think step by step. ", ""), err
}
