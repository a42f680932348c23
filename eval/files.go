package eval

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"d2nwg/internal/stats"
	"d2nwg/internal/textfile"
)

// ReadQuestions reads a JSONL file, one {"prompt": …, "answer": …} a line (.gz is unpacked), and cuts it by the hash of
// the prompt. Both are taken as they stand: a space between them belongs to one of them. Blank lines are skipped,
// repeated lines count once; one prompt with two answers is an error, as is any other key.
func ReadQuestions(path string, shares stats.Shares) (*Dataset, error) {
	if err := shares.Check(); err != nil {
		return nil, err
	}
	all, err := textfile.Questions(path, textfile.OnlyKnown)
	if err != nil {
		return nil, err
	}
	return CutQuestions(path, all, shares), nil
}

// CutQuestions makes a data set of questions, each cut by the hash of its prompt.
func CutQuestions(name string, all []textfile.Question, shares stats.Shares) *Dataset {
	d := &Dataset{Name: name, Questions: map[stats.Split][]Question{}}
	for _, q := range all {
		split := shares.Cut(q.Prompt)
		d.Questions[split] = append(d.Questions[split], Question{Prompt: q.Prompt, Answer: q.Answer})
	}
	return d
}

// ReadDocuments reads a text file (.gz is unpacked) for bits per byte. Documents stand between separators; an empty
// separator means "<|endoftext|>" if the file has it, else two blank lines if it has them, else one. Documents are
// trimmed, repeated ones count once, and each is cut by its own hash.
func ReadDocuments(path, separator string, shares stats.Shares) (*Dataset, error) {
	if err := shares.Check(); err != nil {
		return nil, err
	}
	r, err := textfile.Open(path)
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
