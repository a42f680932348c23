package procedural

import (
	"strconv"
	"strings"
)

func cipherKinds() []kind {
	const f = "F4"
	var forward []value
	for _, n := range []int{1, 2, 3, 4, 5, 7} { // the others are shorter backwards
		forward = append(forward, value{n: n})
	}
	return []kind{
		{"shift", f, words, aWord, forward, func(v value) func(string) string { return shift(v.n) }},
		{"back", f, words, aWord, numbered(1, 4), func(v value) func(string) string { return shift(len(Alphabet) - v.n) }},
		{"mirror", f, words, aWord, nil, fixed(mirror)},
		{"keyed", f, words, aWord, nil, fixed(func(x string) string { return substitute(x, "dhajcgbeif") })},
		{"todigits", f, words, aText, nil, fixed(toDigits)},
	}
}

// numberKinds are arithmetic: on two numbers, on two digits, and on the number a step before gives.
func numberKinds() []kind {
	both, digits, number := []string{"pair", "digits"}, []string{"digits"}, []string{aNumber}
	two := func(name string, inputs []string, values []value, rule func(a, b, n int) int) kind {
		return kind{name, "F5", inputs, aNumber, values, func(v value) func(string) string {
			return func(x string) string { a, b := numbers(x); return strconv.Itoa(rule(a, b, v.n)) }
		}}
	}
	one := func(name string, values []value, rule func(a, n int) int) kind {
		return kind{name, "F5", number, aNumber, values, func(v value) func(string) string {
			return func(x string) string {
				a, _ := strconv.Atoi(x) // the step before wrote it
				return strconv.Itoa(rule(a, v.n))
			}
		}}
	}
	return []kind{
		two("add", both, nil, func(a, b, _ int) int { return a + b }),
		two("diff", both, nil, func(a, b, _ int) int { return max(a, b) - min(a, b) }),
		two("larger", both, nil, func(a, b, _ int) int { return max(a, b) }),
		two("smaller", both, nil, func(a, b, _ int) int { return min(a, b) }),
		two("firstnumber", both, nil, func(a, _, _ int) int { return a }),
		two("secondnumber", both, nil, func(_, b, _ int) int { return b }),
		two("digitsum", both[:1], nil, func(a, b, _ int) int { return a/10 + a%10 + b/10 + b%10 }),
		two("times", digits, nil, func(a, b, _ int) int { return a * b }),
		two("modadd", digits, numbered(3, 9), func(a, b, n int) int { return (a + b) % n }),
		two("modtimes", digits, numbered(3, 9), func(a, b, n int) int { return a * b % n }),
		{"addrev", "F5", both[:1], aText, nil, fixed(func(x string) string {
			a, b := numbers(x)
			return reverse(strconv.Itoa(a + b))
		})},
		one("plus", numbered(1, 6), func(a, n int) int { return a + n }),
		one("multiply", numbered(2, 4), func(a, n int) int { return a * n }),
		one("half", nil, func(a, _ int) int { return a / 2 }),
		one("lastdigit", nil, func(a, _ int) int { return a % 10 }),
	}
}

// bitKinds are the held-out family: training has no task on their input.
func bitKinds() []kind {
	task := func(name, gives string, rule func(string) string) kind {
		return kind{name, "F6", []string{"bits"}, gives, nil, fixed(rule)}
	}
	return []kind{
		task("parity_a", aText, func(x string) string { return strconv.Itoa(strings.Count(x, "a") % 2) }),
		task("flip", aText, func(x string) string { return substitute(x, "ba") }),
		task("majority", aText, mode),
		task("palin", aText, func(x string) string {
			if x == reverse(x) {
				return "1"
			}
			return "0"
		}),
		task("running", aText, func(x string) string {
			seen := 0
			return each(x, func(c byte) string {
				if c == 'a' {
					seen++
				}
				return strconv.Itoa(seen % 2)
			})
		}),
	}
}

func each(x string, f func(c byte) string) string {
	var b strings.Builder
	for i := range len(x) {
		b.WriteString(f(x[i]))
	}
	return b.String()
}

// substitute replaces letter i of the alphabet by to[i].
func substitute(x, to string) string {
	b := []byte(x)
	for i := range b {
		b[i] = to[b[i]-'a']
	}
	return string(b)
}

func shift(k int) func(string) string {
	return func(x string) string { return substitute(x, Alphabet[k:]+Alphabet[:k]) }
}

func mirror(x string) string   { return substitute(x, "jihgfedcba") }
func toDigits(x string) string { return substitute(x, "0123456789") }

func orTilde(x string) string {
	if x == "" {
		return "~"
	}
	return x
}
