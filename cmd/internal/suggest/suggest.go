// Package suggest finds the word a user probably meant.
package suggest

// Nearest returns the choice with the smallest edit distance to word, or "" if none is close: the
// distance must be at most a third of the longer word, and at least 1 is always allowed.
func Nearest(word string, choices []string) string {
	best, bestDistance := "", -1
	for _, choice := range choices {
		d := distance(word, choice)
		if d > max(1, max(len(word), len(choice))/3) {
			continue
		}
		if bestDistance < 0 || d < bestDistance {
			best, bestDistance = choice, d
		}
	}
	return best
}

// distance is the Levenshtein distance between a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances from a[:i] to every prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
