package kernel

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
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
	j := &job{f: f, n: n, block: max(1, units/(threads*8)) * grain, done: make(chan struct{}, 1)} // small blocks: no thread waits long for another
	j.pending.Store(int64(threads - 1))
	for range threads - 1 {
		hire(j)
	}
	j.work()
	for spins := 0; j.pending.Load() > 0; spins++ {
		if spins == patience { // nearly done by now, unless somebody else has the processor: give up this one, too
			<-j.done
			break
		}
	}
	if r := j.failed.Load(); r != nil {
		panic(*r)
	}
}

// patience is how often the caller looks for its helpers to end before it sleeps: some ten microseconds.
const patience = 20_000

// job is one call of Parallel.
type job struct {
	f        func(lo, hi int)
	n, block int
	next     atomic.Int64
	pending  atomic.Int64  // helpers at work
	done     chan struct{} // gets one message from the last of them
	failed   atomic.Pointer[any]
}

// work takes blocks until none is left.
func (j *job) work() {
	defer func() {
		if r := recover(); r != nil {
			j.failed.Store(&r)
		}
	}()
	for j.failed.Load() == nil {
		lo := int(j.next.Add(int64(j.block))) - j.block
		if lo >= j.n {
			return
		}
		j.f(lo, min(lo+j.block, j.n))
	}
}

// helper is a goroutine that waits for jobs: awake for a moment after each, since the next one comes within microseconds
// while a model is computed and waking a thread takes longer than many a job; then asleep.
type helper struct {
	job  atomic.Pointer[job]
	wake chan struct{}
}

// idle are the helpers without a job.
var idle struct {
	sync.Mutex
	helpers []*helper
}

// awake is how long a helper without a job stays awake.
const awake = 50 * time.Microsecond

func hire(j *job) {
	idle.Lock()
	var h *helper
	if last := len(idle.helpers) - 1; last >= 0 {
		h, idle.helpers = idle.helpers[last], idle.helpers[:last]
	}
	idle.Unlock()
	if h == nil {
		h = &helper{wake: make(chan struct{}, 1)}
		h.job.Store(j)
		go h.serve()
		return
	}
	h.job.Store(j)
	select {
	case h.wake <- struct{}{}:
	default: // the wish to wake is there already
	}
}

func (h *helper) serve() {
	debug.SetPanicOnFault(true)
	for {
		if j := h.await(); j != nil {
			j.work()
			h.job.Store(nil)
			idle.Lock()
			idle.helpers = append(idle.helpers, h)
			idle.Unlock()
			if j.pending.Add(-1) == 0 {
				j.done <- struct{}{}
			}
		}
	}
}

// await returns the next job, or nil after a wish to wake that came with an earlier one.
func (h *helper) await() *job {
	for start := time.Now(); time.Since(start) < awake; {
		for range 100 {
			if j := h.job.Load(); j != nil {
				return j
			}
		}
	}
	<-h.wake
	return h.job.Load()
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
