package kernel

import (
	"runtime"
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
	j := &job{f: f, parts: make([]part, threads), done: make(chan struct{}, 1)}
	for i := range j.parts {
		p := &j.parts[i]
		p.next.Store(int64(units * i / threads * grain))
		p.end, p.grain = min(units*(i+1)/threads*grain, n), grain
	}
	j.pending.Store(int64(threads - 1))
	for range threads - 1 {
		hire(j)
	}
	j.work()
	if !spin(func() bool { return j.pending.Load() == 0 }) {
		<-j.done
	}
	if r := j.failed.Load(); r != nil {
		panic(*r)
	}
}

// awake is how long a thread that waits for another one stays awake: a sleeping one takes as long to wake, on a virtual
// machine above all, and most jobs are shorter.
const awake = time.Millisecond / 2

// spin waits for done while it is awake, unless others want to run, and tells whether it came.
func spin(done func() bool) bool {
	for start := time.Now(); time.Since(start) < awake; runtime.Gosched() {
		for range 500 {
			if done() {
				return true
			}
		}
	}
	return false
}

// job is one call of Parallel.
type job struct {
	f       func(lo, hi int)
	parts   []part        // one a thread
	joined  atomic.Int64  // threads that have begun
	pending atomic.Int64  // helpers at work
	done    chan struct{} // gets one message from the last of them
	failed  atomic.Pointer[any]
}

// part is what one thread begins with. It goes through it in order, since memory is read fastest so; whoever is done
// first helps the others.
type part struct {
	next       atomic.Int64
	end, grain int
}

// work takes blocks until none is left.
func (j *job) work() {
	defer func() {
		if r := recover(); r != nil {
			j.failed.Store(&r)
		}
	}()
	own := int(j.joined.Add(1)) - 1
	for i := range j.parts {
		p := &j.parts[(own+i)%len(j.parts)]
		for j.failed.Load() == nil {
			lo, hi := p.take()
			if lo >= p.end {
				break
			}
			j.f(lo, hi)
		}
	}
}

// take returns the next block: half of what is left, so that no thread waits long for another.
func (p *part) take() (lo, hi int) {
	for {
		lo := int(p.next.Load())
		units := (p.end - lo + p.grain - 1) / p.grain
		hi := min(lo+max(1, units/2)*p.grain, p.end)
		if lo >= p.end || p.next.CompareAndSwap(int64(lo), int64(hi)) {
			return lo, hi
		}
	}
}

// helper is a goroutine that waits for jobs: awake for a moment after each, since the next one comes within microseconds
// while a model is computed, then asleep.
type helper struct {
	job  atomic.Pointer[job]
	wake chan struct{}
}

// idle are the helpers without a job.
var idle struct {
	sync.Mutex
	helpers []*helper
}

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
	if !spin(func() bool { return h.job.Load() != nil }) {
		<-h.wake
	}
	return h.job.Load()
}

// Product is C = X · Wᵀ, or with Add C + X · Wᵀ; C (rows, LDC).
type Product struct {
	C   []float32
	LDC int
	W   Weights
	Add bool
}

// MultiplyParallel computes products of one X in up to threads goroutines. Their outputs mustn't overlap.
func (s *Set) MultiplyParallel(x *Input, threads int, products ...Product) {
	grain, units, weights := grain(x.rows), 0, 0
	for _, p := range products {
		units += (p.W.Out + grain - 1) / grain
		weights += p.W.Out * p.W.In
	}
	Parallel(units, worth(threads, x.rows, weights), 1, func(lo, hi int) {
		for _, p := range products {
			n := (p.W.Out + grain - 1) / grain
			if from, to := max(lo, 0), min(hi, n); from < to {
				s.Multiply(p.C, p.LDC, x, p.W, from*grain, min(to*grain, p.W.Out), p.Add)
			}
			lo, hi = lo-n, hi-n
		}
	})
}

// ParallelOutputs calls f for ranges that together are all outputs of matrices of one shape, to multiply rows of X with
// each of these, in up to threads goroutines.
func ParallelOutputs(rows, threads int, f func(lo, hi int), matrices ...Weights) {
	w := matrices[0]
	Parallel(w.Out, worth(threads, rows, len(matrices)*w.Out*w.In), grain(rows), f)
}

// grain is how many outputs a thread takes at least.
func grain(rows int) int {
	if rows <= fewRows {
		return fewOuts
	}
	return maxOuts
}

// worth is how many threads pay for so many weights, each multiplied with rows of X.
func worth(threads, rows, weights int) int {
	if weights*(rows+rowsRead) < parallelWork {
		return 1
	}
	return threads
}

const (
	fewOuts      = 16      // outputs that a thread takes at least where few rows wait for memory
	fewRows      = 64      // so many are few
	rowsRead     = 4       // reading W from memory takes as long as multiplying with so many rows
	parallelWork = 1 << 18 // number of multiplications below which threads cost more than they bring
)
