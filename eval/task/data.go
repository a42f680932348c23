package task

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"d2nwg/internal/jinja"
)

const (
	maxRow  = 256 << 20 // bytes of a line of JSON
	maxData = 8 << 30   // bytes of a file, unpacked
)

// Load reads the splits that a task needs. Every row has all columns of its split, None (nil) where it lacks one.
func Load(c *Config, resolve Resolver) (*Dataset, error) {
	data := &Dataset{Splits: map[string][]Doc{}}
	splits := c.Splits()
	if len(splits) == 0 {
		return data, nil
	}
	source, err := c.source(resolve)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", c.Task, err)
	}
	for _, split := range splits {
		files := source.Splits[split]
		if files == nil {
			files = matching(source.Splits[""], c.DatasetName, split)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("task %s: its data %s has no file of the split %q, in %v", c.Task, c.DatasetPath, split, source.Splits)
		}
		for _, path := range files {
			rows, sum, err := readRows(path)
			if err != nil {
				return nil, fmt.Errorf("task %s: %w", c.Task, err)
			}
			data.Splits[split] = append(data.Splits[split], rows...)
			data.Files = append(data.Files, File{Path: path, SHA256: sum})
		}
		fill(data.Splits[split])
		if data.Splits[split] == nil {
			data.Splits[split] = []Doc{}
		}
	}
	return data, nil
}

// source is where the task's data lies: files that its dataset_kwargs name, or what the resolver finds.
func (c *Config) source(resolve Resolver) (Source, error) {
	if c.DatasetPath == "" {
		return Source{}, errors.New("it has no dataset_path")
	}
	if c.DatasetKwargs != nil {
		if v, ok := c.DatasetKwargs.Get("data_files"); ok && v != nil {
			return dataFiles(v)
		}
	}
	if resolve == nil {
		return Source{}, fmt.Errorf("there is nothing that finds the data %s", c.DatasetPath)
	}
	source, err := resolve(c.DatasetPath, c.DatasetName)
	if err != nil {
		return source, fmt.Errorf("its data %s: %w", strings.TrimSpace(c.DatasetPath+" "+c.DatasetName), err)
	}
	return source, nil
}

// dataFiles reads data_files: a file or a list of files of the split train, or a mapping of splits to such.
func dataFiles(v Value) (Source, error) {
	source := Source{Splits: map[string][]string{}}
	d, ok := v.(Doc)
	if !ok {
		d = jinja.NewDict()
		d.Put("train", v)
	}
	for key, files := range d.All() {
		split, ok := key.(string)
		if s, isText := files.(string); isText {
			files = &jinja.List{Items: []Value{s}}
		}
		list, err := textList(files, "data_files")
		if !ok || err != nil {
			return source, errors.New("data_files has to map splits to files")
		}
		source.Splits[split] = list
	}
	return source, nil
}

// DataFiles are patterns of the kinds of files that are read.
var DataFiles = []string{"*.jsonl", "*.ndjson", "*.json", "*.csv", "*.tsv", "*.parquet", "*.gz"}

// Folder finds the data of a configuration in a local folder, or a single file: the folder's card tells the splits, or else
// the names of files and of folders in it do.
func Folder(path, name string) (Source, error) {
	files, err := dataFilesBelow(path)
	if err != nil {
		return Source{}, err
	}
	if len(files) == 0 {
		return Source{}, fmt.Errorf("%s holds no jsonl, json, csv or parquet file", path)
	}
	splits, err := cardFiles(path, name, files)
	if splits == nil {
		splits = map[string][]string{"": files}
	}
	return Source{Splits: splits}, err
}

// aliases are the words by which files name a split.
var aliases = map[string][]string{"train": {"train", "training"}, "validation": {"validation", "valid", "val", "dev"},
	"test": {"test", "testing"}}

var wordEnds = regexp.MustCompile(`[^\pL\pN]+`)

// matching picks the files of a split by their names, of those that name the subset too if any does. A subset's only file is
// every split where no file names any, as in BIG-Bench Hard's repository.
func matching(files []string, subset, split string) []string {
	words := aliases[split]
	if words == nil {
		words = []string{split}
	}
	names := func(path, want string) bool {
		path = strings.TrimSuffix(path, filepath.Ext(path))
		text := "-" + wordEnds.ReplaceAllString(strings.ToLower(path), "-") + "-"
		return strings.Contains(text, "-"+wordEnds.ReplaceAllString(strings.ToLower(want), "-")+"-")
	}
	all := files
	if of := slices.DeleteFunc(slices.Clone(files), func(path string) bool { return !names(path, subset) }); subset != "" && len(of) > 0 {
		files = of
	}
	folderAndFile := func(path string) string { return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path) }
	for _, part := range []func(string) string{filepath.Base, folderAndFile} {
		for _, word := range words {
			var found []string
			for _, path := range files {
				if names(part(path), word) {
					found = append(found, path)
				}
			}
			if found != nil {
				return found
			}
		}
	}
	if len(files) != 1 {
		return nil
	}
	for _, words := range aliases { // one file to a subset in a folder where no name tells a split is all there is of it
		for _, word := range words {
			if slices.ContainsFunc(all, func(path string) bool { return names(folderAndFile(path), word) }) {
				return nil
			}
		}
	}
	return files
}

