package textfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits of files of questions.
const (
	maxQuestions = 1_000_000
	maxLine      = 1 << 20 // bytes of a JSONL line
)

// A Question is a prompt with its one right answer, both taken as they stand: a space between them belongs to one of them.
type Question struct {
	Prompt string `json:"prompt"`
	Answer string `json:"answer"`
}

// Keys say what becomes of other keys than "prompt" and "answer".
type Keys bool

// Other keys are an error, or are passed over.
const (
	OnlyKnown Keys = false
	AnyKeys   Keys = true
)

// Questions reads a JSONL file, one {"prompt": …, "answer": …} a line. Blank lines are skipped, repeated lines count once;
// one prompt with two answers is an error, as is a file without questions.
func Questions(path string, keys Keys) ([]Question, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []Question
	seen := map[string]origin{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		q, err := parseQuestion(line, keys)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		}
		if first, twice := seen[q.Prompt]; twice {
			if first.answer != q.Answer {
				return nil, fmt.Errorf("%s line %d: the prompt of line %d again with another answer", path, n, first.line)
			}
			continue
		}
		if len(seen) == maxQuestions {
			return nil, fmt.Errorf("%s line %d: more than %d questions", path, n, maxQuestions)
		}
		seen[q.Prompt] = origin{n, q.Answer}
		all = append(all, q)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s after line %d: %w", path, n, explainLine(err))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf(`%s has no question; write one {"prompt": "…", "answer": "…"} a line`, path)
	}
	return all, nil
}

// origin is where a prompt was first seen.
type origin struct {
	line   int
	answer string
}

func parseQuestion(line []byte, keys Keys) (Question, error) {
	if !utf8.Valid(line) {
		return Question{}, errors.New("not valid UTF-8")
	}
	var raw struct {
		Prompt *string `json:"prompt"`
		Answer *string `json:"answer"`
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if keys == OnlyKnown {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&raw); err != nil {
		return Question{}, fmt.Errorf(`not {"prompt": "…", "answer": "…"}: %w`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Question{}, errors.New("something follows the object on the same line")
	}
	switch {
	case raw.Prompt == nil || *raw.Prompt == "":
		return Question{}, errors.New(`"prompt" is missing or empty`)
	case raw.Answer == nil || *raw.Answer == "":
		return Question{}, errors.New(`"answer" is missing or empty`)
	}
	return Question{Prompt: *raw.Prompt, Answer: *raw.Answer}, nil
}

func explainLine(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes", maxLine)
	}
	return err
}
