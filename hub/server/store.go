package server

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// store keeps contents under their SHA-256. A file appears under its name when it is whole and on the disk, never before;
// nothing in it is ever changed.
type store struct{ dir string }

func (s store) temporary() string { return filepath.Join(s.dir, "tmp") }

func (s store) path(sum string) string { return filepath.Join(s.dir, "blobs", sum[:2], sum) }

// prepare makes the folders.
func (s store) prepare() error {
	if err := os.RemoveAll(s.temporary()); err != nil {
		return err
	}
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(s.dir, "blobs", fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(os.MkdirAll(s.temporary(), 0o755), syncDir(filepath.Join(s.dir, "blobs")), syncDir(s.dir))
}

// sweep removes what keep doesn't know, which only is safe while nobody writes.
func (s store) sweep(keep map[string]bool) error {
	return filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || keep[d.Name()] {
			return err
		}
		return os.Remove(path)
	})
}

func (s store) open(sum string) (*os.File, error) { return os.Open(s.path(sum)) }

// read returns a content that is known to be small.
func (s store) read(sum string) ([]byte, error) { return os.ReadFile(s.path(sum)) }

// has tells whether a content of that size is there.
func (s store) has(sum string, size int64) bool {
	info, err := os.Stat(s.path(sum))
	return err == nil && info.Size() == size
}

// A batch is a number of contents that become durable together: each file by itself, and the folders once.
type batch struct {
	store store
	mu    sync.Mutex
	dirs  map[string]bool
}

func (s store) batch() *batch { return &batch{store: s, dirs: map[string]bool{}} }

func (b *batch) touch(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirs[filepath.Dir(path)] = true
}

// put stores a content that is in memory.
func (b *batch) put(data []byte) (sum string, err error) {
	digest := sha256.Sum256(data)
	sum = hex.EncodeToString(digest[:])
	if b.store.has(sum, int64(len(data))) {
		b.touch(b.store.path(sum)) // the one who wrote it may not have come to that
		return sum, nil
	}
	w, err := b.create()
	if err != nil {
		return "", err
	}
	defer w.discard()
	if _, err := w.Write(data); err != nil {
		return "", err
	}
	return sum, w.keep()
}

// create begins a content that comes in pieces. End it with keep, and with discard in any case.
func (b *batch) create() (*blob, error) {
	f, err := os.CreateTemp(b.store.temporary(), "blob-*")
	if err != nil {
		return nil, err
	}
	return &blob{batch: b, file: f, hash: sha256.New()}, nil
}

// sync makes the names of all contents durable.
func (b *batch) sync() error {
	for dir := range b.dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// blob is a content on its way into the store.
type blob struct {
	batch *batch
	file  *os.File
	hash  hash.Hash
}

func (w *blob) Write(p []byte) (int, error) {
	w.hash.Write(p)
	return w.file.Write(p)
}

func (w *blob) sum() string { return hex.EncodeToString(w.hash.Sum(nil)) }

// keep gives the content its name.
func (w *blob) keep() error {
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	path := w.batch.store.path(w.sum())
	w.batch.touch(path)
	return os.Rename(w.file.Name(), path)
}

func (w *blob) discard() {
	w.file.Close()
	os.Remove(w.file.Name()) // gone already after keep
}

// receive stores what src holds, if it is size bytes with that sum.
func (b *batch) receive(src io.Reader, sum string, size int64) error {
	w, err := b.create()
	if err != nil {
		return err
	}
	defer w.discard()
	n, err := io.CopyBuffer(w, io.LimitReader(src, size+1), make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n != size {
		return badRequest("The content of %s has not the %d bytes it was announced with", sum, size)
	}
	if got := w.sum(); got != sum {
		return badRequest("The content of %s has the sha256 %s", sum, got)
	}
	return w.keep()
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
