package llm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/safetensors"
)

// AdapterConfigName is the file that marks a folder as a PEFT adapter, which
// package llm/lora reads and writes.
const AdapterConfigName = "adapter_config.json"

// WriteDirectory makes the directory target from what fill puts into a sibling
// of it, which is synced and then renamed: target is there whole or not at all.
// fill syncs its own files. What a killed run left behind is cleared by the next
// run of the same target. With force an existing checkpoint, variant or adapter
// is replaced; anything else that exists is an error.
func WriteDirectory(target string, force bool, fill func(dir string) error) (err error) {
	target = filepath.Clean(target)
	if err := MayReplace(target, force); err != nil {
		return err
	}
	parent, base := filepath.Split(target)
	if parent == "" {
		parent = "."
	}
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	partial := filepath.Join(parent, "."+base+".partial")
	lock, err := lockDirectory(partial)
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	// Another writer may have finished between the first look and the lock.
	if err := MayReplace(target, force); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		return err
	}
	if err := syncPath(partial); err != nil {
		return err
	}
	if err := swap(partial, target, filepath.Join(parent, "."+base+".old")); err != nil {
		return err
	}
	return syncPath(parent)
}

// MayReplace tells whether WriteDirectory would write to target: it refuses an
// existing one, and with force one that holds anything but a checkpoint, a variant
// or an adapter.
func MayReplace(target string, force bool) error {
	st, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !force {
		return fmt.Errorf("%s exists: choose another directory or overwrite with --force: %w", target, fs.ErrExist)
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory: it will not be overwritten", target)
	}
	entries, err := os.ReadDir(target)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, name := range []string{safetensors.SingleName, safetensors.IndexName, variantName, AdapterConfigName} {
		if _, err := os.Stat(filepath.Join(target, name)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s holds no checkpoint: it will not be overwritten", target)
}

// swap renames partial to target; what target was stands at old in between and
// then goes away.
func swap(partial, target, old string) error {
	moved := false
	if _, err := os.Lstat(target); err == nil {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Rename(target, old); err != nil {
			return err
		}
		moved = true
	}
	if err := os.Rename(partial, target); err != nil {
		if moved {
			err = errors.Join(err, os.Rename(old, target))
		}
		return err
	}
	return os.RemoveAll(old)
}

// lockDirectory makes dir, empty, and holds it against other processes until
// the returned file is closed.
func lockDirectory(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lockHeld(f, dir); err != nil {
		f.Close()
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockHeld locks f and makes sure that it still is what dir names: another
// process may have renamed it in between.
func lockHeld(f *os.File, dir string) error {
	if err := flock(f); err != nil {
		return fmt.Errorf("%s is being written by another process: %w", dir, err)
	}
	held, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(dir); err != nil || !os.SameFile(held, named) {
		return fmt.Errorf("%s is being written by another process", dir)
	}
	return nil
}

// syncPath flushes a file or directory to disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
