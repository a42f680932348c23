package eval

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"d2nwg/internal/stats"
)

// Limits of files. They are far above what scoring can use and keep a wrong file from filling memory.
const (
	maxQuestions = 1_000_000
	maxLine      = 1 << 20 // bytes of a JSONL line
	maxText      = 1 << 30 // bytes of a file, unpacked
)

// ReadQuestions reads a JSONL file, one {"prompt": …, "answer": …} a line (.gz is unpacked), and cuts it by the hash of
// the prompt. Both are taken as they stand: a space between them belongs to one of them. Blank lines are skipped,
// repeated lines count once; one prompt with two answers is an error, as is any other key.
func ReadQuestions(path string, shares stats.Shares) (*Dataset, error) {
	if err := shares.Check(); err != nil {
		return nil, err
	}
	r, err := openText(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	d := &Dataset{Name: path, Questions: map[stats.Split][]Question{}}
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
		q, err := parseQuestion(line)
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
		split := shares.Cut(q.Prompt)
		d.Questions[split] = append(d.Questions[split], q)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s after line %d: %w", path, n, explainLine(err))
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf(`%s has no question; write one {"prompt": "…", "answer": "…"} a line`, path)
	}
	return d, nil
}

// origin is where a prompt was first seen.
type origin struct {
	line   int
	answer string
}

func parseQuestion(line []byte) (Question, error) {
	if !utf8.Valid(line) {
		return Question{}, errors.New("not valid UTF-8")
	}
	var raw struct {
		Prompt *string `json:"prompt"`
		Answer *string `json:"answer"`
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
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

// ReadDocuments reads a text file (.gz is unpacked) for bits per byte. Documents stand between separators; an empty
// separator means "<|endoftext|>" if the file has it, else two blank lines if it has them, else one. Documents are
// trimmed, repeated ones count once, and each is cut by its own hash.
func ReadDocuments(path, separator string, shares stats.Shares) (*Dataset, error) {
	if err := shares.Check(); err != nil {
		return nil, err
	}
	r, err := openText(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s is not valid UTF-8 text", path)
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	if separator == "" {
		separator = findSeparator(text)
	}
	d := &Dataset{Name: path, Documents: map[stats.Split][]string{}}
	seen := map[string]bool{}
	for document := range strings.SplitSeq(text, separator) {
		document = strings.TrimSpace(document)
		if document == "" || seen[document] {
			continue
		}
		seen[document] = true
		split := shares.Cut(document)
		d.Documents[split] = append(d.Documents[split], document)
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("%s has no text", path)
	}
	return d, nil
}

func findSeparator(text string) string {
	for _, separator := range []string{"<|endoftext|>", "\n\n\n"} {
		if strings.Contains(text, separator) {
			return separator
		}
	}
	return "\n\n"
}

// openText opens a file, unpacking .gz, and fails on reading past maxText bytes.
func openText(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text := &textFile{file: file, left: maxText, path: path, r: file}
	if strings.HasSuffix(path, ".gz") {
		if text.r, err = gzip.NewReader(bufio.NewReader(file)); err != nil {
			file.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return text, nil
}

type textFile struct {
	file *os.File
	r    io.Reader
	left int64
	path string
}

func (t *textFile) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.left -= int64(n); t.left < 0 {
		return 0, fmt.Errorf("%s holds more than %d bytes of text", t.path, int64(maxText))
	}
	return n, err
}

func (t *textFile) Close() error { return t.file.Close() }
