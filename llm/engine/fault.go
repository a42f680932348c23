package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrVanished means that a mapped file of weights shrank or couldn't be read while it was computed with.
var ErrVanished = errors.New("the file of the weights shrank or can't be read any more; open the checkpoint anew")

// guarded calls f and turns a fault in mapped memory into an error. Other panics go on.
func (m *Model) guarded(f func() error) (err error) {
	before := debug.SetPanicOnFault(true) // of this goroutine; kernel.Parallel does the same in its own
	defer debug.SetPanicOnFault(before)
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if _, fault := r.(interface{ Addr() uintptr }); !fault {
			panic(r)
		}
		err = fmt.Errorf("%s: %w", m.base.Dir, ErrVanished)
	}()
	return f()
}
