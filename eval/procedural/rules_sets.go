package procedural

import (
	"slices"
	"strconv"
	"strings"
)

// setKinds order letters or keep those of some kind.
func setKinds() []kind {
	const f = "F2"
	kinds := []kind{
		{"sort", f, words, aWord, nil, fixed(sorted)},
		{"sortdesc", f, words, aWord, nil, fixed(func(x string) string { return reverse(sorted(x)) })},
		{"maxletter", f, words, aWord, nil, fixed(func(x string) string { s := sorted(x); return s[max(0, len(s)-1):] })},
		{"minletter", f, words, aWord, nil, fixed(func(x string) string { s := sorted(x); return s[:min(1, len(s))] })},
		{"dedup", f, words, aWord, nil, fixed(dedup)},
		{"vowelsfirst", f, words, aWord, nil, fixed(func(x string) string { return only(x, isVowel) + only(x, isConsonant) })},
		{"vowelslast", f, words, aWord, nil, fixed(func(x string) string { return only(x, isConsonant) + only(x, isVowel) })},
	}
	for _, s := range []struct {
		name   string
		wanted func(x string, i int) bool
	}{
		{"deduplast", func(x string, i int) bool { return strings.LastIndexByte(x, x[i]) == i }},
		{"squeeze", func(x string, i int) bool { return i == 0 || x[i] != x[i-1] }},
		{"duplicates", func(x string, i int) bool { return strings.Count(x, x[i:i+1]) > 1 }},
		{"singles", func(x string, i int) bool { return strings.Count(x, x[i:i+1]) == 1 }},
		{"vowels", func(x string, i int) bool { return isVowel(x[i]) }},
		{"consonants", func(x string, i int) bool { return isConsonant(x[i]) }},
		{"dropmax", func(x string, i int) bool { return x[i] != slices.Max([]byte(x)) }},
		{"dropmin", func(x string, i int) bool { return x[i] != slices.Min([]byte(x)) }},
	} {
		kinds = append(kinds, kind{s.name, f, words, aWord, nil, fixed(func(x string) string {
			return keep(x, func(i int) bool { return s.wanted(x, i) })
		})})
	}
	return kinds
}

// letterKinds have a letter, or two, for a parameter.
func letterKinds() []kind {
	const f = "F2"
	var replaced, exchanged []value
	for i := range len(Alphabet) {
		for _, step := range []int{3, 6} {
			replaced = append(replaced, value{c: Alphabet[i], d: Alphabet[(i+step)%len(Alphabet)]})
		}
		if i < 6 { // never a and b, which the bit tasks hold out
			exchanged = append(exchanged, value{c: Alphabet[i], d: Alphabet[i+4]})
		}
	}
	only := func(wanted func(c, limit byte) bool) func(value) func(string) string {
		return func(v value) func(string) string {
			return func(x string) string { return only(x, func(c byte) bool { return wanted(c, v.c) }) }
		}
	}
	return []kind{
		{"remove", f, words, aWord, lettered('a', 'j'), only(func(c, v byte) bool { return c != v })},
		{"before", f, words, aWord, lettered('d', 'i'), only(func(c, v byte) bool { return c < v })},
		{"after", f, words, aWord, lettered('b', 'g'), only(func(c, v byte) bool { return c > v })},
		{"replace", f, words, aWord, replaced, func(v value) func(string) string {
			return func(x string) string { return strings.ReplaceAll(x, string(v.c), string(v.d)) }
		}},
		{"exchange", f, words, aWord, exchanged, func(v value) func(string) string {
			to := strings.NewReplacer(string(v.c), string(v.d), string(v.d), string(v.c)).Replace(Alphabet)
			return func(x string) string { return substitute(x, to) }
		}},
		{"append", f, words, aWord, lettered('a', 'j'), func(v value) func(string) string {
			return func(x string) string { return x + string(v.c) }
		}},
		{"prepend", f, words, aWord, lettered('a', 'j'), func(v value) func(string) string {
			return func(x string) string { return string(v.c) + x }
		}},
	}
}

// countKinds give a number, mode a letter.
func countKinds() []kind {
	const f = "F3"
	count := func(name string, values []value, n func(x string, v value) int) kind {
		return kind{name, f, words, aNumber, values, func(v value) func(string) string {
			return func(x string) string { return strconv.Itoa(n(x, v)) }
		}}
	}
	return []kind{
		count("length", nil, func(x string, _ value) int { return len(x) }),
		count("distinct", nil, func(x string, _ value) int { return len(dedup(x)) }),
		count("count", lettered('a', 'j'), func(x string, v value) int { return strings.Count(x, string(v.c)) }),
		count("countvowels", nil, func(x string, _ value) int { return len(only(x, isVowel)) }),
		count("countconsonants", nil, func(x string, _ value) int { return len(only(x, isConsonant)) }),
		count("countbefore", lettered('d', 'g'), func(x string, v value) int {
			return len(only(x, func(c byte) bool { return c < v.c }))
		}),
		{"mode", f, words, aWord, nil, fixed(mode)},
	}
}

func isVowel(c byte) bool     { return strings.IndexByte("aei", c) >= 0 }
func isConsonant(c byte) bool { return !isVowel(c) }

// only writes the letters that are wanted.
func only(x string, wanted func(c byte) bool) string {
	return keep(x, func(i int) bool { return wanted(x[i]) })
}

func sorted(x string) string {
	b := []byte(x)
	slices.Sort(b)
	return string(b)
}

// dedup keeps the first of equal letters.
func dedup(x string) string {
	return keep(x, func(i int) bool { return strings.IndexByte(x, x[i]) == i })
}

// mode is the commonest letter, the earliest in the alphabet among equals.
func mode(x string) string {
	best, most := "", 0
	for _, c := range strings.Split(Alphabet, "") {
		if n := strings.Count(x, c); n > most {
			best, most = c, n
		}
	}
	return best
}
