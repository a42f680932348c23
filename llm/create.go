package llm

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"d2nwg/safetensors"
)

// fileMetadata is what Transformers wants to find in a weight file.
var fileMetadata = map[string]string{"format": "pt"}

// WriteCheckpoint writes a new checkpoint of one weight file from tensors that
// get returns, called once a tensor in canonical order. extra holds further
// files by base name (tokenizer.json …). dir must not exist; it appears whole or
// not at all. A wrong length and a NaN or infinite value (after rounding to dt)
// are errors that name the tensor.
func WriteCheckpoint(dir string, cfg Config, dt safetensors.DType, get func(name string) ([]float32, error), extra map[string][]byte) error {
	return create(dir, cfg, dt, 1<<62, extra, func(s NamedShape, w io.Writer) error {
		values, err := get(s.Name)
		if err != nil {
			return err
		}
		if len(values) != s.Elements() {
			return fmt.Errorf("tensor %q has %d values, shape %v needs %d", s.Name, len(values), s.Shape, s.Elements())
		}
		return encodePieces(w, dt, s, func(dst []float32, first int) { copy(dst, values[first:]) })
	})
}

// RandomCheckpoint writes a checkpoint of a config's shape with random weights:
// normal with deviation 0.02, norms near 1, biases near 0. The same arguments
// give the same bytes. shardBytes limits each weight file's data; 0 means 5 GB.
// It holds a few megabytes whatever the size.
func RandomCheckpoint(dir string, cfg Config, dt safetensors.DType, shardBytes int64, seed uint64) error {
	return create(dir, cfg, dt, shardBytes, nil, func(s NamedShape, w io.Writer) error {
		mean := 0.0
		if strings.HasSuffix(s.Module, "norm") {
			mean = 1
		}
		source := newNormals(s.Name, seed)
		return encodePieces(w, dt, s, func(dst []float32, _ int) { source.fill(dst, mean, 0.02) })
	})
}

// create writes config.json, extra files and every tensor of cfg through emit.
func create(dir string, cfg Config, dt safetensors.DType, shardBytes int64, extra map[string][]byte, emit func(NamedShape, io.Writer) error) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if !isFloat(dt) {
		return fmt.Errorf("weights can't be written as %q", dt)
	}
	cfg.DType = dt
	config, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return err
	}
	var sources []safetensors.Source
	for s := range cfg.tensors() {
		sources = append(sources, safetensors.Source{Name: s.Name, DType: dt, Shape: s.Shape,
			WriteTo: func(w io.Writer) error { return emit(s, w) }})
	}
	return WriteDirectory(dir, false, func(partial string) error {
		if err := writeFiles(partial, map[string][]byte{ConfigName: append(config, '\n')}); err != nil {
			return err
		}
		if err := writeFiles(partial, extra); err != nil {
			return err
		}
		if _, err := safetensors.WriteDir(partial, fileMetadata, sources, shardBytes); err != nil {
			return err
		}
		return reopen(partial)
	})
}

// encodePieces writes a tensor piece by piece; fill gives the values from
// element first on.
func encodePieces(w io.Writer, dt safetensors.DType, s NamedShape, fill func(dst []float32, first int)) error {
	count := s.Elements()
	bits, _ := dt.Bits()
	values := make([]float32, min(writePiece, count))
	raw := make([]byte, len(values)*bits/8)
	for first := 0; first < count; first += len(values) {
		values = values[:min(len(values), count-first)]
		raw = raw[:len(values)*bits/8]
		fill(values, first)
		if err := safetensors.Round(dt, values); err != nil {
			return err
		}
		if err := finite(s.Name, values, first); err != nil {
			return err
		}
		if err := safetensors.Encode(raw, dt, values); err != nil {
			return fmt.Errorf("tensor %q: %w", s.Name, err)
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}
