package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// onlyOld checks that path holds one tensor t of the bytes "old" and that its directory holds nothing else.
func onlyOld(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := f.Bytes("t"); err != nil || string(b) != "old" {
		t.Errorf("the old file holds %q, %v", b, err)
	}
}

// TestWriteBytes spells out a whole file as the reference implementation writes it.
func TestWriteBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), SingleName)
	err := Write(path, map[string]string{"format": "pt", "a\"\\\n\x01é": ""}, []Source{
		Floats("test", F32, []int{1, 2}, []float32{1, -2}), Raw("s", U8, nil, []byte{7})})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"a\"\\\n\u0001é":"","format":"pt"},"test":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},` +
		`"s":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}`
	padded := header + strings.Repeat(" ", (8-len(header)%8)%8)
	want := append(fileOf(padded, 0), "\x00\x00\x80\x3f\x00\x00\x00\xc0\x07"...)
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestWriteFails holds for every way in which a write can fail before its end: the error names file and tensor, the old
// file stays, nothing is left behind.
func TestWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), SingleName)
	if err := Write(path, nil, []Source{Raw("t", U8, []int{3}, []byte("old"))}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("no more")
	twice := Raw("x", U8, []int{1}, []byte{1})
	for _, c := range []struct {
		name   string
		source Source
		rule   Rule
		want   string
	}{
		{"source fails", Source{"x", U8, []int{2}, func(w io.Writer) error { w.Write([]byte{1}); return stop }}, "", "no more"},
		{"too few bytes", Raw("x", U8, []int{2}, []byte{1}), "", "1 bytes too few of 2"},
		{"too many bytes", Raw("x", U8, []int{2}, []byte{1, 2, 3}), "", "1 bytes more"},
		{"too few values", Floats("x", BF16, []int{2}, []float32{1}), "", "2 bytes too few of 4"},
		{"no such encoding", Floats("x", I64, []int{1}, []float32{1}), "", "cannot be written as dtype I64"},
		{"unknown dtype", Raw("x", "F12", []int{2}, nil), RuleDType, `"F12"`},
		{"negative shape", Raw("x", U8, []int{-1}, nil), RuleNumber, "negative"},
		{"overflow", Raw("x", F32, []int{1 << 40, 1 << 40}, nil), RuleOverflow, "does not fit"},
		{"size overflow", Raw("x", F32, []int{1 << 62}, nil), RuleOverflow, "does not fit"},
		{"half a byte", Raw("x", F4, []int{3}, nil), RuleWhole, "whole bytes"},
		{"reserved name", Raw("__metadata__", U8, []int{0}, nil), RuleMetadata, "__metadata__"},
		{"name is not UTF-8", Raw("\xff", U8, []int{0}, nil), RuleUTF8, "UTF-8"},
		{"name twice", twice, RuleDuplicate, "occurs twice"},
	} {
		sources := []Source{Raw("before", U8, []int{1 << 17}, make([]byte, 1<<17)), c.source}
		if c.name == "name twice" {
			sources = append(sources, twice)
		}
		err := Write(path, nil, sources)
		var bad *FormatError
		switch {
		case err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) ||
			!strings.Contains(err.Error(), quote(c.source.Name)):
			t.Errorf("%s: got %v", c.name, err)
		case c.rule != "" && (!errors.As(err, &bad) || bad.Rule != c.rule):
			t.Errorf("%s: got %v, want the rule %q", c.name, err, c.rule)
		}
		onlyOld(t, path)
	}
	if err := Write(path, map[string]string{"k": "\xff"}, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("metadata that is not UTF-8: got %v", err)
	}
	if err := Write(filepath.Join(t.TempDir(), "none", SingleName), nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, SingleName, "full"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, SingleName), nil, nil); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestWriteOverOpen replaces a file while it is open and being read from: the reader keeps the old content.
func TestWriteOverOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), SingleName)
	if err := Write(path, nil, []Source{Raw("t", U8, []int{3}, []byte("old"))}); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	source, err := f.Source("t")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, nil, []Source{Raw("new", U8, []int{1}, []byte{1}), source}); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Bytes("t"); err != nil || string(b) != "old" {
		t.Errorf("got %q, %v", b, err)
	}
	if b, err := open(t, path).Bytes("t"); err != nil || string(b) != "old" {
		t.Errorf("copied: got %q, %v", b, err)
	}
	if _, err := f.Source("none"); err == nil {
		t.Error("a source of no tensor")
	}
	f.Close()
	if err := Write(path, nil, []Source{source}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a source of a closed file: got %v", err)
	}
}

// drawTensors draws tensors of every dtype, with empty and missing dimensions, and their bytes.
func drawTensors(t *rapid.T) (sources []Source, data [][]byte) {
	names := rapid.SliceOfNDistinct(rapid.String().Filter(func(s string) bool { return s != metadataKey }), 0, 6, rapid.ID).Draw(t, "names")
	for i, name := range names {
		dt := rapid.SampledFrom(dtypes[:]).Draw(t, "dtype")
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(t, "shape")
		if dt.bits < 8 {
			shape = append(shape, 4)
		}
		n := dt.bits
		for _, d := range shape {
			n *= d
		}
		b := rapid.SliceOfN(rapid.Byte(), n/8, n/8).Draw(t, fmt.Sprintf("data %d", i))
		sources, data = append(sources, Raw(name, dt.name, shape, b)), append(data, b)
	}
	return sources, data
}

// TestRoundTrip writes drawn tensors and reads them back, through this reader and the second one; writing what was read
// gives a file of the same content.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sources, data := drawTensors(t)
		metadata := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
		path := filepath.Join(dir, SingleName)
		head, infos, err := layoutSources(path, metadata, sources)
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer // Write itself would sync the disk a hundred times
		if err := stream(&file, head, infos, sources); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := f.Metadata(); len(got) != len(metadata) || fmt.Sprint(got) != fmt.Sprint(map[string]string(metadata)) && len(got) > 0 {
			t.Fatalf("metadata %q, want %q", got, metadata)
		}
		for i, s := range sources {
			b, err := f.Bytes(s.Name)
			if err != nil || !bytes.Equal(b, data[i]) {
				t.Fatalf("tensor %q: got % x, %v, want % x", s.Name, b, err, data[i])
			}
			if info, _ := f.Info(s.Name); info.DType != s.DType || !slices.Equal(info.Shape, s.Shape) {
				t.Fatalf("tensor %q: got %+v", s.Name, info)
			}
		}
		checkAgainstReference(t, f.data)
		if n := binary.LittleEndian.Uint64(f.data); n%8 != 0 {
			t.Fatalf("a header of %d bytes", n)
		}
	})
}
