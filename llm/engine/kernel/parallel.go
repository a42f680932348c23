package kernel

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Parallel calls f for ranges that together are 0…n, in up to threads goroutines. Ranges begin at multiples of grain. A
// panic in one of them, also one for a fault in mapped memory, goes on in the caller once all have ended.
func Parallel(n, threads, grain int, f func(lo, hi int)) {
	units := (n + grain - 1) / grain
	threads = min(threads, units)
	if threads <= 1 {
		f(0, n)
		return
	}
	block := max(1, units/(threads*8)) * grain // small, so that no thread waits long for another
	var next atomic.Int64
	var failed atomic.Pointer[any]
	var wait sync.WaitGroup
	for range threads {
		wait.Go(func() {
			debug.SetPanicOnFault(true) // of this goroutine, which ends here
			defer func() {
				if r := recover(); r != nil {
					failed.Store(&r)
				}
			}()
			for failed.Load() == nil {
				lo := int(next.Add(int64(block))) - block
				if lo >= n {
					return
				}
				f(lo, min(lo+block, n))
			}
		})
	}
	wait.Wait()
	if r := failed.Load(); r != nil {
		panic(*r)
	}
}

// MultiplyParallel is Multiply for all outputs, in up to threads goroutines.
func (s *Set) MultiplyParallel(c []float32, ldc int, x *Input, w Weights, add bool, threads int) {
	if x.rows*w.In*w.Out < parallelWork {
		threads = 1
	}
	Parallel(w.Out, threads, maxOuts, func(lo, hi int) { s.Multiply(c, ldc, x, w, lo, hi, add) })
}

// parallelWork is the number of multiplications below which threads cost more than they bring.
const parallelWork = 1 << 18
