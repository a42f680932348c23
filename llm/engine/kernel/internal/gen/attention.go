package main

import (
	"fmt"
	"math/bits"
)

// queries is how many queries the attention kernels take at most: a vector of keys or values is loaded once for all of
// them. internal/gen writes kernels for 1…queries; each query is summed as if it were alone.
const queries = 4

// attention is a kernel for some queries.
//
//	CX results    R15 distance of a query's results    BX, R13 distance of queries, once and three times
//	R9 distance of blocks of keys, or of values        R14 three times that of blocks
//	R10, R11, R12 run through rows, the numbers they are multiplied with, and the number of rows
type attention struct {
	*vector
	queries int
	half    bool // keys and values are float16
	blocked bool // rows are cut into blocks of keys
}

// keyBlock is how many keys lie side by side.
const keyBlock = 16

func (a *attention) title(kernel string) string {
	s := a.name(fmt.Sprintf("%s%dx", kernel, a.queries))
	if a.half {
		s += "Half"
	}
	return s
}

// stored is how many bytes of memory a vector of keys or values takes.
func (a *attention) stored() int {
	if a.half {
		return int(a.w) / 2
	}
	return int(a.w)
}

// block is how many vectors of results are kept in registers for each query, so that no chain of additions waits for
// itself.
func (a *attention) block() int {
	if a.w == 64 || a.queries <= 2 {
		return 4
	}
	return 2
}

// Registers: sums from 0 on, then a row's vectors, then a number of a query.
func (a *attention) sum(query, i int) string { return a.w.reg(query*a.block() + i) }

func (a *attention) row(i int) int { return a.queries*a.block() + i }

func (a *attention) number() string { return a.w.reg(a.row(a.block())) }

// keys sets s[i, j] = Σ_d q[i, d]·k[j, d] for j < n. Distances are in bytes: sStep and qStep those of queries, block that
// of kt's blocks (dim, keyBlock).
//
//	DI s    SI kt    R8 q    DX dim    AX what to ask memory for
func (a *attention) keys() {
	a.function(a.title("keys"),
		"(s unsafe.Pointer, sStep int, q unsafe.Pointer, qStep, dim int, kt unsafe.Pointer, block, n int)", 64)
	a.arguments("s", "DI", "sStep", "R15", "q", "R8", "qStep", "BX", "dim", "DX", "kt", "SI", "block", "R9", "n", "CX")
	a.op("LEAQ", mem(0, "R9", "R9*2"), "R14")
	a.op("LEAQ", mem(0, "BX", "BX*2"), "R13")
	a.inBlocks(func(block string, vectors int, rest bool) {
		a.clear(vectors)
		if !rest {
			a.askFrom(block, vectors)
		}
		a.op("MOVQ", "SI", "R10")
		a.op("MOVQ", "R8", "R11")
		a.op("MOVQ", "DX", "R12")
		a.sumRows(block, vectors, rest)
		a.results(vectors, rest, a.save)
	})
	a.end()
}

// values sets out[i, d] = scale[i] · Σ_j p[i, j]·v[j, d] over n rows of v. Where add isn't zero, the sum goes on from
// out[i, d]; one row after the other is added, so that it doesn't matter where the rows are cut in two. Where causal
// isn't zero, query i sees i more rows.
//
//	DI out    SI v    R8 distance of the rows to ask memory for
func (a *attention) values() {
	a.function(a.title("values"), "(out unsafe.Pointer, oStep, dim int, p unsafe.Pointer, "+
		"pStep int, v unsafe.Pointer, n, stride int, scale unsafe.Pointer, causal, add int)", 88)
	a.arguments("out", "DI", "oStep", "R15", "dim", "CX", "p", "", "pStep", "BX", "v", "SI", "n", "", "stride", "R9")
	a.op("MOVQ", "R9", "R8")
	a.op("SHLQ", imm(bits.TrailingZeros(rowsAhead)), "R8")
	a.op("LEAQ", mem(0, "BX", "BX*2"), "R13")
	a.inBlocks(func(block string, vectors int, rest bool) {
		a.clear(vectors)
		a.op("CMPQ", "add+80(FP)", "$0")
		a.op("JEQ", block+"Begin")
		a.results(vectors, rest, a.load)
		a.label(block + "Begin")
		a.op("MOVQ", "p+24(FP)", "R11")
		a.op("MOVQ", "SI", "R10")
		a.op("MOVQ", "n+48(FP)", "R12")
		a.sumRows(block, vectors, rest)
		a.sumMore(block+"Scale", vectors, rest)
		a.op("MOVQ", "scale+64(FP)", "R11")
		for q := range a.queries {
			a.op("VBROADCASTSS", mem(4*q, "R11"), a.number())
			for i := range vectors {
				a.op("VMULPS", a.number(), a.sum(q, i), a.sum(q, i))
			}
		}
		a.results(vectors, rest, a.save)
	})
	a.end()
}

// arguments loads arguments of 8 bytes into registers, in pairs of name and register; no register for those to skip.
func (f *file) arguments(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			f.op("MOVQ", fmt.Sprintf("%s+%d(FP)", pairs[i], 4*i), pairs[i+1])
		}
	}
}

