package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write puts a file into a fresh directory and returns its path.
func write(t *testing.T, file []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), SingleName)
	if err := os.WriteFile(path, file, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestOpen reads a file as another writer might make it: keys in another order, white space, escapes, tensors out of
// order, a scalar, empty tensors, and a header whose length is no multiple of 8.
func TestOpen(t *testing.T) {
	header := "{\n\t" + `"late":{"data_offsets":[6,8],"shape":[ 1 ,1],"dtype":"BF16"},` +
		`"__metadata__":{"format":"pt","na\u00efve":"\ud83d\ude00\n"},` +
		entry("scalar", "U8", "[]", 5, 6) + "," + entry("empty", "F32", "[0,4611686018427387904,4]", 5, 5) + "," +
		entry("", "I8", "[5]", 0, 5) + "," + entry(`a\/b\u0000`, "F64", "[3,0]", 8, 8) + "} \r\n "
	file := fileOf(header, 8)
	copy(file[len(file)-8:], "abcdefgh")
	path := write(t, file)
	f := open(t, path)
	want := []Info{{"", I8, []int{5}, 0, 5}, {"empty", F32, []int{0, 1 << 62, 4}, 5, 0}, {"scalar", U8, nil, 5, 1},
		{"late", BF16, []int{1, 1}, 6, 2}, {"a/b\x00", F64, []int{3, 0}, 8, 0}}
	if !slices.EqualFunc(f.Tensors(), want, equalInfo) {
		t.Errorf("got %+v, want %+v", f.Tensors(), want)
	}
	for i, data := range []string{"abcde", "", "f", "gh", ""} {
		if b, err := f.Bytes(want[i].Name); err != nil || string(b) != data {
			t.Errorf("tensor %q: got %q, %v, want %q", want[i].Name, b, err, data)
		}
		if info, ok := f.Info(want[i].Name); !ok || !equalInfo(info, want[i]) {
			t.Errorf("tensor %q: got %+v, %v", want[i].Name, info, ok)
		}
	}
	if m := f.Metadata(); len(m) != 2 || m["format"] != "pt" || m["naïve"] != "😀\n" {
		t.Errorf("metadata %q", m)
	}
	if f.Path() != path || want[0].Elements() != 5 || want[2].Elements() != 1 || want[4].Elements() != 0 {
		t.Errorf("path %q", f.Path())
	}
	if _, ok := f.Info("none"); ok {
		t.Error("a tensor that is not there was found")
	}
	if _, err := f.Bytes("none"); err == nil || !strings.Contains(err.Error(), `no tensor "none"`) {
		t.Errorf("got %v", err)
	}
}

func TestOpenEveryDType(t *testing.T) {
	for _, dt := range dtypes {
		file := fileOf("{"+entry("t", string(dt.name), "[4,2]", 0, dt.bits)+"}", dt.bits)
		if f := open(t, write(t, file)); f.Tensors()[0].DType != dt.name {
			t.Errorf("%s: got %v", dt.name, f.Tensors())
		}
		if got, ok := dt.name.Bits(); !ok || got != dt.bits {
			t.Errorf("%s has %d bits, want %d", dt.name, got, dt.bits)
		}
	}
	if _, ok := DType("F128").Bits(); ok || len(dtypes) != 22 {
		t.Errorf("%d types, F128 known: %v", len(dtypes), ok)
	}
}

func TestOpenNone(t *testing.T) {
	f := open(t, write(t, fileOf("{}", 0)))
	if len(f.Tensors()) != 0 || f.Metadata() != nil {
		t.Errorf("got %v, %v", f.Tensors(), f.Metadata())
	}
}

func TestClose(t *testing.T) {
	f := open(t, write(t, fileOf(`{"__metadata__":{"a":"b"},`+entry("t", "U8", "[1]", 0, 1)+"}", 1)))
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Bytes("t"); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("Bytes after Close: got %v", err)
	}
	if f.Metadata() != nil || f.Tensors()[0].Name != "t" {
		t.Error("what is read after Close")
	}
}

func TestOpenNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrFormat) {
		t.Errorf("missing: got %v", err)
	}
	_, err := Open(dir)
	var bad *FormatError
	if !errors.As(err, &bad) || bad.Rule != RuleRegular {
		t.Errorf("directory: got %v", err)
	}
	if err := os.Symlink(write(t, fileOf("{}", 0)), filepath.Join(dir, "link")); err == nil {
		open(t, filepath.Join(dir, "link")) // as in a hub cache
	}
}

// TestOpenMemory opens files that are nothing but header: what is kept and what is needed on the way stay within a small
// multiple of the bytes that are there, and a name costs no more than itself.
func TestOpenMemory(t *testing.T) {
	many := func(n int, item func(i int) string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = item(i)
		}
		return strings.Join(items, ",")
	}
	for _, c := range []struct {
		name   string
		header string
		most   float64 // bytes allocated for each byte of the file
	}{
		{"empty tensors", many(20000, func(i int) string { return entry(fmt.Sprintf("%x", i), "U8", "[0]", 0, 0) }), 3},
		{"dimensions", entry("t", "U8", "[0"+strings.Repeat(",0", 500000)+"]", 0, 0), 4.1},
		{"metadata", `"__metadata__":{` + many(100000, func(i int) string { return fmt.Sprintf(`"%x":""`, i) }) + `}`, 1},
		{"a long name", entry(strings.Repeat("n", 1<<20), "U8", "[0]", 0, 0), 2.1},
	} {
		file := fileOf("{"+c.header+"}", 0)
		path := write(t, file)
		var f *File
		var err error
		used := allocated(func() { f, err = Open(path) })
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if float64(used) > c.most*float64(len(file))+16<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", c.name, used, len(file))
		}
		t.Logf("%s: %.2f bytes a byte", c.name, float64(used)/float64(len(file)))
	}
}

// TestOpenHugeData opens a terabyte of holes, which takes no time and no memory.
func TestOpenHugeData(t *testing.T) {
	const size = 1 << 40
	path := write(t, fileOf("{"+entry("t", "U8", "[1099511627776]", 0, size)+"}", 0))
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, st.Size()+size); err != nil {
		t.Skipf("no file of %d bytes can be made here: %v", size, err)
	}
	var f *File
	used := allocated(func() { f, err = Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Bytes("t")
	if err != nil || len(b) != size || b[size-1] != 0 || used > 64<<10 {
		t.Errorf("%d bytes, %v, %d allocated", len(b), err, used)
	}
}

// TestErrorText keeps errors on one line and short, whatever the names in them.
func TestErrorText(t *testing.T) {
	e := broken(RuleHole, "there is a hole")
	e.Path, e.Tensor = "a\nb", strings.Repeat("é", 60)
	want := `bad checkpoint "a\nb", tensor "` + strings.Repeat("é", 50) + `"…: there is a hole (rule: tensors lie back to back, ` +
		`from offset 0); write the file again with a safetensors library`
	if got := e.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e.Tensor = "x" + e.Tensor // the cut must not fall inside a character
	if got := e.Error(); !strings.Contains(got, `"x`+strings.Repeat("é", 49)+`"…`) {
		t.Errorf("got %s", got)
	}
}
