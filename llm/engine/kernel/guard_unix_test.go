//go:build unix

package kernel

import (
	"os"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded returns n bytes behind which memory can't be read.
func guarded(t *testing.T, n int) []byte {
	t.Helper()
	page := os.Getpagesize()
	size := roundUp(n, page)
	memory, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	if err := unix.Mprotect(memory[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return memory[size-n : size]
}

// TestFaultIsRecoverable has weights whose memory goes away, as that of a mapped file does when it shrinks.
func TestFaultIsRecoverable(t *testing.T) {
	const out, in = 40, 3000
	data := guarded(t, 2*out*in)
	if err := unix.Mprotect(wholePages(data), unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	eachSet(t, func(t *testing.T, s *Set) {
		for _, rows := range []int{1, 7} {
			c := make([]float32, rows*out)
			x := fill(s, Float32, make([]float32, rows*in), rows, in)
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%d rows: no panic", rows)
					}
				}()
				s.Multiply(c, out, x, Weights{data, BF16, out, in}, 0, out, false)
			}()
		}
	})
}

// wholePages are the pages that lie in p.
func wholePages(p []byte) []byte {
	page := os.Getpagesize()
	return p[len(p)%page:]
}
