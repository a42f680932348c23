package kernel

import "unsafe"

// Input holds the rows X (rows, k) of a product in the order in which a kernel reads them. It is made by a Set for an
// arithmetic and only good for these.
//
// k is cut into blocks, so that a tile's share of X stays in the first-level cache; a block's sums are finished before
// the next one's begin. Rows are put into groups, one a tile. Within a block and a group the rows lie side by side, a
// vector of each in turn. Padding is zero.
type Input struct {
	f       *family
	rows, k int
	block   int // inputs of a block; the last may have fewer
	groups  int
	values  []float32 // or
	halves  []uint16  // as f.pairs says
	buffer  []byte
}

// lineBytes is the cache's line; Input begins at a multiple of it.
const lineBytes = 64

// NewInput returns room for rows of k values.
func (s *Set) NewInput(a Arithmetic, rows, k int) *Input {
	in := &Input{f: s.mul[a]}
	in.Reset(rows, k)
	return in
}

// Reset changes the shape. It keeps the memory where that is large enough; the values are undefined.
func (in *Input) Reset(rows, k int) {
	f := in.f
	in.rows, in.k = rows, k
	in.block = blockSize(k, f.block)
	in.groups = (rows + f.rows - 1) / f.rows
	n := rows * roundUp(k, f.lanes)
	size := 4
	if f.pairs {
		size = 2
	}
	if len(in.buffer) < n*size+lineBytes {
		in.buffer = make([]byte, n*size+lineBytes)
	}
	start := unsafe.Pointer(&in.buffer[0])
	start = unsafe.Add(start, -uintptr(start)&(lineBytes-1))
	if f.pairs {
		in.halves = unsafe.Slice((*uint16)(start), n)
	} else {
		in.values = unsafe.Slice((*float32)(start), n)
	}
}

// blockSize cuts k evenly into blocks of at most most. It depends on k alone, since it decides in which order a sum is
// made.
func blockSize(k, most int) int {
	if k <= most {
		return max(k, 1)
	}
	blocks := (k + most - 1) / most
	return roundUp((k+blocks-1)/blocks, 32)
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// Shape returns the number of rows and that of values in each.
func (in *Input) Shape() (rows, k int) { return in.rows, in.k }

// group returns the first row of a group; groups are as even as can be.
func (in *Input) group(g int) int {
	small, more := in.rows/in.groups, in.rows%in.groups
	return g*small + min(g, more)
}

// groupOf is the group of a row.
func (in *Input) groupOf(row int) int {
	small, more := in.rows/in.groups, in.rows%in.groups
	if large := more * (small + 1); row >= large {
		return more + (row-large)/small
	}
	return row / (small + 1)
}

// offset is where the values of a group begin in the block from input k on of n inputs.
func (in *Input) offset(first, k, n int) int { return k*in.rows + first*roundUp(n, in.f.lanes) }

// at is the address of a value.
func (in *Input) at(offset int) unsafe.Pointer {
	if in.f.pairs {
		return unsafe.Pointer(&in.halves[offset])
	}
	return unsafe.Pointer(&in.values[offset])
}

// SetRow fills in a row. Different rows may be set at the same time.
func (in *Input) SetRow(row int, src []float32) {
	f := in.f
	g := in.groupOf(row)
	first := in.group(g)
	rows := in.group(g+1) - first
	src = src[:in.k]
	for k := 0; k < in.k; k += in.block {
		n := min(in.block, in.k-k)
		at := in.offset(first, k, n) + (row-first)*f.lanes
		if f.pairs {
			f.pack(in.halves[at:], src[k:k+n], rows*f.lanes)
			continue
		}
		for part := src[k : k+n]; len(part) > 0; at += rows * f.lanes {
			m := min(f.lanes, len(part))
			in.put(at, part[:m])
			part = part[m:]
		}
	}
}

// put fills in one vector.
func (in *Input) put(at int, src []float32) {
	dst := in.values[at : at+in.f.lanes]
	copy(dst, src)
	clear(dst[len(src):])
	if in.f.round {
		for i, v := range dst {
			dst[i] = fromBF16(roundOne(v))
		}
	}
}
