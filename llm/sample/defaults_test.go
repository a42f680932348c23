package sample

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

func readDefaults(t *testing.T, text string) (Defaults, error) {
	t.Helper()
	dir := t.TempDir()
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, DefaultsName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ReadDefaults(dir, llm.Config{EOS: []int{7, 8}})
}

func TestReadDefaults(t *testing.T) {
	plain := Options{Temperature: 1, TopK: 50, TopP: 1, RepetitionPenalty: 1}
	for text, want := range map[string]Defaults{
		"":   {Options: plain, EOS: []int{7, 8}},
		"{}": {Options: plain, EOS: []int{7, 8}},
		`{"bos_token_id":1,"eos_token_id":2,"do_sample":true,"temperature":0.6,"top_p":0.9,"max_length":4096}`: {
			Options: Options{Temperature: 0.6, TopK: 50, TopP: 0.9, RepetitionPenalty: 1}, Sample: true, EOS: []int{2}},
		`{"eos_token_id":[128001,128009],"top_k":0,"min_p":0.1,"repetition_penalty":1.1,"max_new_tokens":9,
		  "stop_strings":"END","top_p":null,"num_beams":1,"typical_p":1.0,"transformers_version":"4.45"}`: {
			Options: Options{Temperature: 1, TopP: 1, MinP: 0.1, RepetitionPenalty: 1.1}, EOS: []int{128001, 128009},
			MaxNew: 9, Stops: []string{"END"}},
		`{"num_beams":4,"suppress_tokens":[1],"begin_suppress_tokens":[],"no_repeat_ngram_size":3,"eos_token_id":-1,
		  "stop_strings":["a","b"]}`: {
			Options: plain, EOS: []int{}, Stops: []string{"a", "b"},
			Ignored: []string{"no_repeat_ngram_size", "num_beams", "suppress_tokens"}},
	} {
		got, err := readDefaults(t, text)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (−want +got):\n%s", text, err, d)
		}
	}
	for text, word := range map[string]string{
		`[]`: "object", `null`: "object", `{"temperature":"hot"}`: "temperature", `{"temperature":-1}`: "temperature",
		`{"top_k":1.5}`: "top_k", `{"top_p":2}`: "top-p",
		`{"eos_token_id":"</s>"}`: "eos_token_id", `{"eos_token_id":[1,"x"]}`: "eos_token_id",
		`{"do_sample":1}`: "do_sample", `{"stop_strings":[3]}`: "stop_strings",
		`{"max_new_tokens":-3}`:    "max_new_tokens",
		`{"repetition_penalty":0}`: "repetition", `{`: "JSON", `{"x":"` + strings.Repeat("y", 1<<20) + `"}`: "larger",
	} {
		_, err := readDefaults(t, text)
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), word) ||
			!strings.Contains(err.Error(), DefaultsName) {
			t.Errorf("%.60s: %v, want a format error about %s", text, err, word)
		}
	}
}
