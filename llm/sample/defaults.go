package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// DefaultsName is the file of a checkpoint folder that says how to generate with it.
const DefaultsName = "generation_config.json"

// Defaults are what a checkpoint's generation_config.json asks for, with the defaults of transformers for what it
// leaves out.
type Defaults struct {
	Options Options  // temperature 1 and top-k 50 where the file names none
	Sample  bool     // do_sample: draw at all; else the most likely token is taken whatever the options say
	EOS     []int    // ids that end a text; those of config.json where the file names none
	MaxNew  int      // max_new_tokens; 0: the file doesn't say
	Stops   []string // stop_strings
	Ignored []string // settings of the file that would change the text and that this package lacks, sorted
}

// ReadDefaults reads generation_config.json of a checkpoint folder; it may be missing. Errors wrap
// safetensors.ErrFormat where the file can't be used.
func ReadDefaults(dir string, config llm.Config) (Defaults, error) {
	path := filepath.Join(dir, DefaultsName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return parseDefaults([]byte("{}"), config)
	}
	if err != nil {
		return Defaults{}, fmt.Errorf("reading the generation settings: %w", err)
	}
	defer f.Close()
	const most = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return Defaults{}, fmt.Errorf("reading the generation settings: %w", err)
	}
	if len(data) > most {
		return Defaults{}, fmt.Errorf("%s: %w: larger than %d bytes", path, safetensors.ErrFormat, most)
	}
	d, err := parseDefaults(data, config)
	if err != nil {
		return Defaults{}, fmt.Errorf("%s: %w: %w", path, safetensors.ErrFormat, err)
	}
	return d, nil
}

func parseDefaults(data []byte, config llm.Config) (Defaults, error) {
	var s settings
	if err := json.Unmarshal(data, &s.fields); err != nil {
		return Defaults{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if s.fields == nil {
		return Defaults{}, errors.New("not a JSON object")
	}
	d := Defaults{Options: Off(), EOS: config.EOS}
	d.Options.TopK = 50
	read(&s, "do_sample", "true or false", &d.Sample)
	read(&s, "temperature", "a number", &d.Options.Temperature)
	read(&s, "top_k", "an integer", &d.Options.TopK)
	read(&s, "top_p", "a number", &d.Options.TopP)
	read(&s, "min_p", "a number", &d.Options.MinP)
	read(&s, "repetition_penalty", "a number", &d.Options.RepetitionPenalty)
	read(&s, "max_new_tokens", "an integer", &d.MaxNew)
	readList(&s, "eos_token_id", "a token id or a list of them", &d.EOS)
	readList(&s, "stop_strings", "a text or a list of them", &d.Stops)
	if s.err == nil {
		s.err = d.Options.Check()
	}
	if s.err == nil && d.MaxNew < 0 {
		s.err = fmt.Errorf("max_new_tokens is %d", d.MaxNew)
	}
	d.EOS = slices.DeleteFunc(slices.Clone(d.EOS), func(id int) bool { return id < 0 }) // −1 says that there is none
	d.Ignored = s.ignored()
	return d, s.err
}

// settings are the fields of a generation_config.json; the first error sticks.
type settings struct {
	fields map[string]json.RawMessage
	err    error
}

// text returns a field, "" where it is absent or null.
func (s *settings) text(key string) string {
	if raw := string(s.fields[key]); raw != "null" {
		return raw
	}
	return ""
}

func read[T any](s *settings, key, want string, dst *T) {
	raw := s.text(key)
	if raw == "" || s.err != nil {
		return
	}
	var v T
	if json.Unmarshal([]byte(raw), &v) != nil {
		s.err = fmt.Errorf("%s is %.80s, want %s", key, raw, want)
		return
	}
	*dst = v
}

// readList reads one value or a list of them.
func readList[T any](s *settings, key, want string, dst *[]T) {
	if raw := s.text(key); raw == "" || strings.HasPrefix(raw, "[") {
		read(s, key, want, dst)
		return
	}
	var one T
	read(s, key, want, &one)
	*dst = []T{one}
}

// foreign lists settings that change what transformers generates, with the value that changes nothing ("": absent or
// null).
var foreign = map[string]string{
	"num_beams": "1", "num_beam_groups": "1", "penalty_alpha": "0", "typical_p": "1", "epsilon_cutoff": "0",
	"eta_cutoff": "0", "top_h": "", "no_repeat_ngram_size": "0", "encoder_repetition_penalty": "1",
	"encoder_no_repeat_ngram_size": "0", "min_length": "0", "min_new_tokens": "0", "bad_words_ids": "",
	"force_words_ids": "", "forced_bos_token_id": "", "forced_eos_token_id": "", "suppress_tokens": "",
	"begin_suppress_tokens": "", "sequence_bias": "", "guidance_scale": "1", "exponential_decay_length_penalty": "",
	"watermarking_config": "", "dola_layers": "", "constraints": "",
}

func (s *settings) ignored() []string {
	var names []string
	for key, neutral := range foreign {
		raw := s.text(key)
		if raw == "" || raw == "[]" {
			continue
		}
		got, err := strconv.ParseFloat(raw, 64)
		if same, _ := strconv.ParseFloat(neutral, 64); err != nil || neutral == "" || got != same {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}
