package hub

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	sampleSize = 512      // bytes of a file the hub sees to decide whether it is text
	groupSize  = 256      // files in one preupload or batch request, as in the official clients
	maxInline  = 64 << 20 // bytes of a file the hub wants inside the commit
)

// upload is a file on its way to the hub.
type upload struct {
	File
	size    int64
	changed time.Time // of the file on disk, when Push began
	sample  []byte
	sums    map[string]string // by upload mode: what the hub calls this content
	lfs     bool
	ignored bool   // the repository's .gitignore leaves it out
	remote  string // what the hub calls the content it has under this name; "" if none
}

// look reads size, time and sample.
func (u *upload) look() error {
	r, err := u.open()
	if err != nil {
		return err
	}
	defer r.Close()
	u.size = r.size
	if u.Source != "" {
		info, err := os.Stat(u.Source)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file", u.Source)
		}
		u.changed = info.ModTime()
	}
	u.sample = make([]byte, min(u.size, sampleSize))
	_, err = r.ReadAt(u.sample, 0)
	if len(u.sample) == 0 || errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// content is an opened upload.
type content struct {
	io.ReaderAt
	io.Closer
	size int64
}

func (f File) open() (*content, error) {
	if f.Source == "" {
		return &content{bytes.NewReader(f.Data), io.NopCloser(nil), int64(len(f.Data))}, nil
	}
	file, err := os.Open(f.Source)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &content{file, file, info.Size()}, nil
}

// sum is the content's name on the hub: SHA-256 for LFS, git's SHA-1 otherwise.
func (u *upload) sum() (string, error) {
	mode, hash := "regular", sha1.New()
	if u.lfs {
		mode, hash = "lfs", sha256.New()
	} else {
		fmt.Fprintf(hash, "blob %d\x00", u.size)
	}
	if u.sums[mode] == "" {
		r, err := u.open()
		if err != nil {
			return "", err
		}
		defer r.Close()
		n, err := io.CopyBuffer(struct{ io.Writer }{hash}, io.NewSectionReader(r, 0, u.size+1), make([]byte, 1<<20))
		if err != nil {
			return "", err
		}
		if n != u.size {
			return "", u.moved()
		}
		u.sums[mode] = hex.EncodeToString(hash.Sum(nil))
	}
	return u.sums[mode], nil
}

func (u *upload) moved() error {
	return fmt.Errorf("%s changed while it was pushed; push again when nothing writes it", u.Source)
}

// unmoved fails if the file on disk is no longer what it was.
func (u *upload) unmoved() error {
	if u.Source == "" {
		return nil
	}
	info, err := os.Stat(u.Source)
	if err == nil && (info.Size() != u.size || !info.ModTime().Equal(u.changed)) {
		err = u.moved()
	}
	return err
}

// inline is the content of a file that is part of the commit itself.
func (u *upload) inline() ([]byte, error) {
	if u.size > maxInline {
		return nil, fmt.Errorf("%s: the hub wants files of this kind inside the commit, and it is longer than %d MB; let .gitattributes name it as an LFS file", u.Path, maxInline>>20)
	}
	r, err := u.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.NewSectionReader(r, 0, u.size))
}
