package llm

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback asks the kernel to begin writing a range to disk. It is a hint:
// the sync at the end is what counts, so its error is of no interest.
func startWriteback(f *os.File, offset, n int64) {
	if n > 0 {
		_ = unix.SyncFileRange(int(f.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE)
	}
}