// inBlocks goes through CX results at DI and what they are made of at SI: whole blocks of vectors, then what is left in
// one more, whose last vector is masked.
func (a *attention) inBlocks(body func(block string, vectors int, rest bool)) {
	wide, lanes := a.block(), a.lanes()
	a.label("wide")
	a.op("CMPQ", "CX", imm(wide*lanes))
	a.op("JLT", "rest")
	body("wide", wide, false)
	if a.blocked {
		a.op("LEAQ", mem(0, "SI", fmt.Sprintf("R9*%d", wide/a.perBlock())), "SI")
	} else {
		a.op("ADDQ", imm(wide*a.stored()), "SI")
	}
	a.op("ADDQ", imm(wide*int(a.w)), "DI")
	a.op("SUBQ", imm(wide*lanes), "CX")
	a.op("JMP", "wide")
	a.label("rest")
	a.op("TESTQ", "CX", "CX")
	a.op("JZ", "done")
	for n := 1; n <= wide; n++ {
		block := fmt.Sprintf("rest%d", n)
		a.label(block)
		if n < wide {
			a.op("CMPQ", "CX", imm(n*lanes))
			a.op("JGT", fmt.Sprintf("rest%d", n+1))
		}
		if n > 1 {
			a.op("SUBQ", imm((n-1)*lanes), "CX")
		}
		a.mask("CX", "AX")
		body(block, n, true)
		if n < wide {
			a.op("JMP", "done")
		}
	}
	a.label("done")
}

func (a *attention) clear(vectors int) {
	for q := range a.queries {
		for i := range vectors {
			a.zero(q*a.block() + i)
		}
	}
}

// rowsAhead is how far ahead memory is asked for values.
const rowsAhead = 32

// ask asks for the memory of rows to come: of the blocks of keys behind these ones, from AX on, or of values.
func (a *attention) ask(label string, vectors int) {
	lines := (vectors*a.stored() + 63) / 64
	if a.blocked {
		for i := range lines {
			a.op("PREFETCHT0", mem(64*i, "AX"))
		}
		a.op("ADDQ", imm(64*lines), "AX")
		return
	}
	a.op("CMPQ", "R12", imm(rowsAhead))
	a.op("JLE", label+"Asked")
	for i := range lines {
		a.op("PREFETCHT0", mem(64*i, "R10", "R8*1"))
	}
	a.label(label + "Asked")
}

// askFrom sets AX to the blocks behind these ones, or to these where none of them are whole.
func (a *attention) askFrom(block string, vectors int) {
	a.op("MOVQ", "SI", "AX")
	a.op("CMPQ", "CX", imm(2*vectors*a.lanes()))
	a.op("JLT", block+"Last")
	a.op("LEAQ", mem(0, "SI", fmt.Sprintf("R9*%d", vectors/a.perBlock())), "AX")
	a.label(block + "Last")
}

// sumRows adds R12 rows from R10 on, each times a number of a query from R11 on, to the query's sums.
func (a *attention) sumRows(label string, vectors int, rest bool) {
	a.op("TESTQ", "R12", "R12")
	a.op("JZ", label+"Summed")
	a.label(label + "Row")
	if !rest || !a.blocked {
		a.ask(label, vectors)
	}
	a.sumRow(0, vectors, rest)
	a.op("DECQ", "R12")
	a.op("JNZ", label+"Row")
	a.label(label + "Summed")
}

// sumMore adds the rows that only the later queries see.
func (a *attention) sumMore(label string, vectors int, rest bool) {
	if a.queries == 1 {
		return
	}
	a.op("CMPQ", "causal+72(FP)", "$0")
	a.op("JEQ", label)
	for q := 1; q < a.queries; q++ {
		a.sumRow(q, vectors, rest)
	}
	a.label(label)
}

// sumRow adds one row to the sums of the queries from the given one on. A single query takes it from memory.
func (a *attention) sumRow(first, vectors int, rest bool) {
	from := make([]string, vectors)
	for i := range from {
		from[i] = a.at(i)
		masked := rest && i == vectors-1
		switch {
		case a.half && masked:
			a.op("VCVTPH2PS.Z", from[i], "K1", a.w.reg(a.row(i)))
		case a.half:
			a.op("VCVTPH2PS", from[i], a.w.reg(a.row(i)))
		case a.queries > 1 || masked:
			a.load(from[i], a.row(i), masked)
		default:
			continue
		}
		from[i] = a.w.reg(a.row(i))
	}
	at := []string{mem(0, "R11"), mem(0, "R11", "BX*1"), mem(0, "R11", "BX*2"), mem(0, "R11", "R13*1")}
	for q := first; q < a.queries; q++ {
		a.op("VBROADCASTSS", at[q], a.number())
		for i := range vectors {
			a.op("VFMADD231PS", from[i], a.number(), a.sum(q, i))
		}
	}
	a.op("ADDQ", "$4", "R11")
	if a.blocked {
		a.op("ADDQ", imm(keyBlock*a.stored()/a.lanes()), "R10")
	} else {
		a.op("ADDQ", "R9", "R10")
	}
}

// at is where vector i of a row lies.
func (a *attention) at(i int) string {
	if !a.blocked {
		return mem(i*a.stored(), "R10")
	}
	per := a.perBlock()
	offset, block := i%per*a.stored(), [][]string{nil, {"R9*1"}, {"R9*2"}, {"R14*1"}}[i/per]
	return mem(offset, "R10", block...)
}

// perBlock is how many vectors of keys a block has.
func (a *attention) perBlock() int { return keyBlock / a.lanes() }

// results loads or saves the sums of all queries.
func (a *attention) results(vectors int, rest bool, move func(memory string, register int, rest bool)) {
	a.op("MOVQ", "DI", "R10")
	for q := range a.queries {
		for i := range vectors {
			move(mem(i*int(a.w), "R10"), q*a.block()+i, rest && i == vectors-1)
		}
		if q < a.queries-1 {
			a.op("ADDQ", "R15", "R10")
		}
	}
}

func (a *attention) save(to string, from int, rest bool) { a.store(from, to, rest) }
