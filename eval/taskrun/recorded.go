package taskrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"d2nwg/eval/lm"
	"d2nwg/eval/metric"
)

// A Sample is what a line of a samples file holds of a document.
type Sample struct {
	DocID   int                        `json:"doc_id"`
	Filter  string                     `json:"filter"`
	Metrics []string                   `json:"metrics"`
	Answers []json.RawMessage          `json:"resps"`
	DocHash string                     `json:"doc_hash"`
	Prompt  string                     `json:"prompt_hash"`
	Target  string                     `json:"target_hash"`
	fields  map[string]json.RawMessage // all of the line
}

// maxSamples bounds a samples file.
const maxSamples = 4 << 30

// ReadSamples reads a samples file. Older versions of the harness leave the filter and the metrics' names out.
func ReadSamples(path string) ([]Sample, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSamples {
		return nil, fmt.Errorf("%s: %d bytes are more than a samples file has", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Sample
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		line = finite(line)
		var s Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s line %d: not a sample of the harness: %w", path, n, err)
		}
		if err := json.Unmarshal(line, &s.fields); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no samples", path)
	}
	return all, nil
}

var notFinite = regexp.MustCompile(`([:\[,] ?)(NaN|-?Infinity)\b`)

// finite quotes what Python writes for numbers that JSON lacks, where they are values.
func finite(line []byte) []byte {
	if json.Valid(line) {
		return line
	}
	return notFinite.ReplaceAll(line, []byte(`$1"$2"`))
}

// Value is the number a metric has in the sample.
func (s Sample) Value(metric string) (float64, bool) {
	raw, ok := s.fields[metric]
	if !ok {
		return 0, false
	}
	var f float64
	if json.Unmarshal(raw, &f) == nil {
		return f, true
	}
	var b bool
	if json.Unmarshal(raw, &b) == nil {
		if b {
			return 1, true
		}
		return 0, true
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && (text == "NaN" || strings.HasSuffix(text, "Infinity")) {
		f, err := strconv.ParseFloat(strings.Replace(text, "Infinity", "Inf", 1), 64)
		return f, err == nil
	}
	return 0, false
}

// Names are the metrics of the sample that are numbers, sorted.
func (s Sample) Names() []string {
	names := slices.Clone(s.Metrics)
	if names == nil { // of an older version
		for key := range s.fields {
			switch key {
			case "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "doc_hash", "prompt_hash", "target_hash":
			default:
				names = append(names, key)
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := s.Value(name)
		return !ok
	})
	slices.Sort(names)
	return names
}

// SampleFiles finds the newest samples file of each task in a folder, or among those that belong to a results file.
func SampleFiles(path string) (map[string]string, error) {
	dir, stamp := path, ""
	if filepath.Ext(path) == ".json" {
		dir = filepath.Dir(path)
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		stamp = name[strings.LastIndexByte(name, '_')+1:]
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), "samples_*_*.jsonl"))
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, file := range files { // sorted by name, so the newest comes last
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "samples_"), ".jsonl")
		at := strings.LastIndexByte(name, '_')
		if stamp == "" || name[at+1:] == stamp {
			found[name[:at]] = file
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no samples_<task>_<time>.jsonl are there; evaluate with --log_samples: %w", path, fs.ErrNotExist)
	}
	return found, nil
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// FromSamples answers requests with what samples files recorded, by task.
func FromSamples(files map[string]string) Answerer {
	return func(_ context.Context, t *Task) ([]any, lm.Tokens, error) {
		path, ok := files[t.Name()]
		if !ok {
			return nil, lm.Tokens{}, errors.New("no answers of it were recorded")
		}
		samples, err := ReadSamples(path)
		if err != nil {
			return nil, lm.Tokens{}, err
		}
		byDoc := map[int]Sample{}
		for _, s := range samples {
			if _, twice := byDoc[s.DocID]; !twice {
				byDoc[s.DocID] = s
			}
		}
		var out []any
		for _, in := range t.Instances {
			s, ok := byDoc[in.TrueID]
			switch {
			case !ok:
				return nil, lm.Tokens{}, fmt.Errorf("%s holds no document %d", path, in.TrueID)
			case s.DocHash != "" && s.DocHash != in.DocHash:
				return nil, lm.Tokens{}, fmt.Errorf("%s: document %d is another one than the task has now", path, in.TrueID)
			case len(s.Answers) != len(in.Requests):
				return nil, lm.Tokens{}, fmt.Errorf("%s: document %d has answers to %d requests, the task asks %d", path, in.TrueID, len(s.Answers), len(in.Requests))
			}
			for i, raw := range s.Answers {
				answers, err := recordedAnswers(raw, string(in.Requests[i].Type))
				if err != nil {
					return nil, lm.Tokens{}, fmt.Errorf("%s: document %d: %w", path, in.TrueID, err)
				}
				out = append(out, answers)
			}
		}
		return out, lm.Tokens{}, nil
	}
}

// recordedAnswers reads the answers to one request, which samples files hold as text.
func recordedAnswers(raw json.RawMessage, output string) ([]any, error) {
	var repeats []json.RawMessage
	if err := json.Unmarshal(raw, &repeats); err != nil {
		return nil, fmt.Errorf("resps: %w", err)
	}
	out := make([]any, len(repeats))
	for i, r := range repeats {
		var err error
		if out[i], err = recordedAnswer(r, output); err != nil {
			return nil, fmt.Errorf("resps: %w", err)
		}
	}
	return out, nil
}

func recordedAnswer(raw json.RawMessage, output string) (any, error) {
	if output == metric.OutputGenerate {
		var text string
		return text, json.Unmarshal(raw, &text)
	}
	parts := []any{}
	var one any
	if err := json.Unmarshal(raw, &one); err != nil {
		return nil, err
	}
	if list, ok := one.([]any); ok {
		parts = list
	} else {
		parts = append(parts, one)
	}
	if len(parts) == 0 {
		return nil, errors.New("no log-likelihood")
	}
	sum, err := number(parts[0])
	if err != nil || output == metric.OutputRolling {
		return sum, err
	}
	if len(parts) != 2 {
		return nil, errors.New("a log-likelihood without whether it is greedy")
	}
	return metric.LogLikelihood{Sum: sum, Greedy: parts[1] == true || parts[1] == "True"}, nil
}

func number(v any) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case string:
		switch v {
		case "nan":
			return math.NaN(), nil
		case "inf":
			return math.Inf(1), nil
		case "-inf":
			return math.Inf(-1), nil
		}
		return strconv.ParseFloat(v, 64)
	}
	return 0, fmt.Errorf("%v is no number", v)
}
