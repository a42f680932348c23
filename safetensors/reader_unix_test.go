//go:build unix

package safetensors

import (
	"errors"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOpenSpecial refuses what is no regular file, and does not wait for a named pipe to be written to.
func TestOpenSpecial(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Skipf("no named pipe can be made here: %v", err)
	}
	for _, path := range []string{pipe, "/dev/null"} {
		_, err := Open(path)
		var bad *FormatError
		if !errors.As(err, &bad) || bad.Rule != RuleRegular {
			t.Errorf("%s: got %v", path, err)
		}
		if _, err := ReadIndex(path); !errors.As(err, &bad) || bad.Rule != RuleRegular {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestWriteFullDisk lets the system refuse to extend a file beyond 64 KB: the old file stays, and nothing is left behind.
func TestWriteFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), SingleName)
	old := []Source{Raw("t", U8, []int{3}, []byte("old"))}
	if err := Write(path, nil, old); err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Skipf("no limit can be set here: %v", err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	tight := limit
	tight.Cur = 64 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		t.Skipf("no limit can be set here: %v", err)
	}
	err := Write(path, nil, []Source{Floats("t", F32, []int{1 << 20}, make([]float32, 1<<20))})
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `"t"`) {
		t.Errorf("got %v", err)
	}
	onlyOld(t, path)
}
