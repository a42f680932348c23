// Package textfile reads files of text and of questions, packed or not, within limits that keep a wrong file from filling
// memory.
package textfile

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxText is the most bytes of a file, unpacked. It is far above what scoring can use.
const maxText = 1 << 30

// Open opens a file, unpacking .gz, and fails on reading past 1 GiB.
func Open(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text := &textFile{file: file, left: maxText, path: path, r: file}
	if strings.HasSuffix(path, ".gz") {
		if text.r, err = gzip.NewReader(bufio.NewReader(file)); err != nil {
			file.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return text, nil
}

type textFile struct {
	file *os.File
	r    io.Reader
	left int64
	path string
}

func (t *textFile) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.left -= int64(n); t.left < 0 {
		return 0, fmt.Errorf("%s holds more than %d bytes of text", t.path, int64(maxText))
	}
	return n, err
}

func (t *textFile) Close() error { return t.file.Close() }
