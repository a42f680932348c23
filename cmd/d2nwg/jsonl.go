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

// answerLines reads JSON Lines from standard input and writes what answer makes of each on one line, in order. Answers
// are written as soon as no more input is at hand; those before an error are kept.
func (s *session) answerLines(ctx context.Context, answer func(line []byte) (any, error)) error {
	in := bufio.NewReaderSize(s.In, 1<<16)
	out := bufio.NewWriterSize(s.UI.Out, 1<<16)
	defer out.Flush() // an error of Flush after the last line is returned below
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			value, err := answer(line)
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			if err := encoder.Encode(value); err != nil {
				return fmt.Errorf("writing the answer to line %d: %w", n, err)
			}
		}
		if err == nil && in.Buffered() > 0 {
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