// readerOf returns what reads a file by its name's end; nil for others.
func readerOf(path string) func(path string, data []byte) ([]Doc, error) {
	switch filepath.Ext(strings.TrimSuffix(strings.ToLower(path), ".gz")) {
	case ".jsonl", ".ndjson":
		return readLines
	case ".json":
		return readJSON
	case ".csv":
		return readCSV(',')
	case ".tsv":
		return readCSV('\t')
	case ".parquet":
		return readParquet
	}
	return nil
}

// readRows reads a file and its SHA-256.
func readRows(path string) ([]Doc, string, error) {
	read := readerOf(path)
	if read == nil {
		return nil, "", fmt.Errorf("%s is none of the kinds of data that are read: jsonl, json, csv, tsv or parquet", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(data)
	if strings.HasSuffix(strings.ToLower(path), ".gz") {
		if data, err = unpack(data); err != nil {
			return nil, "", fmt.Errorf("%s: %w", path, err)
		}
	}
	rows, err := read(path, data)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	return rows, hex.EncodeToString(sum[:]), nil
}

func unpack(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxData+1))
	if err == nil && len(out) > maxData {
		err = fmt.Errorf("it unpacks to more than %d bytes", maxData)
	}
	return out, err
}

func readLines(_ string, data []byte) ([]Doc, error) {
	var rows []Doc
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxRow)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		v, err := jinja.DecodeJSON(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		row, ok := v.(Doc)
		if !ok {
			return nil, fmt.Errorf("line %d is no JSON object", n)
		}
		rows = append(rows, row)
	}
	return rows, lines.Err()
}

// readJSON reads a list of objects, an object with one such list in it, or lines of objects.
func readJSON(path string, data []byte) ([]Doc, error) {
	v, err := jinja.DecodeJSON(data)
	if err != nil {
		rows, err2 := readLines(path, data)
		if err2 != nil {
			return nil, err
		}
		return rows, nil
	}
	list, ok := v.(*jinja.List)
	if d, isDict := v.(Doc); isDict {
		lists := 0
		for _, item := range d.All() {
			if l, isList := item.(*jinja.List); isList && allDocs(l) {
				list, ok = l, true
				lists++
			}
		}
		if lists == 0 {
			return []Doc{d}, nil
		}
		ok = lists == 1
	}
	if !ok || !allDocs(list) {
		return nil, errors.New("it holds no list of objects")
	}
	rows := make([]Doc, len(list.Items))
	for i, item := range list.Items {
		rows[i] = item.(Doc)
	}
	return rows, nil
}

func allDocs(list *jinja.List) bool {
	return !slices.ContainsFunc(list.Items, func(v Value) bool { _, ok := v.(Doc); return !ok })
}

// readCSV reads a table whose first row names the columns; a column of whole numbers or of numbers holds these, an
// empty field is None.
func readCSV(comma rune) func(string, []byte) ([]Doc, error) {
	return func(_ string, data []byte) ([]Doc, error) {
		r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
		r.Comma = comma
		records, err := r.ReadAll()
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, errors.New("it has no row of column names")
		}
		columns := make([]func(string) Value, len(records[0]))
		for i := range columns {
			columns[i] = columnType(records[1:], i)
		}
		rows := make([]Doc, 0, len(records)-1)
		for _, record := range records[1:] {
			row := jinja.NewDict()
			for i, field := range record {
				row.Put(records[0][i], columns[i](field))
			}
			rows = append(rows, row)
		}
		return rows, nil
	}
}

// columnType finds what all fields of a column can be read as.
func columnType(records [][]string, i int) func(string) Value {
	whole, number := true, true
	for _, record := range records {
		if record[i] == "" {
			continue
		}
		v := plainScalar(record[i])
		_, isInt := v.(int)
		_, isFloat := v.(float64)
		whole = whole && isInt
		number = number && (isInt || isFloat)
	}
	return func(s string) Value {
		switch {
		case s == "":
			return nil
		case whole:
			return plainScalar(s)
		case number:
			v := plainScalar(s)
			if n, ok := v.(int); ok {
				return float64(n)
			}
			return v
		}
		return s
	}
}

// fill gives every row the columns of all, in the order in which they first came.
func fill(rows []Doc) {
	var names []string
	seen := map[string]bool{}
	for _, row := range rows {
		for key := range row.All() {
			if name, ok := key.(string); ok && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	for i, row := range rows {
		if row.Len() == len(names) {
			continue
		}
		full := jinja.NewDict()
		for _, name := range names {
			v, _ := row.Get(name)
			full.Put(name, v)
		}
		rows[i] = full
	}
}
