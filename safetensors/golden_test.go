package safetensors

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharedDir returns the directory of shared checkpoints and skips the test where it is missing.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("D2NWG_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	} else if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", dir) // it is given as seen from the project's root
	}
	dir = filepath.Join(dir, "models")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no shared models in %s: set D2NWG_SHARED to the directory that holds models/", dir)
	}
	return dir
}

// sharedFiles lists the files under dir whose name ends in suffix.
func sharedFiles(t *testing.T, dir, suffix string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestGoldenFiles opens every shared file, made by the reference implementation, and writes it again: the content of the
// header is the same, and so is every byte of the data.
func TestGoldenFiles(t *testing.T) {
	dir := sharedDir(t)
	held, tensors, identical := 0, 0, 0
	for _, path := range sharedFiles(t, dir, ".safetensors") {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := open(t, path)
		var total int64
		var sources []Source
		for _, info := range f.Tensors() {
			total += info.Size
			source, err := f.Source(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, source)
		}
		if want := int64(len(file)) - 8 - f.head.length; total != want {
			t.Errorf("%s: tensors of %d bytes in a data section of %d", path, total, want)
		}
		copied := filepath.Join(t.TempDir(), "copy.safetensors")
		if err := Write(copied, f.Metadata(), sources); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(copied)
		if err != nil {
			t.Fatal(err)
		}
		g := open(t, copied)
		if !bytes.Equal(file[8+f.head.length:], again[8+g.head.length:]) || !sameJSON(t, file[8:8+f.head.length], again[8:8+g.head.length]) {
			t.Errorf("%s: the copy differs", path)
		}
		if bytes.Equal(file, again) {
			identical++
		}
		held++
		tensors += len(f.Tensors())
	}
	t.Logf("%d files with %d tensors held, %d of them written again to the same bytes", held, tensors, identical)
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y map[string]map[string]any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	textX, _ := json.Marshal(x)
	textY, _ := json.Marshal(y)
	return bytes.Equal(textX, textY)
}

// TestGoldenIndexes reads every shared index: each tensor lies in the shard it names, no shard holds another, the sizes
// add up to total_size, and writing the index keeps its content.
func TestGoldenIndexes(t *testing.T) {
	dir := sharedDir(t)
	held := 0
	for _, path := range sharedFiles(t, dir, IndexName) {
		ix, err := ReadIndex(path)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]string)
		var total int64
		for _, file := range ix.Files() {
			for _, info := range open(t, filepath.Join(filepath.Dir(path), file)).Tensors() {
				found[info.Name] = file
				total += info.Size
			}
		}
		if !maps.Equal(found, ix.Shards) || total != ix.TotalSize {
			t.Errorf("%s: shards hold %v and %d bytes, the index says %v and %d", path, found, total, ix.Shards, ix.TotalSize)
		}
		copied := filepath.Join(t.TempDir(), IndexName)
		if err := ix.Write(copied); err != nil {
			t.Fatal(err)
		}
		a, errA := os.ReadFile(path)
		b, errB := os.ReadFile(copied)
		if errA != nil || errB != nil || !sameJSON(t, a, b) {
			t.Errorf("%s: the copy differs: %v %v", path, errA, errB)
		}
		held++
	}
	t.Logf("%d indexes held", held)
}
