package adapters

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"
)

// words cuts a description into lower-case words, numbers and single signs.
func words(text string) []string {
	var out []string
	word := strings.Builder{}
	flush := func() {
		if word.Len() > 0 {
			out = append(out, word.String())
			word.Reset()
		}
	}
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r):
			word.WriteRune(r)
		case unicode.IsSpace(r) || r == '.' || r == '\'':
			flush()
		default:
			flush()
			out = append(out, string(r))
		}
	}
	flush()
	return out
}

// bag writes words into x (words, buckets) and their mask (words): each is its own bucket and, with half of the weight, those of its letter
// trigrams, so that a word never met is close to its relatives (Bojanowski et al. 2017, fastText).
func (c TextConfig) bag(words []string, x, mask []float32) {
	clear(x)
	clear(mask)
	for i, w := range words {
		if i >= c.Words {
			return
		}
		mask[i] = 1
		row := x[i*c.Buckets : (i+1)*c.Buckets]
		row[c.bucket("="+w)]++
		letters := []rune("<" + w + ">")
		n := len(letters) - 2
		for k := range n {
			row[c.bucket(string(letters[k:k+3]))] += float32(0.5 / math.Sqrt(float64(n)))
		}
	}
}

// draw writes one of a task's descriptions as the i-th of a batch into bags (groups·words, buckets) and masks (groups, words). One of two
// is spoiled.
func (c TextConfig) draw(t Task, i int, bags, masks []float32, r *rand.Rand) {
	w := c.Words
	text := words(t.Descriptions[r.IntN(len(t.Descriptions))])
	if r.IntN(2) == 0 {
		text = c.spoil(text, r)
	}
	c.bag(text, bags[i*w*c.Buckets:(i+1)*w*c.Buckets], masks[i*w:(i+1)*w])
}

// spoil leaves out words, or puts words that nobody knows in their places, each for half of the dropout. What remains has to tell the task:
// users don't say things as the training does.
func (c TextConfig) spoil(text []string, r *rand.Rand) []string {
	var out []string
	for _, w := range text {
		switch u := r.Float64(); {
		case u >= c.Dropout:
			out = append(out, w)
		case u < c.Dropout/2:
			unknown := make([]byte, 3+r.IntN(6))
			for i := range unknown {
				unknown[i] = byte('a' + r.IntN(26))
			}
			out = append(out, string(unknown))
		}
	}
	if out == nil {
		return text
	}
	return out
}

func (c TextConfig) bucket(s string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return int(h.Sum32() % uint32(c.Buckets))
}
