package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func hostileIndexes() []hostile {
	shard := func(name string) []byte { return []byte(`{"weight_map":{"t":"` + name + `"}}`) }
	var all []hostile
	for _, name := range []string{"", "..", ".", "../a.safetensors", "..\\\\a.safetensors", "/etc/a.safetensors", "a/b.safetensors",
		"a\\\\b.safetensors", "C:a.safetensors", "a\\u0000.safetensors", "a\\n.safetensors", ".safetensors", "..safetensors",
		".hidden.safetensors", "pytorch_model.bin", "model.SAFETENSORS", "a.safetensors/", "a.safetensors ", "\\u002e\\u002e/a.safetensors",
		strings.Repeat("a", 300) + ".safetensors", strings.Repeat("a", 5000) + ".safetensors"} {
		all = append(all, hostile{"shard " + quote(name), shard(name), RuleShardName, "t"})
	}
	return append(all, []hostile{
		{"empty file", nil, RuleIndex, ""},
		{"array", []byte(`[]`), RuleIndex, ""},
		{"no weight_map", []byte(`{"metadata":{}}`), RuleIndex, ""},
		{"weight_map is an array", []byte(`{"weight_map":[]}`), RuleIndex, ""},
		{"metadata is null", []byte(`{"metadata":null,"weight_map":{}}`), RuleIndex, ""},
		{"shard is a number", []byte(`{"weight_map":{"t":1}}`), RuleIndex, "t"},
		{"shard is null", []byte(`{"weight_map":{"t":null}}`), RuleIndex, "t"},
		{"UTF-8 broken", shard("a\xff.safetensors"), RuleUTF8, ""},
		{"cut short", []byte(`{"weight_map":{"t":"a.safetensors"}`), RuleJSON, ""},
		{"more after the end", []byte(`{"weight_map":{}}{}`), RuleJSON, ""},
		{"trailing comma", []byte(`{"weight_map":{},}`), RuleJSON, ""},
		{"not JSON in metadata", []byte(`{"weight_map":{},"metadata":{"x":nul}}`), RuleJSON, ""},
		{"number with a leading zero", []byte(`{"weight_map":{},"metadata":{"x":01}}`), RuleJSON, ""},
		{"tensor twice", []byte(`{"weight_map":{"t":"a.safetensors","\u0074":"b.safetensors"}}`), RuleDuplicate, "t"},
		{"weight_map twice", []byte(`{"weight_map":{},"weight_map":{}}`), RuleDuplicate, ""},
		{"metadata twice", []byte(`{"metadata":{},"metadata":{},"weight_map":{}}`), RuleDuplicate, ""},
		{"total_size twice", []byte(`{"metadata":{"total_size":1,"total_size":1},"weight_map":{}}`), RuleDuplicate, ""},
		{"other key twice", []byte(`{"x":1,"x":1,"weight_map":{}}`), RuleDuplicate, ""},
		{"total_size negative", []byte(`{"metadata":{"total_size":-1},"weight_map":{}}`), RuleNumber, ""},
		{"total_size fractional", []byte(`{"metadata":{"total_size":1.5},"weight_map":{}}`), RuleNumber, ""},
		{"total_size too large", []byte(`{"metadata":{"total_size":9223372036854775808},"weight_map":{}}`), RuleNumber, ""},
		{"total_size a string", []byte(`{"metadata":{"total_size":"1"},"weight_map":{}}`), RuleNumber, ""},
		{"nested deep", []byte(`{"x":` + strings.Repeat("[", 1<<20)), RuleJSON, ""},
		{"nested deep in an object", []byte(`{"x":` + strings.Repeat(`{"":`, 1<<18)), RuleJSON, ""},
		{"a hundred thousand keys", []byte(`{` + strings.Repeat(`"x":1,`, 100000) + `"weight_map":{}}`), RuleIndex, ""},
		{"a string of a megabyte", []byte(`{"x":"` + strings.Repeat("x", 1<<20)), RuleJSON, ""},
	}...)
}

func TestHostileIndexes(t *testing.T) {
	dir := t.TempDir()
	all := hostileIndexes()
	for i, h := range all {
		path := filepath.Join(dir, fmt.Sprintf("%d.json", i))
		if err := os.WriteFile(path, h.file, 0o666); err != nil {
			t.Fatal(err)
		}
		var err error
		used := allocated(func() { _, err = ReadIndex(path) })
		if err == nil {
			t.Errorf("%s: accepted", h.name)
			continue
		}
		checkRefusal(t, h, path, err)
		if h.rule == RuleShardName && strings.HasPrefix(h.name, "shard") {
			var name struct {
				Shards map[string]string `json:"weight_map"`
			}
			if err := json.Unmarshal(h.file, &name); err != nil || CheckShardName(name.Shards["t"]) == nil {
				t.Errorf("%s: CheckShardName accepts it (%v)", h.name, err)
			}
		}
		if limit := uint64(len(h.file)) + 64<<10; used > limit {
			t.Errorf("%s: %d bytes allocated for a file of %d", h.name, used, len(h.file))
		}
	}
	t.Logf("%d hostile indexes refused", len(all))
}

