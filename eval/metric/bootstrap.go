package metric

import (
	"runtime"
	"sync"
	"sync/atomic"

	"d2nwg/eval/python"
)

// chunk is how many resamples share a seed.
const chunk = 1000

// bootstrap is the standard deviation of f over resamples of the values. The resamples are the harness' own: chunk i
// draws with random.Random(i).choices.
func bootstrap(f func([]Value) (float64, error), values []Value, resamples int) (float64, error) {
	size := min(chunk, resamples)
	chunks := resamples / size
	out := make([]float64, chunks*size)
	var next atomic.Int64
	var once sync.Once
	var failed error
	var wait sync.WaitGroup
	for range min(chunks, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			drawn := make([]Value, len(values))
			for i := int(next.Add(1)) - 1; i < chunks; i = int(next.Add(1)) - 1 {
				random := python.NewRandom(i)
				for k := range size {
					for n := range drawn {
						drawn[n] = values[int(random.Random()*float64(len(values)))]
					}
					var err error
					if out[i*size+k], err = f(drawn); err != nil {
						once.Do(func() { failed = err })
						return
					}
				}
			}
		})
	}
	wait.Wait()
	if failed != nil || len(out) < 2 {
		return 0, failed
	}
	return sampleDeviation(out), nil
}
