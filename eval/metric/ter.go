package metric

import (
	"math"
	"slices"
	"strings"
)

// Limits of TER's search, those of sacrebleu.
const (
	maxShiftWords      = 10
	maxShiftDistance   = 50
	maxShiftCandidates = 1000
	beamWidth          = 25
)

// ter is sacrebleu's corpus_ter with its defaults: the edits, shifts of words included, that turn the answers into the
// references, as a share of the references' words; in percent.
func ter(items []Translation) float64 {
	var edits, words float64
	for _, item := range items {
		answer := terWords(item.Answer)
		best, length := math.Inf(1), 0
		for _, r := range item.References {
			reference := terWords(r)
			best = min(best, float64(terEdits(answer, reference)))
			length += len(reference)
		}
		edits += best
		words += float64(length) / float64(len(item.References))
	}
	switch {
	case words > 0:
		return 100 * edits / words
	case edits > 0:
		return 100
	}
	return 0
}

func terWords(text string) []string { return strings.FieldsFunc(lower(text), IsSpace) }

func terEdits(answer, reference []string) int {
	if len(reference) == 0 {
		return len(answer)
	}
	shifts, tried := 0, 0
	for {
		gain, shifted := bestShift(answer, reference, &tried)
		if tried >= maxShiftCandidates || gain <= 0 {
			break
		}
		shifts++
		answer = shifted
	}
	edits, _ := editDistance(answer, reference)
	return shifts + edits
}

// shift is a way to move words of the answer.
type shift struct {
	gain, length, start, to int
	words                   []string
}

// before tells whether a is a better shift: by gain, then the longest, then the earliest, then to the earliest place.
func (a shift) before(b shift) bool {
	for _, d := range []int{a.gain - b.gain, a.length - b.length, b.start - a.start, b.to - a.to} {
		if d != 0 {
			return d > 0
		}
	}
	return slices.Compare(a.words, b.words) > 0
}

// bestShift looks for the shift after which the fewest edits are left.
func bestShift(answer, reference []string, tried *int) (gain int, shifted []string) {
	edits, trace := editDistance(answer, reference)
	align := alignment(trace)
	var best *shift
	consider := func(start, at, length int) {
		if !slices.Contains(align.answerWrong[start:start+length], true) || !slices.Contains(align.referenceWrong[at:at+length], true) {
			return
		}
		if to := align.answer[at]; start <= to && to < start+length {
			return
		}
		before := -1
		for offset := -1; offset < length; offset++ {
			to := 0
			if at+offset >= 0 {
				to = align.answer[at+offset] + 1
			}
			if to == before {
				continue
			}
			before = to
			words := moved(answer, start, length, to)
			left, _ := editDistance(words, reference)
			*tried++
			if s := (shift{edits - left, length, start, to, words}); best == nil || s.before(*best) {
				best = &s
			}
		}
	}
	shiftable(answer, reference, func(start, at, length int) bool {
		counted := *tried
		consider(start, at, length)
		return *tried == counted || *tried < maxShiftCandidates
	})
	if best == nil {
		return 0, answer
	}
	return best.gain, best.words
}

// shiftable hands over the stretches of words that answer and reference share, until f is false.
func shiftable(answer, reference []string, f func(start, at, length int) bool) {
	for start := range answer {
		for at := range reference {
			if abs(at-start) > maxShiftDistance {
				continue
			}
			for n := 0; n < maxShiftWords && start+n < len(answer) && at+n < len(reference) && answer[start+n] == reference[at+n]; n++ {
				if !f(start, at, n+1) {
					return
				}
			}
		}
	}
}

func moved(words []string, start, length, to int) []string {
	part := words[start : start+length]
	switch {
	case to < start:
		return slices.Concat(words[:to], part, words[to:start], words[start+length:])
	case to > start+length:
		return slices.Concat(words[:start], words[start+length:to], part, words[to:])
	}
	end := min(length+to, len(words)) // as Python's slices end
	return slices.Concat(words[:start], words[min(start+length, end):end], part, words[end:])
}

// aligned says which word of the answer stands for each of the reference, and where they differ.
type aligned struct {
	answer                      []int
	answerWrong, referenceWrong []bool
}

func alignment(trace []byte) (a aligned) {
	at := -1
	for _, op := range trace {
		if op != insert { // takes a word of the answer
			at++
			a.answerWrong = append(a.answerWrong, op != same)
		}
		if op != remove { // takes a word of the reference
			a.answer = append(a.answer, at)
			a.referenceWrong = append(a.referenceWrong, op != same)
		}
	}
	return a
}

// What turns the answer into the reference, word by word.
const (
	same    = ' '
	replace = 's'
	insert  = 'i' // a word of the reference that the answer lacks
	remove  = 'd'
)

// cell is an entry of the table of edit distances.
type cell struct {
	cost int
	op   byte
}

// editDistance is Levenshtein's, near the diagonal only, and the edits in order.
func editDistance(answer, reference []string) (int, []byte) {
	const far = math.MaxInt / 2
	n := len(reference)
	table := make([][]cell, len(answer)+1)
	for i := range table {
		table[i] = make([]cell, n+1)
		for j := range table[i] {
			table[i][j].cost = far
		}
	}
	for j := range table[0] {
		table[0][j] = cell{j, insert}
	}
	ratio := 1.0
	if len(answer) > 0 {
		ratio = float64(n) / float64(len(answer))
	}
	beam := beamWidth
	if beamWidth < ratio/2 {
		beam = int(math.Ceil(ratio/2 + beamWidth))
	}
	for i := 1; i <= len(answer); i++ {
		diagonal := int(math.Floor(float64(i) * ratio))
		to := min(n+1, diagonal+beam)
		if i == len(answer) {
			to = n + 1
		}
		for j := max(0, diagonal-beam); j < to; j++ {
			table[i][j] = nextCell(table, i, j, answer, reference)
		}
	}
	var trace []byte
	for i, j := len(answer), n; i > 0 || j > 0; {
		op := table[i][j].op
		trace = append(trace, op)
		if op != insert {
			i--
		}
		if op != remove {
			j--
		}
	}
	slices.Reverse(trace)
	return table[len(answer)][n].cost, trace
}

// nextCell prefers keeping or replacing a word, then removing, then inserting one.
func nextCell(table [][]cell, i, j int, answer, reference []string) cell {
	up := cell{table[i-1][j].cost + 1, remove}
	if j == 0 {
		return up
	}
	best := cell{table[i-1][j-1].cost + 1, replace}
	if answer[i-1] == reference[j-1] {
		best = cell{table[i-1][j-1].cost, same}
	}
	if up.cost < best.cost {
		best = up
	}
	if left := table[i][j-1].cost + 1; left < best.cost {
		best = cell{left, insert}
	}
	return best
}
