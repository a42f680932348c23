package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"sync/atomic"

	"d2nwg/safetensors"
)

// DefaultMemory is the Memory of the Budget that Options without one mean.
const DefaultMemory = 1 << 30

// Budget says how much of what the base made of the requests is kept for its variants, over all plans: residual streams
// before the layers at which variants begin to differ. What memory has no room for goes to files that have no name, so
// that they are gone with their plan or the process; what has no room there either, or can't be written or read back, is
// computed anew for every variant. Results are the same bits in every case.
type Budget struct {
	Memory, Disk int64  // bytes
	Dir          string // folder of the files; "" = os.TempDir()
}

// kept counts the bytes that plans keep of a model.
type kept struct {
	memory, disk atomic.Int64
	failed       atomic.Bool // writing or reading a file failed once: none is made any more
}

// reserve takes size bytes of a budget, where that many are left.
func reserve(used *atomic.Int64, size, budget int64) bool {
	if used.Add(size) <= budget {
		return true
	}
	used.Add(-size)
	return false
}

// activations are residual streams of the base model before some layers. Variants that agree with the base up to a layer
// start there.
type activations struct {
	mu           sync.Mutex
	base         *Model
	layers       map[int]*streams
	memory, disk int64    // bytes
	file         *os.File // of all layers on disk, nil for none
	end          int64    // of what is in it
}

// Release forgets what the plan keeps of the base model.
func (p *Plan) Release() {
	p.activations.mu.Lock()
	defer p.activations.mu.Unlock()
	p.activations.release()
}

func (a *activations) release() {
	if a.base == nil {
		return
	}
	a.forgetDisk()
	a.base.kept.memory.Add(-a.memory)
	a.base, a.layers, a.memory = nil, nil, 0
}

// forgetDisk gives back what the layers on disk take. Whoever still reads one gets errLost.
func (a *activations) forgetDisk() {
	for layer, s := range a.layers {
		if s.file != nil {
			delete(a.layers, layer)
		}
	}
	if a.file != nil {
		_ = a.file.Close() // nothing in it is wanted any more
	}
	a.base.kept.disk.Add(-a.disk)
	a.file, a.disk, a.end = nil, 0, 0
}

// lose forgets what is on disk after reading one of its streams failed.
func (a *activations) lose(s *streams) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil && a.file == s.file { // else it was forgotten before
		a.base.kept.failed.Store(true)
		a.forgetDisk()
	}
}

// before returns the latest layer, at most first, before which residual streams are at hand, and these; it computes
// those of first itself where the budget allows. Layer 0 has none.
func (a *activations) before(ctx context.Context, base *Model, p *Plan, first int) (int, *streams, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.base != base {
		a.release()
		a.base, a.layers = base, map[int]*streams{}
	}
	from := a.latest(first)
	if from == first {
		return from, a.layers[from], nil
	}
	size := int64(4 * p.rows * base.config.HiddenSize)
	into := a.room(size, p.pieces)
	if into == nil {
		return from, a.layers[from], nil
	}
	run := &scoring{m: base, p: p, from: from, inputs: a.layers[from], record: &recording{first, into}}
	err := run.all(ctx)
	switch {
	case err == nil:
		a.layers[first] = into
		if into.file != nil {
			a.end = into.end.Load()
		}
		return first, into, nil
	case errors.Is(err, errLost):
		base.kept.failed.Store(true)
		a.forgetDisk()
		from, err = a.latest(first), nil
	}
	if into.file == nil {
		a.memory -= size
		base.kept.memory.Add(-size)
	} else if a.file != nil {
		a.disk -= size
		base.kept.disk.Add(-size)
	}
	return from, a.layers[from], err
}

// latest is the last layer, at most first, that is kept; 0 where none is.
func (a *activations) latest(first int) int {
	from := 0
	for layer := range a.layers {
		if layer <= first {
			from = max(from, layer)
		}
	}
	return from
}

// room reserves size bytes for a layer, nil where the budget has no room.
func (a *activations) room(size int64, pieces int) *streams {
	budget := Budget{Memory: DefaultMemory}
	if b := a.base.options.Keep; b != nil {
		budget = *b
	}
	k := a.base.kept
	if reserve(&k.memory, size, budget.Memory) {
		a.memory += size
		return &streams{memory: make([][]float32, pieces)}
	}
	if k.failed.Load() || !reserve(&k.disk, size, budget.Disk) {
		return nil
	}
	if a.file == nil {
		var err error
		if a.file, err = unnamed(budget.Dir); err != nil {
			k.failed.Store(true)
			k.disk.Add(-size)
			return nil
		}
	}
	a.disk += size
	s := &streams{file: a.file, at: make([]int64, pieces), n: make([]int, pieces), sum: make([]uint32, pieces)}
	s.end.Store(a.end)
	return s
}

// unnamed makes a file that is gone when it is closed, also by the end of the process.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "d2nwg-activations-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // not every system removes open files
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// errLost means that residual streams couldn't be written to disk or read back.
var errLost = errors.New("residual streams on disk are lost")

// streams are the residual streams before a layer, by index of the work.
type streams struct {
	memory [][]float32
	file   *os.File // nil: in memory
	at     []int64  // where one begins in the file
	n      []int    // its values
	sum    []uint32 // and the checksum of their bytes: a disk that lost them may give zeros without an error
	end    atomic.Int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // processors have an instruction for it

// streamBlock is how many values are written or read at a time.
const streamBlock = 1 << 16

// put keeps one; several goroutines may, each another.
func (s *streams) put(i int, x []float32) error {
	if s.file == nil {
		s.memory[i] = append([]float32{}, x...)
		return nil
	}
	size := int64(4 * len(x))
	s.at[i], s.n[i] = s.end.Add(size)-size, len(x)
	return blocks(x, s.at[i], func(values []float32, raw []byte, at int64) error {
		if err := safetensors.Encode(raw, safetensors.F32, values); err != nil {
			return err
		}
		s.sum[i] = crc32.Update(s.sum[i], castagnoli, raw)
		_, err := s.file.WriteAt(raw, at)
		return err
	})
}

// get returns one, in buf where it is on disk.
func (s *streams) get(i int, buf *[]float32) ([]float32, error) {
	if s.file == nil {
		return s.memory[i], nil
	}
	x, sum := sized(buf, s.n[i]), uint32(0)
	err := blocks(x, s.at[i], func(values []float32, raw []byte, at int64) error {
		if _, err := s.file.ReadAt(raw, at); err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, raw)
		return safetensors.Decode(values, safetensors.F32, raw)
	})
	if err == nil && sum != s.sum[i] {
		err = errLost
	}
	return x, err
}

// blocks calls f for x, which lies at an offset in a file, block by block with room for the block's bytes.
func blocks(x []float32, at int64, f func(values []float32, raw []byte, at int64) error) error {
	raw := make([]byte, 4*min(len(x), streamBlock))
	for len(x) > 0 {
		n := min(len(x), streamBlock)
		if err := f(x[:n], raw[:4*n], at); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		x, at = x[n:], at+int64(4*n)
	}
	return nil
}

// recording collects the residual streams before a layer.
type recording struct {
	layer int
	into  *streams
}

func (rec *recording) work(ctx context.Context, m *Model, w *work, b *batch, s *scratch) error {
	b.until = rec.layer
	x, err := m.residual(ctx, b, s)
	if err != nil {
		return err
	}
	return rec.into.put(w.index, x)
}
