package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"d2nwg/internal/journal"
)

// uploadLife is how long the places of an interrupted upload's parts are tried again. Hubs sign them for a day or less;
// those that no longer hold are given up at the first refusal.
const uploadLife = 24 * time.Hour

// parts is what is known of one content's upload in parts: where they go, and which are stored already. It is kept in
// the cache's .locks folder, which official clients pass over, so that a killed process' upload continues.
type parts struct {
	log       *journal.Journal // nil when another process sends the same content: then nothing is remembered
	path      string
	to        action
	continued bool
}

// started is the first record of an upload.
type started struct {
	To action    `json:"to"`
	At time.Time `json:"at"`
}

// openParts continues the upload of a content to a repository, or begins it anew with the places just given.
func (h *hf) openParts(a Address, oid string, to action) (*parts, error) {
	key := sha256.Sum256([]byte(h.base.String() + "\n" + string(a.Kind) + "\n" + a.Repo + "\n" + oid))
	dir := filepath.Join(h.cache, ".locks", ".uploads")
	if err := os.MkdirAll(dir, 0o700); err != nil { // the places are keys to them, so nobody else may read
		return nil, err
	}
	p := &parts{path: filepath.Join(dir, hex.EncodeToString(key[:])+".jsonl"), to: to}
	for range 2 {
		log, err := journal.Open(p.path)
		if err != nil {
			return p, p.reject(err)
		}
		var s started
		have, err := log.Get("started", oid, &s)
		if err == nil && !have {
			p.log = log
			return p, log.Append("started", oid, started{to, time.Now()})
		}
		if err == nil && time.Since(s.At) < uploadLife && s.To.Header["chunk_size"] == to.Header["chunk_size"] {
			p.log, p.to, p.continued = log, s.To, true
			return p, nil
		}
		log.Close()
		os.Remove(p.path)
	}
	return p, nil
}

// reject lets an upload begin without a memory when its log is another process', and anew when it is damaged.
func (p *parts) reject(err error) error {
	if errors.Is(err, journal.ErrCorrupt) {
		return os.Remove(p.path)
	}
	if errors.Is(err, journal.ErrLocked) {
		return nil
	}
	return err
}

// stored is the ETag of a part that is stored already, or "".
func (p *parts) stored(number int) (etag string, err error) {
	if !p.continued {
		return "", nil
	}
	_, err = p.log.Get("part", strconv.Itoa(number), &etag)
	return etag, err
}

// store notes a part.
func (p *parts) store(number int, etag string) error {
	return p.log.Append("part", strconv.Itoa(number), etag)
}

// close ends the log; what is done, or can't be continued, is forgotten.
func (p *parts) close(forget bool) {
	if p.log == nil {
		return
	}
	if forget {
		os.Remove(p.path)
	}
	p.log.Close()
	p.log = nil
}
