package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"unicode/utf8"
)

// Source is one tensor to write: what the header says of it, and a function that writes exactly its bytes.
type Source struct {
	Name    string
	DType   DType
	Shape   []int
	WriteTo func(w io.Writer) error
}

// Floats makes a Source that encodes values, in pieces, as dt.
func Floats(name string, dt DType, shape []int, values []float32) Source {
	return Source{Name: name, DType: dt, Shape: shape, WriteTo: func(w io.Writer) error {
		const piece = 64 << 10
		width, ok := dt.Bits()
		if !ok {
			return fmt.Errorf("dtype %s is unknown", quote(string(dt)))
		}
		buf := make([]byte, min(piece, len(values))*width/8)
		for part := range slices.Chunk(values, piece) {
			b := buf[:len(part)*width/8]
			if err := Encode(b, dt, part); err != nil {
				return err
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	}}
}

// Raw makes a Source of bytes that are already in the file's form.
func Raw(name string, dt DType, shape []int, data []byte) Source {
	return Source{Name: name, DType: dt, Shape: shape, WriteTo: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// Source returns a tensor of an open file as a Source that copies it byte for byte.
func (f *File) Source(name string) (Source, error) {
	info, ok := f.Info(name)
	if !ok {
		return Source{}, fmt.Errorf("%s has no tensor %s", clean(f.path), quote(name))
	}
	return Source{Name: info.Name, DType: info.DType, Shape: info.Shape, WriteTo: func(w io.Writer) error {
		data, err := f.Bytes(name)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}}, nil
}

// Layout places tensors one after another in the given order. It returns copies of them with Offset and Size filled in,
// and the beginning of the file that holds them: the length and the header, padded with spaces so that the data begins at
// a multiple of 8. Only Name, DType and Shape of the given tensors are read.
func Layout(metadata map[string]string, tensors []Info) (head []byte, placed []Info, err error) {
	placed = slices.Clone(tensors)
	names := make(map[string]bool, len(tensors))
	at := int64(0)
	for i := range placed {
		t := &placed[i]
		if bad := place(t, at, names); bad != nil {
			bad.Tensor = t.Name
			return nil, nil, bad
		}
		at += t.Size
	}
	head, bad := encodeHeader(metadata, placed)
	if bad != nil {
		return nil, nil, bad
	}
	return head, placed, nil
}

// place fills in one tensor's offset and size.
func place(t *Info, at int64, names map[string]bool) *FormatError {
	width, ok := t.DType.Bits()
	elements := int64(1)
	for _, d := range t.Shape {
		if d < 0 {
			return broken(RuleNumber, "its shape %v has a negative dimension", t.Shape)
		}
		var fits bool
		if elements, fits = mulCount(elements, int64(d)); !fits {
			return broken(RuleOverflow, "the product of its shape %v does not fit", t.Shape)
		}
	}
	size, whole, fits := byteSize(elements, width)
	switch {
	case !ok:
		return broken(RuleDType, "its dtype %s is unknown", quote(string(t.DType)))
	case t.Name == metadataKey:
		return broken(RuleMetadata, "no tensor may have this name")
	case !utf8.ValidString(t.Name):
		return broken(RuleUTF8, "its name is not UTF-8")
	case names[t.Name]:
		return broken(RuleDuplicate, "its name occurs twice")
	case !whole:
		return broken(RuleWhole, "%d elements of %s do not fill whole bytes", elements, t.DType)
	case !fits || at > 1<<63-1-size:
		return broken(RuleOverflow, "its shape %v does not fit", t.Shape)
	}
	names[t.Name] = true
	t.Offset, t.Size = at, size
	return nil
}

// encodeHeader writes length, JSON and padding.
func encodeHeader(metadata map[string]string, tensors []Info) ([]byte, *FormatError) {
	b := append(make([]byte, 8, 128*(len(tensors)+1)), '{')
	if len(metadata) > 0 {
		b = append(appendJSON(b, metadataKey), ":{"...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, broken(RuleUTF8, "the metadata %s is not UTF-8", quote(key))
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSON(b, key), ':')
			b = appendJSON(b, metadata[key])
		}
		b = append(b, '}')
	}
	for i, t := range tensors {
		if i > 0 || len(metadata) > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, t.Name), `:{"dtype":`...)
		b = append(appendJSON(b, string(t.DType)), `,"shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendCount(b, int64(d))
		}
		b = append(appendCount(append(b, `],"data_offsets":[`...), t.Offset), ',')
		b = append(appendCount(b, t.Offset+t.Size), "]}"...)
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b)-8 > maxHeader {
		return nil, broken(RuleLength, "the header would take %d bytes", len(b)-8)
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, nil
}

// Write makes the file at path from tensors, in their order, streaming each. The file appears whole or not at all: it is
// written beside path under a temporary name, synced, and renamed; on any error the temporary file is removed and
// whatever was at path stays as it was.
func Write(path string, metadata map[string]string, tensors []Source) error {
	head, infos, err := layoutSources(path, metadata, tensors)
	if err != nil {
		return err
	}
	return writeAtomic(path, func(f *os.File) error { return stream(f, head, infos, tensors) })
}

// stream writes a whole file to w, holding each source to the size that the header gives it.
func stream(w io.Writer, head []byte, infos []Info, tensors []Source) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	for i, t := range tensors {
		b := &bounded{w: w, left: infos[i].Size}
		if err := t.WriteTo(b); err != nil {
			return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
		}
		if b.left != 0 {
			return fmt.Errorf("tensor %s: its source wrote %d bytes too few of %d", quote(t.Name), b.left, infos[i].Size)
		}
	}
	return nil
}

// layoutSources is Layout for sources; path is named in the error.
func layoutSources(path string, metadata map[string]string, tensors []Source) ([]byte, []Info, error) {
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		infos[i] = Info{Name: t.Name, DType: t.DType, Shape: t.Shape}
	}
	head, infos, err := Layout(metadata, infos)
	if bad := (*FormatError)(nil); errors.As(err, &bad) {
		bad.Path = path
	}
	return head, infos, err
}

// bounded passes on no more bytes than a tensor has.
type bounded struct {
	w    io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("its source writes %d bytes more than its shape and dtype hold", int64(len(p))-b.left)
	}
	n, err := b.w.Write(p)
	b.left -= int64(n)
	return n, err
}
