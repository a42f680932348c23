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

// distance is the number of insertions, deletions, substitutions and swaps of neighbours (each place
// edited once) that turn a into b, in bytes.
func distance(a, b string) int {
	table := make([][]int, len(a)+1) // table[i][j] is the distance from a[:i] to b[:j]
	for i := range table {
		table[i] = make([]int, len(b)+1)
		table[i][0] = i
	}
	for j := range len(b) {
		table[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			substitute := table[i-1][j-1]
			if a[i-1] != b[j-1] {
				substitute++
			}
			table[i][j] = min(substitute, table[i-1][j]+1, table[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				table[i][j] = min(table[i][j], table[i-2][j-2]+1)
			}
		}
	}
	return table[len(a)][len(b)]
}
