package hub

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"d2nwg/hub/internal/names"
)

// smallBlob is the size in bytes up to which a blob found in the cache is hashed again instead of believed. Larger ones
// were made durable before they got their name.
const smallBlob = 1 << 20

// store is a repository's folder in the cache, in the layout of the official clients:
//
//	models--org--name/refs/main            the commit main stood for when it was last pulled
//	models--org--name/blobs/<etag>         contents; the ETag is git's SHA-1, or the SHA-256 of an LFS file
//	models--org--name/snapshots/<commit>/… relative links to blobs
//	.locks/models--org--name/<etag>.lock   held (flock) while a blob is downloaded
//
// Everything is opened through os.Root, so whatever a name turns out to mean, it is inside.
type store struct {
	root  *os.Root
	locks *os.Root
	dir   string
	left  map[string][]string // partial files by what they are of; see leftovers
}

func storeName(a Address) string {
	return string(a.Kind) + "s--" + strings.ReplaceAll(a.Repo, "/", "--")
}

// openStore opens the repository's folder, or makes it with create.
func openStore(cache string, a Address, create bool) (*store, error) {
	s := &store{dir: filepath.Join(cache, storeName(a))}
	locks := filepath.Join(cache, ".locks", storeName(a))
	if create {
		for _, dir := range []string{filepath.Join(s.dir, "blobs"), filepath.Join(s.dir, "refs"), filepath.Join(s.dir, "snapshots"), locks} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return nil, err
	}
	if create {
		if s.locks, err = os.OpenRoot(locks); err != nil {
			s.root.Close()
			return nil, err
		}
		s.left, err = s.leftovers()
	}
	return s, err
}

// leftovers are the partial files of killed processes, by content and size. A folder of many blobs is read once a pull.
func (s *store) leftovers() (map[string][]string, error) {
	names, err := fs.Glob(s.root.FS(), "blobs/*-*.incomplete")
	left := map[string][]string{}
	for _, name := range names {
		stem, _, _ := strings.Cut(path.Base(name), "-")
		left[stem] = append(left[stem], name)
	}
	return left, err
}

func (s *store) close() {
	s.root.Close()
	if s.locks != nil {
		s.locks.Close()
	}
}

// snapshot is the folder of a commit's files.
func (s *store) snapshot(commit string) string { return filepath.Join(s.dir, "snapshots", commit) }

// commit tells what a revision stood for when it was last pulled.
func (s *store) commit(revision string) (string, error) {
	if names.SHA1(revision) {
		return revision, nil
	}
	data, err := s.root.ReadFile(path.Join("refs", revision))
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(data))
	if !names.SHA1(commit) {
		return "", fmt.Errorf("%s does not hold a commit; delete it", filepath.Join(s.dir, "refs", revision))
	}
	return commit, nil
}

// setRef notes the commit of a revision.
func (s *store) setRef(revision, commit string) error {
	name := path.Join("refs", revision)
	if revision == commit {
		return nil
	}
	if data, err := s.root.ReadFile(name); err == nil && string(data) == commit {
		return nil
	}
	if err := s.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	temporary := path.Join("blobs", commit+"."+random()+".incomplete")
	err := s.root.WriteFile(temporary, []byte(commit), 0o644)
	if err == nil {
		err = s.root.Rename(temporary, name)
	}
	if err != nil {
		s.root.Remove(temporary)
	}
	return err
}

// link makes snapshots/commit/name a relative link to the blob.
func (s *store) link(commit, name, etag string) error {
	at := path.Join("snapshots", commit, name)
	target := strings.Repeat("../", 2+strings.Count(name, "/")) + "blobs/" + etag
	if have, err := s.root.Readlink(at); err == nil && have == target {
		return nil
	}
	if err := s.root.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	if s.root.Symlink(target, at) == nil {
		return nil
	}
	temporary := path.Join("blobs", etag+"."+random()+".incomplete")
	err := s.root.Symlink(target, temporary)
	if err == nil {
		err = s.root.Rename(temporary, at)
	}
	if err != nil {
		s.root.Remove(temporary)
	}
	return err
}

// etag is the name of an entry's blob.
func (e Entry) etag() string {
	if e.SHA256 != "" {
		return e.SHA256
	}
	return e.OID
}

// hash is an empty hash of the kind that names the entry's blob.
func (e Entry) hash() hash.Hash {
	if e.SHA256 != "" {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", e.Size)
	return h
}

// has tells whether the entry's blob is there.
func (s *store) has(e Entry) bool {
	name := path.Join("blobs", e.etag())
	info, err := s.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size {
		return false
	}
	if e.Size > smallBlob {
		return true
	}
	data, err := s.root.ReadFile(name)
	h := e.hash()
	h.Write(data)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == e.etag()
}

// lock takes the blob's lock, which the official clients take too, and waits while another process has it.
func (s *store) lock(ctx context.Context, etag string) (unlock func(), err error) {
	file, err := s.locks.OpenFile(etag+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOSYS) {
			return func() { file.Close() }, nil // some network file systems have no locks; names of partial files are unique
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func random() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// partial is a blob that is being downloaded: always a prefix of it, together with the prefix's hash.
type partial struct {
	root    *os.Root
	name    string
	file    *os.File
	want    Entry
	hash    hash.Hash
	done    int64
	resumed bool
}

// openPartial continues what an earlier process left of the same content and size (the file's name says both), after
// hashing it again, or begins. The blob's lock is held.
func (s *store) openPartial(want Entry) (*partial, error) {
	stem := want.etag() + "." + strconv.FormatInt(want.Size, 10)
	p := &partial{root: s.root, want: want, name: path.Join("blobs", stem+"-"+random()+".incomplete")}
	for i, name := range s.left[stem] {
		if i > 0 || s.root.Rename(name, p.name) != nil {
			s.root.Remove(name)
		}
	}
	var err error
	if p.file, err = s.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	p.hash = want.hash()
	n, err := io.Copy(p.hash, io.LimitReader(p.file, want.Size+1))
	if p.done, p.resumed = n, n > 0; err == nil && n > want.Size {
		err = p.restart()
	}
	if err != nil {
		p.file.Close()
		return nil, err
	}
	return p, nil
}

// Write hashes and writes at the same time. After an error the partial is of no use any more.
func (p *partial) Write(b []byte) (int, error) {
	hashed := make(chan struct{})
	go func() {
		p.hash.Write(b)
		close(hashed)
	}()
	n, err := p.file.Write(b)
	<-hashed
	if n >= smallBlob {
		startWriteback(p.file, p.done, int64(n))
	}
	p.done += int64(n)
	return n, err
}

// restart throws away what is there.
func (p *partial) restart() error {
	p.hash, p.done, p.resumed = p.want.hash(), 0, false
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.file.Truncate(0)
}

// good tells whether all is there and what it should be.
func (p *partial) good() bool {
	return p.done == p.want.Size && hex.EncodeToString(p.hash.Sum(nil)) == p.want.etag()
}

// finish gives the file its blob's name.
func (p *partial) finish() error {
	if p.want.Size > smallBlob {
		if err := p.file.Sync(); err != nil {
			return err
		}
	}
	return p.root.Rename(p.name, path.Join("blobs", p.want.etag()))
}
