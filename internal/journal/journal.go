// Package journal is an append-only log of finished steps: the one way anything in this project resumes.
//
// A journal is a file of JSON lines. Every record carries the SHA-256 of its predecessor ("prev") and of itself
// ("sum"), so a change anywhere in the middle is found on opening. What a crash can leave, a tail that was never
// completely written, is cut off: those steps simply run again.
package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrCorrupt is wrapped by Open's error when a record before the tail was changed, removed or moved.
var ErrCorrupt = errors.New("corrupt journal")

// ErrLocked is wrapped by Open's error while another process (or another Journal of this one) has the file open.
var ErrLocked = errors.New("journal in use")

// A Journal is an open log. Its methods are safe for concurrent use; a nil *Journal remembers nothing.
type Journal struct {
	mu      sync.Mutex
	file    *os.File
	path    string
	last    string // sum of the newest record, "" in an empty journal
	values  map[stepID]json.RawMessage
	order   []stepID
	every   int // fsync after this many appends
	pending int // appends since the last fsync
	err     error
}

type stepID struct{ kind, key string }

// record is one line. Sum is the SHA-256 of the line as it would stand with an empty Sum.
type record struct {
	Prev  string          `json:"prev"`
	Kind  string          `json:"kind"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Sum   string          `json:"sum"`
}

func (r record) digest() (string, error) {
	r.Sum = ""
	line, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:]), nil
}

// Open opens the journal at path, creating it and its folder if missing, takes its lock and replays it.
// An unfinished tail is cut off. Errors wrap ErrLocked, or ErrCorrupt when a record before the tail is damaged.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file, path: path, values: map[stepID]json.RawMessage{}, every: 1}
	if err := j.start(); err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

func (j *Journal) start() error {
	if err := unix.Flock(int(j.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w: %s is open in another process; wait for it or stop it", ErrLocked, j.path)
		}
		return fmt.Errorf("lock %s: %w", j.path, err)
	}
	data, err := io.ReadAll(j.file)
	if err != nil {
		return fmt.Errorf("read %s: %w", j.path, err)
	}
	good, err := j.replay(data)
	if err != nil {
		return err
	}
	if good < len(data) {
		if err := j.file.Truncate(int64(good)); err != nil {
			return fmt.Errorf("cut the unfinished tail of %s: %w", j.path, err)
		}
	}
	if _, err := j.file.Seek(int64(good), io.SeekStart); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(j.path))
}

// replay takes in every complete record of data and returns how many bytes they fill. What follows them is a torn
// tail only if no complete record comes after it.
func (j *Journal) replay(data []byte) (good int, err error) {
	for line := 1; good < len(data); line++ {
		r, size, ok := parse(data[good:])
		if !ok {
			if anyRecord(data[good+size:]) {
				return 0, fmt.Errorf("%w: %s: line %d is damaged; restore the file or start a new run", ErrCorrupt, j.path, line)
			}
			return good, nil
		}
		if r.Prev != j.last {
			return 0, fmt.Errorf("%w: %s: line %d does not follow the line before it; restore the file or start a new run", ErrCorrupt, j.path, line)
		}
		j.take(r)
		good += size
	}
	return good, nil
}

// parse reads the first line of data: its record, its size with the newline, and whether it is complete and true
// to its own sum.
func parse(data []byte) (r record, size int, ok bool) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		return record{}, len(data), false
	}
	size = end + 1
	if json.Unmarshal(data[:end], &r) != nil {
		return record{}, size, false
	}
	sum, err := r.digest()
	return r, size, err == nil && sum == r.Sum
}

func anyRecord(data []byte) bool {
	for len(data) > 0 {
		_, size, ok := parse(data)
		if ok {
			return true
		}
		data = data[size:]
	}
	return false
}

func (j *Journal) take(r record) {
	id := stepID{r.Kind, r.Key}
	if _, seen := j.values[id]; !seen {
		j.order = append(j.order, id)
	}
	j.values[id] = r.Value
	j.last = r.Sum
}

// SyncEvery sets how many appends share one fsync (1, the default, makes every append durable before it returns).
// A process that is killed loses nothing either way; a machine that loses power loses up to n−1 steps.
func (j *Journal) SyncEvery(n int) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.every = max(n, 1)
}

// Append writes value, as JSON, under (kind, key). A later value of the same step replaces an earlier one for Get.
// After a failed write every further Append fails: the file's end is then unknown until it is opened again.
func (j *Journal) Append(kind, key string, value any) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("journal %s: %s %q cannot be written as JSON: %w", j.path, kind, key, err)
	}
	r := record{Prev: j.last, Kind: kind, Key: key, Value: raw}
	if r.Sum, err = r.digest(); err != nil {
		return fmt.Errorf("journal %s: %s %q: %w", j.path, kind, key, err)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal %s: %s %q: %w", j.path, kind, key, err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		j.err = fmt.Errorf("journal %s: %w", j.path, err)
		return j.err
	}
	j.take(r)
	if j.pending++; j.pending >= j.every {
		return j.sync()
	}
	return nil
}

// Get decodes the newest value of (kind, key) into value (a pointer, or nil to only ask) and reports whether there
// is one.
func (j *Journal) Get(kind, key string, value any) (bool, error) {
	if j == nil {
		return false, nil
	}
	j.mu.Lock()
	raw, ok := j.values[stepID{kind, key}]
	j.mu.Unlock()
	if !ok || value == nil {
		return ok, nil
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return true, fmt.Errorf("journal %s: %s %q does not hold what this version expects: %w", j.path, kind, key, err)
	}
	return true, nil
}

// Keys lists the keys of a kind in the order of their first append.
func (j *Journal) Keys(kind string) []string {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var keys []string
	for _, id := range j.order {
		if id.kind == kind {
			keys = append(keys, id.key)
		}
	}
	return keys
}

// Sync makes every append so far durable.
func (j *Journal) Sync() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sync()
}

func (j *Journal) sync() error {
	if j.err != nil || j.pending == 0 {
		return j.err
	}
	if err := j.file.Sync(); err != nil {
		j.err = fmt.Errorf("journal %s: %w", j.path, err)
		return j.err
	}
	j.pending = 0
	return nil
}

// Close makes the journal durable and releases its lock.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	return errors.Join(j.Sync(), j.file.Close())
}

// Do returns the journal's value of (kind, key), or runs f, records its result and returns that. A step so runs to
// its end once, ever. Both paths return what JSON kept, so a resumed run sees exactly what the first one saw.
func Do[T any](j *Journal, kind, key string, f func() (T, error)) (T, error) {
	var value T
	if done, err := j.Get(kind, key, &value); done || err != nil {
		return value, err
	}
	value, err := f()
	if err != nil || j == nil {
		return value, err
	}
	if err := j.Append(kind, key, value); err != nil {
		return value, err
	}
	var kept T
	_, err = j.Get(kind, key, &kept)
	return kept, err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
