// Package server is a hub: it keeps repositories of models and data sets in a folder and speaks the Hugging Face Hub's
// protocol, so that the official clients use it unmodified.
//
// The folder holds
//
//	blobs/ab/abcdef…             contents, each under its SHA-256
//	models/org/name/log.jsonl    a repository: the journal of its commits, references and settings
//	datasets/…, spaces/…         likewise
//	uploads/                     parts of unfinished uploads
//	key                          what links are signed with
//
// A file appears under its name when it is whole and on the disk, and a journal's line counts when it is complete, so the
// folder is in order after a crash at any moment. Paths that clients send never become file names.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"d2nwg/hub/internal/names"

	"golang.org/x/sys/unix"
)

// Options are what may be chosen about a server. The zero value serves public repositories read-only.
type Options struct {
	Tokens        []Token
	MultipartOver int64             // LFS contents of more bytes are uploaded in parts; 0: 32 MiB
	PartSize      int64             // bytes of a part; 0: 8 MiB
	Log           func(line string) // told of the server's own failures; nil: nobody
}

// A Server is an open hub; it is an http.Handler.
type Server struct {
	options Options
	dir     string
	lock    *os.File
	tokens  tokens
	key     []byte
	started time.Time
	store   store
	cards   cards

	mu    sync.RWMutex
	repos map[repoKey]*repo
}

type repoKey struct{ kind, name string }

// kinds are the kinds of repositories, by the word in the addresses of the API. In all addresses but those of models it
// also stands before the repository's name.
var kinds = map[string]string{"models": "model", "datasets": "dataset", "spaces": "space"}

// Open opens the hub in a folder, which is made if it is missing. Only one server at a time may have it open. What
// interrupted uploads and deleted repositories left is cleared away.
func Open(dir string, o Options) (*Server, error) {
	if o.MultipartOver <= 0 {
		o.MultipartOver = 32 << 20
	}
	if o.PartSize <= 0 {
		o.PartSize = 8 << 20
	}
	known, err := newTokens(o.Tokens)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, dir: dir, tokens: known, started: time.Now(), store: store{dir}, repos: map[repoKey]*repo{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("%s is served by another process; stop that, or choose another folder", dir)
	}
	if err := s.load(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// load reads the folder.
func (s *Server) load() error {
	if err := errors.Join(os.RemoveAll(s.trash("")), s.expireUploads(), s.store.prepare()); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(s.trash(""), 0o755), os.MkdirAll(s.uploads(""), 0o755)); err != nil {
		return err
	}
	if err := s.loadKey(); err != nil {
		return err
	}
	keep := map[string]bool{}
	for word, kind := range kinds {
		logs, err := filepath.Glob(filepath.Join(globQuote(s.dir), word, "*", "*", "log.jsonl"))
		if err != nil {
			return err
		}
		for _, log := range logs {
			dir := filepath.Dir(log)
			name := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
			p, err := openRepo(dir, kind, name)
			if err != nil {
				return err
			}
			if p.events == 0 { // its creation was interrupted
				if err := p.remove(s.trash(newID())); err != nil {
					return err
				}
				continue
			}
			s.repos[repoKey{kind, name}] = p
			p.contents(keep)
		}
	}
	return s.store.sweep(keep)
}

// contents adds all contents that a repository knows to a set.
func (p *repo) contents(set map[string]bool) {
	for sum := range p.objects {
		set[sum] = true
	}
	for _, c := range p.commits {
		for _, d := range c.Changes {
			set[d.SHA256] = true
		}
	}
}

// globQuote keeps what is special to Glob in a folder's name from being so.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// loadKey reads the key that links are signed with, or makes one.
func (s *Server) loadKey() error {
	path := filepath.Join(s.dir, "key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		rand.Read(key) // never fails
		f, err := os.CreateTemp(s.store.temporary(), "key-*")
		if err != nil {
			return err
		}
		_, err = f.Write(key)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(f.Name(), path), syncDir(s.dir)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if len(key) != 32 {
		return fmt.Errorf("%s has not its 32 bytes; remove it, and a new one is made", path)
	}
	s.key = key
	return nil
}

func (s *Server) trash(name string) string   { return filepath.Join(s.dir, "trash", name) }
func (s *Server) uploads(name string) string { return filepath.Join(s.dir, "uploads", name) }

func (s *Server) logf(format string, args ...any) {
	if s.options.Log != nil {
		s.options.Log(fmt.Sprintf(format, args...))
	}
}

// Close gives the folder back. No request may be under way.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.repos {
		errs = append(errs, p.log.Close())
	}
	s.repos = nil
	return errors.Join(append(errs, s.lock.Close())...)
}

// Serve answers requests that come over l until ctx ends; then it lets those under way finish for up to grace, and
// returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	web := &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := web.Shutdown(patience); err != nil {
		return web.Close() // their clients see a broken connection, the folder sees nothing
	}
	return nil
}

// repo finds a repository; nil if there is none.
func (s *Server) repo(kind, name string) *repo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.repos[repoKey{kind, name}]
}

// repoDir is where a repository is kept. Its name has passed names.Repo.
func (s *Server) repoDir(kind, name string) (string, error) {
	if err := names.Repo(name); err != nil {
		return "", badRequest("%v", err)
	}
	return filepath.Join(s.dir, kind+"s", filepath.FromSlash(name)), nil
}

// newID is a name that nothing else has.
func newID() string {
	var id [12]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
