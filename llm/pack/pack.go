// Package pack lays many short training examples into rows of one fixed length, so that a long shared prefix (the
// description of a task) is computed once for all the examples behind it.
//
//	index      0  1  2  3  4  5  6  7  8  9
//	IDs        P  P  P  a  a  a  b  b  .  .      P = prefix, a and b = two examples, . = padding
//	Segments   0  0  0  1  1  1  2  2 -1 -1
//	Positions  0  1  2  3  4  5  3  4  0  0      each example continues right after the prefix
//
// An example sees the prefix and itself, causally, at the positions it would have standing alone after the prefix:
// what a model computes for it is what it would compute for prefix + prompt + answer alone (see Visible).
package pack

// Padding is the segment of positions that hold nothing.
const Padding int32 = -1

// Example is a prompt and the answer to learn, as token ids. Only the tokens of Answer carry loss.
type Example struct{ Prompt, Answer []int }

// Batch is a training batch of one fixed shape; each slice holds (rows, len) values, row by row.
type Batch struct {
	Rows, Len int
	IDs       []int32   // (rows, len) input tokens; 0 in padding
	Targets   []int32   // (rows, len) the token that follows; 0 where Weights is 0
	Positions []int32   // (rows, len) position for the rotary embedding; 0 in padding
	Segments  []int32   // (rows, len) 0 = prefix, k ≥ 1 = example k, Padding = nothing
	Weights   []float32 // (rows, len) weight of the loss at this position: 1 where Targets counts, else 0
}

// NewBatch returns a batch of rows × length positions, all padding.
func NewBatch(rows, length int) *Batch {
	n := rows * length
	b := &Batch{
		Rows: rows, Len: length,
		IDs: make([]int32, n), Targets: make([]int32, n), Positions: make([]int32, n), Segments: make([]int32, n),
		Weights: make([]float32, n),
	}
	for i := range b.Segments {
		b.Segments[i] = Padding
	}
	return b
}

// Add replaces the row by prefix followed by as many of the examples, in order, as fit, and returns how many did. A
// prefix that doesn't fit leaves the row empty and returns 0.
//
// The last token of an answer is a target only, so an example takes len(Prompt)+len(Answer)−1 positions. The first
// token of an answer is predicted from the token before it; where a prompt is empty, that is the last token of the
// prefix, which is then repeated at the head of every example instead of standing in the shared prefix.
func (b *Batch) Add(row int, prefix []int, examples []Example) (used int) {
	b.clear(row)
	var head []int
	if len(prefix) > 0 && anyEmptyPrompt(examples) {
		head, prefix = prefix[len(prefix)-1:], prefix[:len(prefix)-1]
	}
	if len(prefix) > b.Len {
		return 0
	}
	at := row * b.Len
	end := at + b.Len
	for i, id := range prefix {
		b.put(at, id, i, 0)
		at++
	}
	for k, e := range examples {
		n := len(head) + len(e.Prompt) + len(e.Answer) - 1
		if len(e.Answer) == 0 {
			n = 0 // nothing to learn, nothing to lay down
		}
		if at+n > end {
			return k
		}
		b.example(at, n, len(prefix), int32(k+1), head, e)
		at += n
	}
	return len(examples)
}

// example writes n inputs of one example, and their targets, from index at on; its first position is start.
func (b *Batch) example(at, n, start int, segment int32, head []int, e Example) {
	asked := len(head) + len(e.Prompt)
	token := func(i int) int {
		switch {
		case i < len(head):
			return head[i]
		case i < asked:
			return e.Prompt[i-len(head)]
		}
		return e.Answer[i-asked]
	}
	for i := range n {
		b.put(at+i, token(i), start+i, segment)
		if i+1 >= asked {
			b.Targets[at+i] = int32(token(i + 1))
			b.Weights[at+i] = 1
		}
	}
}

// Text replaces the row by a plain language-modelling row: every token is learned from those before it. It takes up to
// Len+1 ids, since the last one is a target only.
func Text(b *Batch, row int, ids []int) {
	b.clear(row)
	at := row * b.Len
	for i := 0; i < b.Len && i+1 < len(ids); i++ {
		b.put(at+i, ids[i], i, 0)
		b.Targets[at+i] = int32(ids[i+1])
		b.Weights[at+i] = 1
	}
}

// Visible says whether, in this row, the query at index q attends to the key at index k. A padding position sees
// itself only, so that its softmax stays finite.
func (b *Batch) Visible(row, q, k int) bool {
	s := b.Segments[row*b.Len : (row+1)*b.Len]
	if s[q] == Padding || s[k] == Padding {
		return q == k
	}
	return k <= q && (s[k] == 0 || s[k] == s[q])
}

// LossTokens returns how many positions of the batch carry loss.
func (b *Batch) LossTokens() int {
	n := 0
	for _, w := range b.Weights {
		if w != 0 {
			n++
		}
	}
	return n
}

func (b *Batch) put(at, id, position int, segment int32) {
	b.IDs[at], b.Positions[at], b.Segments[at] = int32(id), int32(position), segment
}

// clear makes a row all padding.
func (b *Batch) clear(row int) {
	for i := row * b.Len; i < (row+1)*b.Len; i++ {
		b.IDs[i], b.Targets[i], b.Positions[i], b.Segments[i], b.Weights[i] = 0, 0, 0, Padding, 0
	}
}

func anyEmptyPrompt(examples []Example) bool {
	for _, e := range examples {
		if len(e.Prompt) == 0 && len(e.Answer) > 0 {
			return true
		}
	}
	return false
}
