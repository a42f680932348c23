package safetensors

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Index is the content of a model.safetensors.index.json: which shard holds which tensor.
type Index struct {
	TotalSize int64             // bytes of all tensors, 0 when the index does not say
	Shards    map[string]string // tensor name → file name
	Metadata  map[string]string // further keys of "metadata" → their value as JSON text
	Extra     map[string]string // further keys of the index itself → their value as JSON text
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
	data, err := mapFile(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot map the file into memory: %w", clean(path), err)
	}
	ix, bad := parseIndex(data)
	if err := unmapFile(data); err != nil {
		return nil, fmt.Errorf("%s: %w", clean(path), err)
	}
	if bad != nil {
		bad.Path = path
		return nil, bad
	}
	return ix, nil
}

// parseIndex checks and reads the content of an index file, twice: a broken one is refused before it costs memory.
func parseIndex(data []byte) (*Index, *FormatError) {
	if !utf8.Valid(data) {
		return nil, broken(RuleUTF8, "the index holds bytes that are not UTF-8")
	}
	check := &indexReader{scanner: scanner{data: data}}
	if err := check.read(); err != nil {
		return nil, err
	}
	r := &indexReader{scanner: scanner{data: data}, keep: true, files: make(map[string]string),
		index: Index{Shards: make(map[string]string, check.tensors)}}
	if err := r.read(); err != nil {
		return nil, err
	}
	return &r.index, nil
}

// maxOther bounds the keys without a meaning here that are kept.
const maxOther = 1000

// indexReader reads an index; unless keep is set it only checks the grammar and the shard names, and counts.
type indexReader struct {
	scanner
	keep    bool
	tensors int
	others  int
	index   Index
	files   map[string]string // shard names read so far, so that equal ones share one string
}

// read reads the whole index.
func (r *indexReader) read() *FormatError {
	if !r.accept('{') {
		return broken(RuleIndex, "the index is not an object")
	}
	var hasMap, hasMetadata bool
	for first := true; ; first = false {
		more, err := r.more('}', first)
		switch {
		case err != nil:
			return err
		case !more && !hasMap:
			return broken(RuleIndex, "the index has no weight_map")
		case !more:
			return r.end()
		}
		key, err := r.key()
		switch {
		case err != nil:
			return err
		case key.is("weight_map") && !hasMap:
			hasMap, err = true, r.weightMap()
		case key.is("metadata") && !hasMetadata:
			hasMetadata, err = true, r.metadata()
		case key.is("weight_map"), key.is("metadata"):
			err = broken(RuleDuplicate, "the index has %s twice", key)
		default:
			err = r.other(&r.index.Extra, key.String())
		}
		if err != nil {
			return err
		}
	}
}

// weightMap reads tensor → shard.
func (r *indexReader) weightMap() *FormatError {
	if !r.accept('{') {
		return broken(RuleIndex, "weight_map is not an object")
	}
	for first := true; ; first = false {
		more, err := r.more('}', first)
		if err != nil || !more {
			return err
		}
		key, err := r.key()
		if err != nil {
			return err
		}
		file, err := r.shard()
		if err != nil {
			err.Tensor = key.String()
			return err
		}
		if r.tensors++; !r.keep {
			continue
		}
		name := key.String()
		if _, twice := r.index.Shards[name]; twice {
			err := broken(RuleDuplicate, "its name occurs twice in weight_map")
			err.Tensor = name
			return err
		}
		r.index.Shards[name] = file
	}
}

// shard reads and checks one shard's name.
func (r *indexReader) shard() (string, *FormatError) {
	if !r.next('"') {
		return "", broken(RuleIndex, "its shard is not a string")
	}
	value, err := r.text("a shard's name")
	if err != nil {
		return "", err
	}
	if file, known := r.files[string(value.raw)]; known {
		return file, nil
	}
	if len(value.raw) > 6*maxShardName {
		return "", broken(RuleShardName, "the shard's name has %d bytes", len(value.raw))
	}
	file := value.String()
	if err := checkShardName(file); err != nil {
		return "", err
	}
	if r.keep {
		r.files[string(value.raw)] = file
	}
	return file, nil
}

// metadata reads total_size and keeps the other values as they stand.
func (r *indexReader) metadata() *FormatError {
	if !r.accept('{') {
		return broken(RuleIndex, "metadata is not an object")
	}
	seen := false
	for first := true; ; first = false {
		more, err := r.more('}', first)
		if err != nil || !more {
			return err
		}
		key, err := r.key()
		switch {
		case err != nil:
			return err
		case !key.is("total_size"):
			err = r.other(&r.index.Metadata, key.String())
		case seen:
			err = broken(RuleDuplicate, "metadata has total_size twice")
		default:
			seen = true
			r.index.TotalSize, err = r.totalSize()
		}
		if err != nil {
			return err
		}
	}
}

// totalSize reads an integer, also when it is spelled like 123.0: older versions of transformers multiplied by a
// fractional element size and wrote it so.
func (r *indexReader) totalSize() (int64, *FormatError) {
	r.space()
	start := r.pos
	if err := r.skip(0); err != nil {
		return 0, err
	}
	number := string(r.data[start:min(r.pos, start+40)])
	v, err := strconv.ParseInt(strings.TrimSuffix(number, ".0"), 10, 64)
	if err != nil || v < 0 {
		return 0, broken(RuleNumber, "the index gives total_size as %s", quote(number))
	}
	return v, nil
}

// other keeps a value as it stands under a key that has no meaning here, so that writing the index does not lose it.
func (r *indexReader) other(into *map[string]string, key string) *FormatError {
	if r.others++; r.others > maxOther {
		return broken(RuleIndex, "the index has more than %d keys without a meaning", maxOther)
	}
	r.space()
	start := r.pos
	if err := r.skip(0); err != nil || !r.keep {
		return err
	}
	if _, twice := (*into)[key]; twice {
		return broken(RuleDuplicate, "the index has %s twice", quote(key))
	}
	if *into == nil {
		*into = map[string]string{}
	}
	(*into)[key] = string(r.data[start:r.pos])
	return nil
}

// Write makes the index file at path, atomically as the function Write does for tensors.
func (ix *Index) Write(path string) error {
	data, err := ix.encode()
	if err != nil {
		return fmt.Errorf("%s: %w", clean(path), err)
	}
	return writeAtomic(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// encode makes the index's JSON, laid out as transformers does, and checks it by reading it.
func (ix *Index) encode() ([]byte, error) {
	b := []byte("{\n  \"metadata\": {\n    \"total_size\": ")
	b = appendCount(b, ix.TotalSize)
	b = appendOthers(b, ix.Metadata, ",\n    ")
	b = append(b, "\n  },\n  \"weight_map\": {"...)
	separator := "\n    "
	for _, name := range slices.Sorted(maps.Keys(ix.Shards)) {
		b = append(appendJSON(append(b, separator...), name), ": "...)
		b = appendJSON(b, ix.Shards[name])
		separator = ",\n    "
	}
	b = append(b, "\n  }"...)
	b = append(appendOthers(b, ix.Extra, ",\n  "), "\n}\n"...)
	if len(b) > maxIndex {
		return nil, broken(RuleIndex, "the index would have %d bytes", len(b))
	}
	if _, bad := parseIndex(b); bad != nil {
		return nil, bad
	}
	return b, nil
}

// appendOthers appends keys with values that are JSON text already.
func appendOthers(b []byte, values map[string]string, separator string) []byte {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b = append(appendJSON(append(b, separator...), key), ": "...)
		b = append(b, values[key]...)
	}
	return b
}
