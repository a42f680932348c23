package procedural

import "slices"

var (
	words = []string{aWord}
	fixed = func(rule func(x string) string) func(value) func(string) string {
		return func(value) func(string) string { return rule }
	}
)

// positionKinds keep or drop letters by their place.
func positionKinds() []kind {
	const f = "F1"
	at := func(rule func(x string, n int) string) func(value) func(string) string {
		return func(v value) func(string) string {
			return func(x string) string { return rule(x, v.n) }
		}
	}
	return []kind{
		{"copy", f, words, aWord, nil, fixed(func(x string) string { return x })},
		{"take", f, words, aWord, numbered(1, 3), at(func(x string, n int) string { return x[:min(n, len(x))] })},
		{"last", f, words, aWord, numbered(1, 3), at(func(x string, n int) string { return x[max(0, len(x)-n):] })},
		{"drop", f, words, aWord, numbered(1, 3), at(func(x string, n int) string { return x[min(n, len(x)):] })},
		{"chop", f, words, aWord, numbered(1, 3), at(func(x string, n int) string { return x[:max(0, len(x)-n)] })},
		{"nth", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return keep(x, func(i int) bool { return i == n-1 })
		})},
		{"fromend", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return keep(x, func(i int) bool { return i == len(x)-n })
		})},
		{"del", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return keep(x, func(i int) bool { return i != n-1 })
		})},
		{"delend", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return keep(x, func(i int) bool { return i != len(x)-n })
		})},
		{"inner", f, words, aWord, nil, fixed(func(x string) string {
			return keep(x, func(i int) bool { return i > 0 && i < len(x)-1 })
		})},
		{"ends", f, words, aWord, nil, fixed(func(x string) string {
			return keep(x, func(i int) bool { return i == 0 || i == len(x)-1 })
		})},
		{"odds", f, words, aWord, nil, fixed(odds)},
		{"evens", f, words, aWord, nil, fixed(evens)},
		{"firsthalf", f, words, aWord, nil, fixed(func(x string) string { return x[:len(x)/2] })},
		{"secondhalf", f, words, aWord, nil, fixed(func(x string) string { return x[len(x)/2:] })},
	}
}

// moveKinds move letters or write them more often.
func moveKinds() []kind {
	const f = "F1"
	at := func(rule func(x string, n int) string) func(value) func(string) string {
		return func(v value) func(string) string {
			return func(x string) string { return rule(x, min(v.n, len(x))) } // a word too short: its last letter
		}
	}
	return []kind{
		{"reverse", f, words, aWord, nil, fixed(reverse)},
		{"rotl", f, words, aWord, numbered(1, 3), func(v value) func(string) string {
			return func(x string) string { return rotate(x, v.n) }
		}},
		{"rotr", f, words, aWord, numbered(1, 3), func(v value) func(string) string {
			return func(x string) string { return rotate(x, -v.n) }
		}},
		{"swapends", f, words, aWord, nil, fixed(func(x string) string { return swap(x, 0, len(x)-1) })},
		{"swappairs", f, words, aWord, nil, fixed(swapPairs)},
		{"swapfirst", f, words, aWord, nil, fixed(func(x string) string { return swap(x, 0, 1) })},
		{"swaplast", f, words, aWord, nil, fixed(func(x string) string { return swap(x, len(x)-2, len(x)-1) })},
		{"swaphalves", f, words, aWord, nil, fixed(func(x string) string { return rotate(x, len(x)/2) })},
		{"oddseven", f, words, aWord, nil, fixed(func(x string) string { return odds(x) + evens(x) })},
		{"tofront", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return x[max(n-1, 0):n] + x[:max(n-1, 0)] + x[n:]
		})},
		{"toend", f, words, aWord, numbered(2, 4), at(func(x string, n int) string {
			return x[:max(n-1, 0)] + x[n:] + x[max(n-1, 0):n]
		})},
		{"revfirst", f, words, aWord, numbered(3, 4), at(func(x string, n int) string { return reverse(x[:n]) + x[n:] })},
		{"revlast", f, words, aWord, numbered(3, 4), at(func(x string, n int) string {
			return x[:len(x)-n] + reverse(x[len(x)-n:])
		})},
		{"twice", f, words, aWord, numbered(1, 4), at(func(x string, n int) string { return x[:n] + x[max(n-1, 0):] })},
		{"twicelast", f, words, aWord, nil, fixed(func(x string) string { return x + x[max(0, len(x)-1):] })},
		{"double", f, words, aWord, nil, fixed(func(x string) string {
			return each(x, func(c byte) string { return string([]byte{c, c}) })
		})},
		{"repeat", f, words, aWord, nil, fixed(func(x string) string { return x + x })},
		{"there_and_back", f, words, aWord, nil, fixed(func(x string) string { return x + reverse(x) })},
	}
}

// keep writes the letters whose place is wanted.
func keep(x string, wanted func(i int) bool) string {
	b := make([]byte, 0, 2*maxAnswer) // on the stack: the space calls this some million times
	for i := range len(x) {
		if wanted(i) {
			b = append(b, x[i])
		}
	}
	return string(b)
}

func odds(x string) string  { return keep(x, func(i int) bool { return i%2 == 0 }) }
func evens(x string) string { return keep(x, func(i int) bool { return i%2 == 1 }) }

// rotate moves x n places to the left, around its end.
func rotate(x string, n int) string {
	if x == "" {
		return x
	}
	n = (n%len(x) + len(x)) % len(x)
	return x[n:] + x[:n]
}

// swap exchanges the letters in two places; a word that lacks one of them stays.
func swap(x string, i, j int) string {
	if i < 0 || j < 0 || i >= len(x) || j >= len(x) {
		return x
	}
	b := []byte(x)
	b[i], b[j] = b[j], b[i]
	return string(b)
}

func reverse(x string) string {
	b := []byte(x)
	slices.Reverse(b)
	return string(b)
}

func swapPairs(x string) string {
	b := []byte(x)
	for i := 0; i+1 < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return string(b)
}