// TestIndexTooLarge makes a file of holes, which costs no disk.
func TestIndexTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), IndexName)
	if err := os.WriteFile(path, []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxIndex+1); err != nil {
		t.Skipf("no file of %d bytes can be made here: %v", maxIndex+1, err)
	}
	_, err := ReadIndex(path)
	checkRefusal(t, hostile{name: "too large", rule: RuleIndex}, path, err)
}

func TestIndexMissing(t *testing.T) {
	if _, err := ReadIndex(filepath.Join(t.TempDir(), IndexName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestIndexRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), IndexName)
	ix := &Index{
		TotalSize: 123,
		Shards:    map[string]string{"b\n\"": ShardName(2, 2), "a": ShardName(1, 2)},
		Metadata:  map[string]string{"total_parameters": "61", "x": `{"y":[1.5e3,null,true,"\u00e9"]}`},
		Extra:     map[string]string{"more": `"é"`},
	}
	if err := ix.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := ReadIndex(path)
	if err != nil || !reflect.DeepEqual(ix, again) {
		t.Errorf("got %+v, %v, want %+v", again, err, ix)
	}
	if err := CheckShardName(ShardName(1, 2)); err != nil {
		t.Error(err)
	}
	if got, want := again.Files(), []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

func TestIndexFloatTotal(t *testing.T) {
	ix, bad := parseIndex([]byte(`{"metadata":{"total_size":13476835328.0},"weight_map":{}}`))
	if bad != nil || ix.TotalSize != 13476835328 {
		t.Errorf("got %+v, %v", ix, bad)
	}
}

// TestIndexRefusesToWrite keeps the writer from making what the reader refuses; what was there stays.
func TestIndexRefusesToWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), IndexName)
	if err := (&Index{Shards: map[string]string{"a": "a.safetensors"}}).Write(path); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	for _, ix := range []*Index{
		{Shards: map[string]string{"a": "../a.safetensors"}},
		{Shards: map[string]string{"a\xff": "a.safetensors"}},
		{TotalSize: -1},
		{Metadata: map[string]string{"x": "nonsense"}},
		{Metadata: map[string]string{"total_size": "1"}},
		{Extra: map[string]string{"weight_map": "{}"}},
		{Extra: map[string]string{"x": `1,"weight_map":{}`}},
	} {
		if err := ix.Write(path); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: got %v", ix, err)
		}
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the index was changed")
	}
}

func TestSplitShards(t *testing.T) {
	infos := make([]Info, 6)
	for i, size := range []int64{4, 6, 20, 0, 5, 5} {
		infos[i].Size = size
	}
	for _, c := range []struct {
		limit int64
		want  []int
	}{{10, []int{2, 1, 3}}, {1, []int{1, 1, 1, 2, 1}}, {40, []int{6}}, {30, []int{4, 2}}} {
		if got := SplitShards(infos, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("limit %d: got %v, want %v", c.limit, got, c.want)
		}
	}
}

func TestWriteDir(t *testing.T) {
	dir := t.TempDir()
	sources := []Source{
		Floats("a", F32, []int{3}, []float32{1, 2, 3}),
		Floats("b", BF16, []int{2, 2}, []float32{4, 5, 6, 7}),
		Floats("c", F16, []int{1}, []float32{8}),
	}
	files, err := WriteDir(dir, map[string]string{"format": "pt"}, sources, 12)
	want := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", IndexName}
	if err != nil || !slices.Equal(files, want) {
		t.Fatalf("got %v, %v, want %v", files, err, want)
	}
	ix, err := ReadIndex(filepath.Join(dir, IndexName))
	if err != nil || ix.TotalSize != 22 || ix.Shards["a"] != want[0] || ix.Shards["b"] != want[1] || ix.Shards["c"] != want[1] {
		t.Fatalf("got %+v, %v", ix, err)
	}
	f, err := Open(filepath.Join(dir, ix.Shards["c"]))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Bytes("c")
	if err != nil || !bytes.Equal(b, []byte{0x00, 0x48}) || f.Metadata()["format"] != "pt" {
		t.Errorf("got % x, %v, %v", b, err, f.Metadata())
	}
	single := t.TempDir()
	files, err = WriteDir(single, nil, sources, 0)
	if err != nil || !slices.Equal(files, []string{SingleName}) {
		t.Errorf("got %v, %v", files, err)
	}
	if _, err := WriteDir(single, nil, append(sources, sources[0]), 12); !errors.Is(err, ErrFormat) {
		t.Errorf("one name in two shards: got %v", err)
	}
}
