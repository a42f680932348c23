// Package bundled holds what ships inside the program: the small base model, its relatives and what generators of adapters
// for it start from, with the recipes that made them.
package bundled

import (
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed base relatives start
var files embed.FS

// Base writes the base model's checkpoint to dir, which may hold it already.
func Base(dir string) error { return extract("base", dir) }

// Relatives writes the relatives to dir, one variant folder each.
func Relatives(dir string) error { return extract("relatives", dir) }

// CachedBase writes the base model's checkpoint to the user's cache, once for each version of it, and returns its folder.
func CachedBase() (string, error) { return cached("base", "model.safetensors") }

// CachedStart does the same with what generators of adapters for the base start from, and returns the file.
func CachedStart() (string, error) {
	const name = "start.safetensors"
	dir, err := cached("start", name)
	return filepath.Join(dir, name), err
}

// cached extracts a folder to the user's cache, under the hash of its largest file.
func cached(folder, largest string) (string, error) {
	weights, err := files.ReadFile(folder + "/" + largest)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil { // no home
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "d2nwg", fmt.Sprintf("bundled-%s-%.6x", folder, sha256.Sum256(weights)))
	return dir, extract(folder, dir)
}

// extract copies a folder out of the program. A folder that is there is taken as it is: it only appears when complete.
func extract(name, dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	sub, err := fs.Sub(files, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), name+"-*.partial")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	if err := os.CopyFS(partial, sub); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}
