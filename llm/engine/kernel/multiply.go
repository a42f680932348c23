package kernel

import (
	"fmt"
	"math"
	"unsafe"
)

// Weights is a matrix W (Out, In) as it is stored: row-major, little-endian, at any address.
type Weights struct {
	Data    []byte
	Type    DType
	Out, In int
}

// NewWeights checks that data has the size of the matrix.
func NewWeights(data []byte, t DType, out, in int) (Weights, error) {
	if t < 0 || t >= dtypes || out < 0 || in < 0 || in > math.MaxInt/4 {
		return Weights{}, fmt.Errorf("no weights: type %d, shape (%d, %d)", t, out, in)
	}
	if row := in * t.Size(); row > 0 && (len(data)%row != 0 || len(data)/row != out) || row == 0 && len(data) > 0 {
		return Weights{}, fmt.Errorf("%d bytes for weights (%d, %d) of %d bytes each", len(data), out, in, t.Size())
	}
	return Weights{data, t, out, in}, nil
}

// tile is what a kernel computes: C (rows, n) = X · Wᵀ over a block of k, or C + X · Wᵀ. internal/gen knows the offsets
// of its fields.
type tile struct {
	c     unsafe.Pointer // float32
	ldc   int            // bytes from one row of C to the next
	x     unsafe.Pointer // rows side by side, see Input
	w     unsafe.Pointer // n rows of W, from the block's first input on
	ldw   int            // bytes from one row of W to the next
	n     int            // outputs, 1…maxOuts
	whole int            // bytes of the block in a row of W that are whole steps
	rem   int            // inputs left after them
	add   int            // -1 to add to C, else 0
	ahead int            // bytes from w to what to prefetch; it may lie outside of W
	pace  int            // how many bytes further to prefetch at each step
	// For lines, which take all of k at once, whole and rem are those of all of it.
	part  int // bytes of a whole block in a row of W
	parts int // number of blocks
}

// Sizes of blocks, which decide the speed and never the result.
const (
	maxOuts  = 64        // rows of W that stay in the second-level cache while rows of X pass
	nearRows = 384       // rows of X that pass before the next rows of W; then W is read again
	farOuts  = 512       // outputs for which all of k is gone through before the next ones
	tileOuts = 4         // rows of W of one tile
	fewTiles = 24        // up to so many tiles of rows wait for memory: then W is read about in the order it lies in,
	stretch  = 1 << 20   // so many bytes of it at a time, divided by the inputs that one step takes,
	begin    = 16 << 10  // so many at first, which nobody has asked for
	longest  = 128 << 10 // bytes that one row of X is multiplied with in one call, which can't be interrupted
)

// Multiply sets outputs lo…hi−1 of C = X · Wᵀ, or adds them to C; C (rows, ldc), of which column lo is output lo. It
// panics where the shapes don't fit, as an index out of range does.
func (s *Set) Multiply(c []float32, ldc int, x *Input, w Weights, lo, hi int, add bool) {
	f := x.f
	if x.k != w.In || lo < 0 || lo > hi || hi > w.Out || hi > ldc {
		panic(fmt.Sprintf("kernel: outputs %d to %d of X (%d, %d) · W (%d, %d), %d in a row of C",
			lo, hi, x.rows, x.k, w.Out, w.In, ldc))
	}
	if f.dots[w.Type] == nil {
		panic(fmt.Sprintf("kernel: %s has no product of these inputs with weights of type %d", s.name, w.Type))
	}
	if x.rows == 0 || lo == hi {
		return
	}
	c = c[:(x.rows-1)*ldc+hi]
	if w.In == 0 {
		if !add {
			clearOutputs(c, ldc, x.rows, lo, hi)
		}
		return
	}
	size := w.Type.Size()
	w.Data = w.Data[lo*w.In*size : hi*w.In*size]
	p := &product{f: f, c: c[lo:], ldc: ldc, x: x, w: w, outs: hi - lo, block: x.block, add: add}
	if w.In < f.lanes && f.lanes == 8 && size == 2 {
		p.w, p.block = widenRows(w, hi-lo, 8), 8
	}
	p.run()
}

// clearOutputs sets C to a sum over nothing.
func clearOutputs(c []float32, ldc, rows, lo, hi int) {
	for r := range rows {
		clear(c[r*ldc+lo : r*ldc+hi])
	}
}

