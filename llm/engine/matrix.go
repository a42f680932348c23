package engine

import (
	"sync"
	"sync/atomic"
)

// matrix is a weight W (out, in), laid out for the tile kernels: panels of panelWidth outputs,
// data (⌈out/panelWidth⌉, in, panelWidth); outputs that pad the last panel have zero weights. The capacity of data has
// spare room, see kernels.tile.
type matrix struct {
	out, in int
	data    []float32
}

// linear is a weight with its bias.
type linear struct {
	*matrix
	bias []float32 // (out), nil for none
}

// inputBlock is how many inputs a tile sums at once: a block of a panel, 32 KiB, stays in the first-level cache. The
// sums of the blocks are added in order.
const inputBlock = 256

// rowBlock is how many rows go through a matrix at once, so that their activations stay in the second-level cache.
const rowBlock = 128

// parallelWork is the number of multiplications below which threads cost more than they bring.
const parallelWork = 1 << 20

// pack lays out rows of W; read fills dst with the rows first…first+n, each of in values.
func pack(out, in, threads int, read func(dst []float32, first, n int) error) (*matrix, error) {
	panels := roundUp(out, panelWidth) / panelWidth
	m := &matrix{out: out, in: in, data: make([]float32, panels*in*panelWidth, panels*in*panelWidth+panelWidth)}
	var once sync.Once
	var failed error
	if out*in < parallelWork {
		threads = 1
	}
	parallel(panels, threads, func(lo, hi int) {
		rows := make([]float32, panelWidth*in)
		for p := lo; p < hi; p++ {
			n := min(panelWidth, out-p*panelWidth)
			if err := read(rows[:n*in], p*panelWidth, n); err != nil {
				once.Do(func() { failed = err })
				return
			}
			panel := m.data[p*in*panelWidth : (p+1)*in*panelWidth]
			for j := range n {
				for i, v := range rows[j*in : (j+1)*in] {
					panel[i*panelWidth+j] = v
				}
			}
		}
	})
	return m, failed
}

// row copies the weights of one output to dst (in).
func (m *matrix) row(dst []float32, i int) {
	at := i/panelWidth*m.in*panelWidth + i%panelWidth
	for k := range dst[:m.in] {
		dst[k] = m.data[at]
		at += panelWidth
	}
}

// apply sets y = x·Wᵀ + bias, or adds it to y; x (rows, in), y (rows, out).
func (m linear) apply(k *kernels, y, x []float32, rows, threads int, add bool) {
	panels := roundUp(m.out, panelWidth) / panelWidth
	if rows*m.out*m.in < parallelWork {
		threads = 1
	}
	parallel(panels, threads, func(lo, hi int) {
		for r := 0; r < rows; r += rowBlock {
			n := min(rowBlock, rows-r)
			for p := lo; p < hi; p++ {
				m.applyPanel(k, y[r*m.out:], x[r*m.in:], n, p, add)
			}
		}
	})
}

// applyPanel computes the outputs of one panel for up to rowBlock rows.
func (m linear) applyPanel(k *kernels, y, x []float32, rows, p int, add bool) {
	first := p * panelWidth
	if m.out-first < panelWidth {
		m.applyEdge(k, y, x, rows, p, add)
	} else {
		m.sum(k, y[first:], m.out, x, rows, p, add)
	}
	if m.bias == nil {
		return
	}
	bias := m.bias[first:min(first+panelWidth, m.out)]
	for r := range rows {
		row := y[r*m.out+first:]
		for j, v := range bias {
			row[j] += v
		}
	}
}

// applyEdge computes the last panel where it is wider than what is left of y, beside y.
func (m linear) applyEdge(k *kernels, y, x []float32, rows, p int, add bool) {
	var edge [rowBlock * panelWidth]float32
	first := p * panelWidth
	m.sum(k, edge[:], panelWidth, x, rows, p, false)
	for r := range rows {
		row := y[r*m.out+first : (r+1)*m.out]
		for j, v := range edge[r*panelWidth:][:len(row)] {
			if add {
				v += row[j]
			}
			row[j] = v
		}
	}
}

// sum computes c = x · panel, or adds it to c, c (rows, panelWidth) with row stride ldc.
func (m linear) sum(k *kernels, c []float32, ldc int, x []float32, rows, p int, add bool) {
	panel := m.data[p*m.in*panelWidth : (p+1)*m.in*panelWidth]
	for i := 0; i < m.in; i += inputBlock {
		k.tile(c, ldc, x[i:], m.in, panel[i*panelWidth:], rows, min(inputBlock, m.in-i), add || i > 0)
	}
}

// parallel calls f for ranges that together are 0…n, in up to threads goroutines.
func parallel(n, threads int, f func(lo, hi int)) {
	threads = min(threads, n)
	if threads <= 1 {
		f(0, n)
		return
	}
	block := max(1, n/(threads*4)) // smaller than n/threads, so that no thread waits long for another
	var next atomic.Int64
	var wait sync.WaitGroup
	for range threads {
		wait.Go(func() {
			for {
				lo := int(next.Add(int64(block))) - block
				if lo >= n {
					return
				}
				f(lo, min(lo+block, n))
			}
		})
	}
	wait.Wait()
}
