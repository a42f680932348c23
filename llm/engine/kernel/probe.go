package kernel

import (
	"runtime"
	"sync"
	"time"
)

// Peak measures how many floating-point operations a second this machine does at most in an arithmetic with a number of
// threads: multiplications and additions in registers, for about the time given.
func (s *Set) Peak(a Arithmetic, threads int, about time.Duration) float64 {
	const n = 10_000 // some microseconds
	flops, seconds := timed(threads, about, func(int) int { return s.peak[a](n) })
	return flops / seconds
}

// Bandwidth measures how many bytes a second threads read from memory together, for about the time given. buffer should
// be several times as large as the last cache.
func (s *Set) Bandwidth(buffer []byte, threads int, about time.Duration) float64 {
	const piece = 1 << 20
	var next sync.Mutex
	at := 0
	bytes, seconds := timed(threads, about, func(int) int {
		next.Lock()
		lo := at
		hi := min(lo+piece, len(buffer))
		at = hi % len(buffer)
		next.Unlock()
		word := s.read(buffer[lo:hi])
		runtime.KeepAlive(word)
		return hi - lo
	})
	return bytes / seconds
}

// timed runs f in a number of threads until the time is over and returns the sum of its results.
func timed(threads int, about time.Duration, f func(thread int) int) (total, seconds float64) {
	sums := make([]float64, threads)
	start := time.Now()
	var wait sync.WaitGroup
	for i := range threads {
		wait.Go(func() {
			sum := 0.0
			for time.Since(start) < about {
				sum += float64(f(i))
			}
			sums[i] = sum
		})
	}
	wait.Wait()
	for _, v := range sums {
		total += v
	}
	return total, time.Since(start).Seconds()
}