// widenRows copies rows too short for a kernel that reads eight weights at once.
func widenRows(w Weights, rows, in int) Weights {
	size := w.Type.Size()
	data := make([]byte, rows*in*size)
	for r := range rows {
		copy(data[r*in*size:], w.Data[r*w.In*size:(r+1)*w.In*size])
	}
	return Weights{data, w.Type, rows, in}
}

// product is one call of Multiply, its outputs counted from the first.
type product struct {
	f     *family
	c     []float32
	ldc   int
	x     *Input
	w     Weights
	outs  int
	block int
	add   bool
	tile  tile // of the call in progress; it would be allocated for each otherwise
}

func (p *product) run() {
	groups := p.x.groups
	if line := p.f.lines[p.w.Type]; line != nil && p.x.rows == 1 {
		p.lines(line)
		return
	}
	if groups <= fewTiles {
		n := p.rowsIn(begin)
		for o := 0; o < p.outs; {
			end, next := min(o+n, p.outs), p.rowsIn(stretch/p.f.lanes)
			p.blocks(0, groups, o, end, n, next)
			o, n = end, next
		}
		return
	}
	near := max(1, nearRows/p.f.rows)
	for g := 0; g < groups; g += near {
		for o := 0; o < p.outs; o += farOuts {
			p.blocks(g, min(g+near, groups), o, min(o+farOuts, p.outs), maxOuts, 0)
		}
	}
}

// lines multiplies the one row of X with W, row after row.
func (p *product) lines(line func(t *tile)) {
	size := p.w.Type.Size()
	row := p.w.In * size
	length := p.w.In / p.f.lanes * p.f.lanes
	outs := max(1, longest/row)
	for o := 0; o < p.outs; o += outs {
		p.tile = tile{
			ldw: row, n: min(outs, p.outs-o), whole: length * size, rem: p.w.In - length,
			w: unsafe.Pointer(&p.w.Data[o*row]), c: unsafe.Pointer(&p.c[o]), x: p.x.at(0),
			part: p.block * size, parts: (p.w.In + p.block - 1) / p.block,
		}
		if p.add {
			p.tile.add = -1
		}
		line(&p.tile)
	}
}

// rowsIn is how many rows of W there are in so many bytes, in whole tiles.
func (p *product) rowsIn(bytes int) int {
	return min(max(roundUp(bytes/(p.w.In*p.w.Type.Size()), tileOuts), tileOuts), maxOuts)
}

// blocks multiplies groups g…last−1 with rows o…end−1 of W, some of these at a time; ahead rows come behind them.
func (p *product) blocks(g, last, o, end, some, ahead int) {
	size := p.w.Type.Size()
	next := end * p.w.In * size // what is prefetched: the rows behind these, in their order
	for k := 0; k < p.w.In; k += p.block {
		for j := o; j < end; j += some {
			n := min(some, end-j)
			p.tiles(g, last, j, n, k, next, ahead)
			next += ahead * min(p.block, p.w.In-k) * size
		}
	}
}

// tiles multiplies groups g…last−1 with n rows of W from j on, over the block that begins at input k. Few groups
// together prefetch a block of as many rows as come next; each does its share, so that memory is never idle.
func (p *product) tiles(g, last, j, n, k, next, ahead int) {
	size, groups := p.w.Type.Size(), last-g
	length := min(p.block, p.w.In-k)
	at := (j*p.w.In + k) * size
	t := &p.tile
	*t = tile{
		ldc: 4 * p.ldc, ldw: p.w.In * size, n: n, whole: length / p.f.lanes * p.f.lanes * size, rem: length % p.f.lanes,
		w: unsafe.Pointer(&p.w.Data[at]),
	}
	if p.add || k > 0 {
		t.add = -1
	}
	if p.x.groups <= fewTiles {
		t.ahead, t.pace = next-at, min(tileOuts*p.f.lanes*size*ahead/(groups*n), tileOuts*p.f.lanes*size)
	}
	dots := p.f.dots[p.w.Type]
	for first := p.x.group(g); g < last; g++ {
		end := p.x.group(g + 1)
		t.x = p.x.at(p.x.offset(first, k, min(p.x.block, p.x.k-k)))
		t.c = unsafe.Pointer(&p.c[first*p.ldc+j])
		dots[end-first-1](t)
		t.ahead += ahead * length * size / groups
		first = end
	}
}
