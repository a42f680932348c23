package safetensors

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Index is the content of a model.safetensors.index.json: which shard holds which tensor.
type Index struct {
	TotalSize int64             // bytes of all tensors, 0 when the index does not say
	Shards    map[string]string // tensor name → file name
	Metadata  map[string]string // further keys of "metadata" → their value as JSON text
}

// ReadIndex reads and checks the index at path. A file that breaks a rule gives a *FormatError.
func ReadIndex(path string) (*Index, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxIndex {
		e := broken(RuleIndex, "the index has %d bytes", size)
		e.Path = path
		return nil, e
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s: reading: %w", clean(path), err)
	}
	ix, bad := ParseIndex(data)
	if bad != nil {
		bad.Path = path
		return nil, bad
	}
	return ix, nil
}

// ParseIndex checks and reads the content of an index file.
func ParseIndex(data []byte) (*Index, *FormatError) {
	if !utf8.Valid(data) {
		return nil, broken(RuleIndex, "the index holds bytes that are not UTF-8")
	}
	if _, err := readIndex(data, false); err != nil {
		return nil, err
	}
	return readIndex(data, true)
}

// readIndex walks the index, keeping what it reads only if asked to, so that a broken one is refused before it costs
// memory.
func readIndex(data []byte, keep bool) (*Index, *FormatError) {
	ix := &Index{}
	var haveMap, haveMetadata bool
	s := &scanner{data: data}
	err := s.object(func(key text, _ int) *FormatError {
		switch {
		case key.is("weight_map") && !haveMap:
			haveMap = true
			return s.weightMap(ix, keep)
		case key.is("metadata") && !haveMetadata:
			haveMetadata = true
			return s.indexMetadata(ix, keep)
		case key.is("weight_map"), key.is("metadata"):
			return broken(RuleDuplicate, "the index has %s twice", key)
		}
		return broken(RuleIndex, "the index has the unknown key %s", quote(key.String()))
	})
	switch {
	case err != nil:
		return nil, err
	case !haveMap:
		return nil, broken(RuleIndex, "the index has no weight_map")
	}
	return ix, s.end()
}

// weightMap reads tensor → shard; equal shard names share one string.
func (s *scanner) weightMap(ix *Index, keep bool) *FormatError {
	if keep {
		ix.Shards = map[string]string{}
	}
	files := map[string]string{}
	return s.object(func(key text, _ int) *FormatError {
		value, err := s.text("a shard's name")
		if err != nil {
			return err
		}
		file, known := files[string(value.raw)]
		if !known {
			file = value.String()
			if err := CheckShardName(file); err != nil {
				err.Tensor = key.String()
				return err
			}
			if keep {
				files[string(value.raw)] = file
			}
		}
		if !keep {
			return nil
		}
		name := key.String()
		if _, twice := ix.Shards[name]; twice {
			e := broken(RuleDuplicate, "its name occurs twice in weight_map")
			e.Tensor = name
			return e
		}
		ix.Shards[name] = file
		return nil
	})
}

// indexMetadata reads total_size and keeps the other values as they stand.
func (s *scanner) indexMetadata(ix *Index, keep bool) *FormatError {
	seen := map[string]bool{}
	return s.object(func(key text, _ int) *FormatError {
		name := key.String()
		if seen[name] {
			return broken(RuleDuplicate, "metadata has %s twice", quote(name))
		}
		seen[name] = true
		s.space()
		start := s.pos
		if name == "total_size" {
			n, err := s.count()
			if err == nil {
				ix.TotalSize = n
			}
			return err
		}
		if err := s.skip(0); err != nil {
			return err
		}
		if keep {
			if ix.Metadata == nil {
				ix.Metadata = map[string]string{}
			}
			ix.Metadata[name] = string(s.data[start:s.pos])
		}
		return nil
	})
}

// CheckShardName refuses names that could lead out of the checkpoint's directory, and files of another format.
func CheckShardName(name string) *FormatError {
	plain := name != "" && !strings.ContainsAny(name, "/\\:") && name[0] != '.' && strings.HasSuffix(name, ".safetensors") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if !plain || len(name) > 255 {
		return broken(RuleShardName, "the shard's name %s is refused", quote(name))
	}
	return nil
}

// ShardName returns the usual name of shard i (from 1) of n.
func ShardName(i, n int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i, n) }

// Files returns the shards, sorted.
func (ix *Index) Files() []string {
	set := map[string]bool{}
	for _, file := range ix.Shards {
		set[file] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// Write makes the index file at path, atomically as Write does for tensors.
func (ix *Index) Write(path string) error {
	b := []byte("{\n  \"metadata\": {\n")
	extra := maps.Clone(ix.Metadata)
	delete(extra, "total_size")
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		s := &scanner{data: []byte(extra[key])}
		if bad := s.skip(0); bad != nil || s.end() != nil {
			return fmt.Errorf("%s: the metadata %s is not JSON", clean(path), quote(key))
		}
		b = append(appendJSON(append(b, "    "...), key), ": "...)
		b = append(append(b, extra[key]...), ",\n"...)
	}
	b = appendCount(append(b, "    \"total_size\": "...), ix.TotalSize)
	b = append(b, "\n  },\n  \"weight_map\": {"...)
	for i, name := range slices.Sorted(maps.Keys(ix.Shards)) {
		if bad := CheckShardName(ix.Shards[name]); bad != nil {
			bad.Path, bad.Tensor = path, name
			return bad
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(append(b, "\n    "...), name), ": "...)
		b = appendJSON(b, ix.Shards[name])
	}
	b = append(b, "\n  }\n}\n"...)
	return writeAtomic(path, func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
}
