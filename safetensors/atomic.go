package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeAtomic makes the file at path with fill, under a temporary name beside it until it is whole and synced.
func writeAtomic(path string, fill func(f *os.File) error) (err error) {
	f, err := createTemp(path)
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", clean(path), err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("%s cannot be written and is left as it was: %w", clean(path), err)
		}
	}()
	if err = fill(f); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if e := syncDir(filepath.Dir(path)); e != nil {
		return fmt.Errorf("%s is written, but its directory cannot be synced: %w", clean(path), e)
	}
	return nil
}

// createTemp makes a new file beside path, with the permissions that any new file gets.
func createTemp(path string) (*os.File, error) {
	for try := 0; ; try++ {
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".safetensors-%016x.tmp", rand.Uint64()))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) && try < 100 {
			continue
		}
		return f, err
	}
}
