package safetensors

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Info describes one tensor of a file.
type Info struct {
	Name   string
	DType  DType
	Shape  []int // row-major; empty for a scalar
	Offset int64 // of the first byte, from the start of the data section
	Size   int64 // bytes
}

// Elements returns the number of elements, the product of the shape.
func (i Info) Elements() int64 {
	n := int64(1)
	for _, d := range i.Shape {
		n *= int64(d)
	}
	return n
}

// File is an open, checked safetensors file. Its methods may be used at the same time by many goroutines, except Close.
type File struct {
	path string
	file *os.File
	data []byte // the whole file, mapped
	head *header
}

// Open maps the file at path and checks it against every rule of the format. A file that breaks one gives a *FormatError,
// a missing one an error for which errors.Is(err, fs.ErrNotExist) holds.
func Open(path string) (*File, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	data, err := mapFile(f, size)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: cannot map the file into memory: %w", clean(path), err)
	}
	head, bad := parse(data)
	if bad != nil {
		unmapFile(data)
		f.Close()
		bad.Path = path
		return nil, bad
	}
	return &File{path: path, file: f, data: data, head: head}, nil
}

// openRegular opens a regular file for reading and returns its size.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		f.Close()
		e := broken(RuleRegular, "it is not a regular file")
		e.Path, e.Remedy = path, "name the weight file itself"
		return nil, 0, e
	}
	if st.Size() > maxInt {
		f.Close()
		return nil, 0, fmt.Errorf("%s: %d bytes do not fit this machine's address space", clean(path), st.Size())
	}
	return f, st.Size(), nil
}

// Close unmaps the file; every view that Bytes gave is invalid from here on.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := unmapFile(f.data)
	if e := f.file.Close(); err == nil {
		err = e
	}
	f.data, f.file = nil, nil
	if err != nil {
		return fmt.Errorf("%s: closing: %w", clean(f.path), err)
	}
	return nil
}

// Path returns the path the file was opened with.
func (f *File) Path() string { return f.path }

// Metadata returns a fresh copy of the header's __metadata__, nil when the file has none. It must not be called after Close.
func (f *File) Metadata() map[string]string {
	if len(f.head.metadata) == 0 || f.data == nil {
		return nil
	}
	json := f.data[8 : 8+f.head.length]
	m := make(map[string]string, len(f.head.metadata))
	for _, at := range f.head.metadata {
		s := scanner{data: json, pos: int(at)}
		key, _ := s.key()
		value, _ := s.text("a string")
		m[key.String()] = value.String()
	}
	return m
}

// Tensors returns all tensors in the order in which their data lies in the file. The caller must not change it.
func (f *File) Tensors() []Info { return f.head.infos }

// Header returns a read-only view of the file's beginning, up to the data: the length and the header with its padding. It
// is valid until Close and nil after it.
func (f *File) Header() []byte {
	if f.data == nil {
		return nil
	}
	return f.data[: 8+f.head.length : 8+f.head.length]
}

// Info returns the tensor of the given name.
func (f *File) Info(name string) (Info, bool) {
	i, ok := slices.BinarySearchFunc(f.head.byName, name, func(i int32, name string) int {
		return strings.Compare(f.head.infos[i].Name, name)
	})
	if !ok {
		return Info{}, false
	}
	return f.head.infos[f.head.byName[i]], true
}

// Bytes returns a read-only view of a tensor's data, valid until Close.
func (f *File) Bytes(name string) ([]byte, error) {
	info, ok := f.Info(name)
	if !ok {
		return nil, fmt.Errorf("%s has no tensor %s", clean(f.path), quote(name))
	}
	if f.data == nil {
		return nil, fmt.Errorf("%s is closed: tensor %s cannot be read", clean(f.path), quote(name))
	}
	at := 8 + f.head.length + info.Offset
	return f.data[at : at+info.Size : at+info.Size], nil
}
