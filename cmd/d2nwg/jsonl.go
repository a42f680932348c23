package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line of input: more ids than any model's context.
const maxLine = 64 << 20

// inputLine is a line of input with its number.
type inputLine struct {
	n    int
	text []byte
}

// answerLines reads JSON Lines from standard input and writes what answer makes of each on one line, in order. Answers
// are written as soon as no more input is at hand; those before an error are kept.
func (s *session) answerLines(ctx context.Context, answer func(line []byte) (any, error)) error {
	return s.answerBatches(ctx, 1, func(lines []inputLine) ([]any, error) {
		value, err := answer(lines[0].text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", lines[0].n, err)
		}
		return []any{value}, nil
	})
}

// answerBatches is answerLines for up to most lines at once, fewer where no more input is at hand. With an error,
// which names the line, come the answers to the lines before it.
func (s *session) answerBatches(ctx context.Context, most int, answer func(lines []inputLine) ([]any, error)) error {
	in := bufio.NewReaderSize(s.In, 1<<16)
	out := bufio.NewWriterSize(s.UI.Out, 1<<16)
	defer out.Flush() // an error of Flush after the last line is returned below
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	var lines []inputLine
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := readLine(in)
		failed := err != nil && !errors.Is(err, io.EOF)
		if !failed && len(bytes.TrimSpace(line)) > 0 {
			if most > 1 {
				line = bytes.Clone(line) // the reader's memory is used again
			}
			lines = append(lines, inputLine{n, line})
		}
		more := err == nil && in.Buffered() > 0
		if len(lines) > 0 && (len(lines) == most || !more) {
			values, err := answer(lines)
			for _, value := range values {
				if err := encoder.Encode(value); err != nil {
					return fmt.Errorf("writing the answers up to line %d: %w", n, err)
				}
			}
			if err != nil {
				return err
			}
			lines = lines[:0]
		}
		if failed {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if more {
			continue
		}
		if flushed := out.Flush(); flushed != nil {
			return fmt.Errorf("writing answers: %w", flushed)
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line without a copy where it fits the reader's memory; with io.EOF the last one.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
		line, err = in.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}
