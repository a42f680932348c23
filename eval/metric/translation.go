package metric

import (
	"math"
	"regexp"
	"strings"
)

// A Translation is an answer beside the texts it is compared with.
type Translation struct {
	References []string
	Answer     string
}

// bleuOrder is the longest n-gram that BLEU counts, chrfOrder that of chrF.
const (
	bleuOrder = 4
	chrfOrder = 6
)

// The tokens of mteval-v13a, as sacrebleu cuts them.
var (
	bleuCut = []struct {
		re *regexp.Regexp
		to string
	}{
		{regexp.MustCompile(`([\{-\~\[-\x60 -\&\(-\+\:-@/])`), " ${1} "},
		{regexp.MustCompile(`(?s)([^0-9])([\.,])`), "${1} ${2} "},
		{regexp.MustCompile(`(?s)([\.,])([^0-9])`), " ${1} ${2}"},
		{regexp.MustCompile(`([0-9])(-)`), "${1} ${2} "},
	}
)

func bleuTokens(text string) []string {
	text = strings.TrimRightFunc(text, IsSpace)
	for _, cut := range [][2]string{{"<skipped>", ""}, {"-\n", ""}, {"\n", " "}} {
		text = strings.ReplaceAll(text, cut[0], cut[1])
	}
	for _, cut := range [][2]string{{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
		text = strings.ReplaceAll(text, cut[0], cut[1])
	}
	text = " " + text + " "
	for _, cut := range bleuCut {
		text = cut.re.ReplaceAllString(text, cut.to)
	}
	return strings.FieldsFunc(text, IsSpace)
}

// bleu is sacrebleu's corpus_bleu with its defaults: 13a tokens, exponential smoothing; in percent.
func bleu(items []Translation) float64 {
	var answers, references int
	var correct, total [bleuOrder]int
	for _, item := range items {
		tokens := bleuTokens(item.Answer)
		answers += len(tokens)
		most := map[string]int{}
		nearest := -1
		for _, r := range item.References {
			words := bleuTokens(r)
			d, best := abs(len(words)-len(tokens)), abs(nearest-len(tokens))
			if nearest < 0 || d < best || d == best && len(words) < nearest {
				nearest = len(words)
			}
			for n := 1; n <= bleuOrder; n++ {
				for gram, count := range wordGrams(words, n) {
					most[gram] = max(most[gram], count)
				}
			}
		}
		references += nearest
		for n := 1; n <= bleuOrder; n++ {
			for gram, count := range wordGrams(tokens, n) {
				total[n-1] += count
				correct[n-1] += min(count, most[gram])
			}
		}
	}
	return bleuScore(correct, total, answers, references)
}

func bleuScore(correct, total [bleuOrder]int, answers, references int) float64 {
	if correct == [bleuOrder]int{} {
		return 0
	}
	brevity := 1.0
	if answers < references {
		brevity = math.Exp(1 - float64(references)/float64(answers)) // an answer matched, so there are some
	}
	smooth, sum := 1.0, 0.0
	for n := range total {
		precision := 0.0
		if total[n] > 0 {
			precision = 100 * float64(correct[n]) / float64(total[n])
			if correct[n] == 0 {
				smooth *= 2
				precision = 100 / (smooth * float64(total[n]))
			}
		}
		if precision == 0 {
			sum += -9999999999 // sacrebleu's logarithm of 0
		} else {
			sum += math.Log(precision)
		}
	}
	return brevity * math.Exp(sum/bleuOrder)
}

// wordGrams counts n-grams. Tokens hold no space, so that joining them is unambiguous.
func wordGrams(words []string, n int) map[string]int {
	grams := map[string]int{}
	for i := 0; i+n <= len(words); i++ {
		grams[strings.Join(words[i:i+n], " ")]++
	}
	return grams
}

// chrf is sacrebleu's corpus_chrf with its defaults: characters without spaces, up to six in a row, recall counts
// twice; in percent.
func chrf(items []Translation) float64 {
	var sum chrfCounts
	for _, item := range items {
		answer := charGrams(item.Answer)
		var best chrfCounts
		score := -1.0
		for _, r := range item.References {
			c := countChrf(answer, charGrams(r))
			if s := c.score(); s > score {
				score, best = s, c
			}
		}
		for n := range sum {
			for k := range sum[n] {
				sum[n][k] += best[n][k]
			}
		}
	}
	return sum.score()
}

// chrfCounts are, for each order, the n-grams of the answer, of the reference, and of both.
type chrfCounts [chrfOrder][3]int

func charGrams(text string) (grams [chrfOrder]map[string]int) {
	runes := []rune(strings.Join(strings.FieldsFunc(text, IsSpace), ""))
	for n := range grams {
		grams[n] = map[string]int{}
		for i := 0; i+n < len(runes); i++ {
			grams[n][string(runes[i:i+n+1])]++
		}
	}
	return grams
}

func countChrf(answer, reference [chrfOrder]map[string]int) (c chrfCounts) {
	for n := range c {
		for gram, count := range answer[n] {
			c[n][0] += count
			c[n][2] += min(count, reference[n][gram])
		}
		for _, count := range reference[n] {
			c[n][1] += count
		}
		if len(reference[n]) == 0 {
			c[n][0] = 0
		}
	}
	return c
}

func (c chrfCounts) score() float64 {
	var precision, recall, orders float64
	for _, n := range c {
		if n[0] > 0 && n[1] > 0 {
			precision += float64(n[2]) / float64(n[0])
			recall += float64(n[2]) / float64(n[1])
			orders++
		}
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * 5 * precision * recall / (4*precision + recall)
}

func abs(n int) int { return max(n, -n) }
