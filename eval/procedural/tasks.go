// Package procedural has 60 small reasoning tasks over words, number pairs and bit strings: each a rule that turns an
// input x into an answer y, and one sentence that describes it. Own work; the rules are fixed by tasks.json's samples.
//
// In a prompt the rule is either described ("description\nx>") or bare ("x>"): in the bare form nothing but the
// weights of a model can tell which task is meant. The answer is y and the end-of-sequence token.
package procedural

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"d2nwg/internal/stats"
)

// Alphabet has the letters of words; letter i stands for the number i.
const Alphabet = "abcdefghij"

// TrainSplit is the Split of a task that training may use; all others are "held-out:…".
const TrainSplit = "train"

// A Task is one rule. Tasks of one Input draw x from the same distribution, so x never tells which of them is meant.
type Task struct {
	Name        string
	Family      string // F1 positions, F2 order and sets, F3 counting, F4 ciphers, F5 arithmetic, F6 bits, F7 compositions
	Input       string // word, pair, digits or bits
	Split       string // "train" or "held-out:" + parameter, composition, family or far
	Description string // one sentence

	rule func(x string) string
}

// Draw draws an input from the task's distribution and answers it.
func (t Task) Draw(r *rand.Rand) (x, y string) {
	x = inputs[t.Input].draw(r)
	return x, t.rule(x)
}

// DrawIn is Draw restricted to the inputs of one split.
func (t Task) DrawIn(r *rand.Rand, split stats.Split) (x, y string) {
	for {
		if x, y = t.Draw(r); Cut(x) == split {
			return x, y
		}
	}
}

// Apply answers x, or says why x is no input of this task.
func (t Task) Apply(x string) (string, error) {
	if !inputs[t.Input].valid(x) {
		return "", fmt.Errorf("task %s: %q is not %s", t.Name, x, inputs[t.Input].what)
	}
	return t.rule(x), nil
}

// All returns the 60 tasks in a fixed order.
func All() []Task { return slices.Clone(table) }

// TrainTasks returns the 41 tasks that training may use.
func TrainTasks() []Task {
	return slices.DeleteFunc(All(), func(t Task) bool { return t.Split != TrainSplit })
}

// Lookup finds a task by name.
func Lookup(name string) (Task, error) {
	names := make([]string, len(table))
	for i, t := range table {
		if t.Name == name {
			return t, nil
		}
		names[i] = t.Name
	}
	return Task{}, fmt.Errorf("there is no procedural task %q; the tasks are %s", name, strings.Join(names, " "))
}

var heldOut = map[string]string{
	"rotl2": "parameter", "take2": "parameter", "nth3": "parameter", "count_b": "parameter",
	"shift4": "parameter", "modadd7": "parameter", "remove_e": "parameter",
	"rev_shift2": "composition", "take3_rev": "composition", "drop1_sort": "composition", "shift3_todigits": "composition",
	"parity_a": "family", "palin": "family", "running": "family", "flip": "family", "majority": "family",
	"keyed": "far", "addrev": "far", "mode": "far",
}

var table = buildTable()

func buildTable() []Task {
	tasks := slices.Concat(positions(), sets(), counting(), ciphers(), arithmetic(), bits(), compositions())
	for i := range tasks {
		tasks[i].Split = TrainSplit
		if why, ok := heldOut[tasks[i].Name]; ok {
			tasks[i].Split = "held-out:" + why
		}
	}
	return tasks
}

func word(name, family, description string, rule func(string) string) Task {
	return Task{Name: name, Family: family, Input: "word", Description: description, rule: rule}
}

func positions() []Task {
	const f = "F1"
	tasks := []Task{
		word("copy", f, "Write the word again without any change.", func(x string) string { return x }),
		word("reverse", f, "Write the letters of the word from the last one to the first one.", reverse),
	}
	for i, places := range []string{"one place", "two places", "three places"} {
		k := i + 1
		tasks = append(tasks, word(fmt.Sprint("rotl", k), f,
			"Move the word "+places+" to the left; letters that fall off the front go to the end.",
			func(x string) string { return x[k:] + x[:k] }))
	}
	tasks = append(tasks,
		word("rotr1", f, "Take the last letter of the word and put it in front.",
			func(x string) string { return x[len(x)-1:] + x[:len(x)-1] }),
		word("swapends", f, "Exchange the first and the last letter and keep the middle.",
			func(x string) string { n := len(x) - 1; return x[n:] + x[1:n] + x[:1] }),
		word("swappairs", f, "Exchange each pair of neighbouring letters; a letter left alone at the end stays.", swapPairs),
		word("double", f, "Write every letter two times.", func(x string) string {
			return each(x, func(c byte) string { return string([]byte{c, c}) })
		}))
	for i, letters := range []string{"first letter", "first two letters", "first three letters"} {
		k := i + 1
		tasks = append(tasks, word(fmt.Sprint("take", k), f, "Keep only the "+letters+" of the word.",
			func(x string) string { return x[:k] }))
	}
	return append(tasks,
		word("drop1", f, "Leave out the first letter of the word and keep the rest.", func(x string) string { return x[1:] }),
		word("last", f, "Give the last letter of the word.", func(x string) string { return x[len(x)-1:] }))
}

func sets() []Task {
	const f = "F2"
	tasks := []Task{
		word("sort", f, "Put the letters of the word in alphabetical order.", sorted),
		word("sortdesc", f, "Put the letters of the word in reverse alphabetical order.",
			func(x string) string { return reverse(sorted(x)) }),
		word("dedup", f, "Remove repeated letters; keep the first time each letter occurs.", dedup),
		word("maxletter", f, "Give the letter that is latest in the alphabet.",
			func(x string) string { return string(slices.Max([]byte(x))) }),
	}
	for _, c := range []string{"a", "e"} {
		tasks = append(tasks, word("remove_"+c, f, "Remove every letter "+c+"; write ~ if nothing is left.",
			func(x string) string { return orTilde(strings.ReplaceAll(x, c, "")) }))
	}
	return append(tasks, word("vowels", f, "Keep only the vowels; write ~ if there are none.", func(x string) string {
		return orTilde(each(x, func(c byte) string {
			if strings.IndexByte("aei", c) < 0 {
				return ""
			}
			return string(c)
		}))
	}))
}

func counting() []Task {
	const f = "F3"
	tasks := []Task{word("length", f, "Count the letters of the word.", func(x string) string { return strconv.Itoa(len(x)) })}
	for _, c := range []string{"a", "b", "c"} {
		tasks = append(tasks, word("count_"+c, f, "Count how many times the letter "+c+" occurs.",
			func(x string) string { return strconv.Itoa(strings.Count(x, c)) }))
	}
	tasks = append(tasks, word("distinct", f, "Count how many different letters the word has.",
		func(x string) string { return strconv.Itoa(len(dedup(x))) }))
	for i, place := range []string{"second", "third", "fourth"} {
		k := i + 1
		tasks = append(tasks, word(fmt.Sprint("nth", k+1), f, "Give the "+place+" letter of the word.",
			func(x string) string { return x[k : k+1] }))
	}
	return append(tasks, word("mode", f,
		"Give the letter that occurs most often; if letters tie, the earliest in the alphabet.", mode))
}

func ciphers() []Task {
	const f = "F4"
	var tasks []Task
	for _, s := range []struct {
		k     int
		steps string
	}{{1, "one step"}, {2, "two steps"}, {3, "three steps"}, {4, "four steps"}, {5, "five steps"}, {7, "seven steps"}} {
		tasks = append(tasks, word(fmt.Sprint("shift", s.k), f,
			"Replace every letter by the one "+s.steps+" later in the alphabet a to j, going round to a after j.", shift(s.k)))
	}
	return append(tasks,
		word("mirror", f, "Replace every letter by its mirror in the alphabet a to j, so a becomes j and j becomes a.", mirror),
		word("keyed", f, "Replace every letter with the key a-d b-h c-a d-j e-c f-g g-b h-e i-i j-f.",
			func(x string) string { return substitute(x, "dhajcgbeif") }),
		word("todigits", f, "Replace every letter by its number, a is 0 and j is 9.", toDigits))
}

func arithmetic() []Task {
	sum := func(input, name, description string, rule func(a, b int) int) Task {
		return Task{Name: name, Family: "F5", Input: input, Description: description,
			rule: func(x string) string { a, b := numbers(x); return strconv.Itoa(rule(a, b)) }}
	}
	tasks := []Task{
		sum("pair", "add", "Add the two numbers.", func(a, b int) int { return a + b }),
		sum("pair", "diff", "Give the difference of the two numbers, larger minus smaller.",
			func(a, b int) int { return max(a, b) - min(a, b) }),
		sum("pair", "larger", "Give the larger of the two numbers.", func(a, b int) int { return max(a, b) }),
		{Name: "addrev", Family: "F5", Input: "pair",
			Description: "Add the two numbers and write the digits of the sum backwards.",
			rule:        func(x string) string { a, b := numbers(x); return reverse(strconv.Itoa(a + b)) }},
	}
	for _, m := range []int{5, 7, 9} {
		tasks = append(tasks, sum("digits", fmt.Sprint("modadd", m),
			fmt.Sprintf("Add the two digits and give the remainder after division by %d.", m),
			func(a, b int) int { return (a + b) % m }))
	}
	return append(tasks, sum("digits", "times", "Multiply the two digits.", func(a, b int) int { return a * b }))
}

func bits() []Task {
	task := func(name, description string, rule func(string) string) Task {
		return Task{Name: name, Family: "F6", Input: "bits", Description: description, rule: rule}
	}
	return []Task{
		task("parity_a", "Write 1 if the letter a occurs an odd number of times, otherwise 0.",
			func(x string) string { return strconv.Itoa(strings.Count(x, "a") % 2) }),
		task("flip", "Exchange the letters a and b everywhere.", func(x string) string { return substitute(x, "ba") }),
		task("majority", "Give the letter that occurs more often; a if they tie.", mode),
		task("palin", "Write 1 if the word reads the same backwards, otherwise 0.", func(x string) string {
			if x == reverse(x) {
				return "1"
			}
			return "0"
		}),
		task("running", "For each place write 1 if an odd number of a was seen so far, otherwise 0.", func(x string) string {
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

func compositions() []Task {
	then := func(name, description string, f, g func(string) string) Task {
		return word(name, "F7", description, func(x string) string { return g(f(x)) })
	}
	take := func(k int) func(string) string { return func(x string) string { return x[:k] } }
	return []Task{
		then("rev_shift2", "Write the letters from the last to the first, and replace every letter by the one two steps later in the alphabet a to j.", reverse, shift(2)),
		then("sort_shift1", "Put the letters in alphabetical order, then replace every letter by the one one step later in the alphabet a to j.", sorted, shift(1)),
		then("dedup_rev", "Remove repeated letters, then write what is left from the last letter to the first.", dedup, reverse),
		then("take3_rev", "Keep only the first three letters and write them backwards.", take(3), reverse),
		then("drop1_sort", "Leave out the first letter and put the rest in alphabetical order.", func(x string) string { return x[1:] }, sorted),
		then("rotl1_mirror", "Move the first letter to the end, then replace every letter by its mirror in the alphabet a to j.", func(x string) string { return x[1:] + x[:1] }, mirror),
		then("sortdesc_take2", "Put the letters in reverse alphabetical order and keep only the first two letters.", func(x string) string { return reverse(sorted(x)) }, take(2)),
		then("shift3_todigits", "Replace every letter by the one three steps later in the alphabet a to j, then by its number, a is 0 and j is 9.", shift(3), toDigits),
	}
}

func each(x string, f func(c byte) string) string {
	var b strings.Builder
	for i := range len(x) {
		b.WriteString(f(x[i]))
	}
	return b.String()
}

func reverse(x string) string {
	b := []byte(x)
	slices.Reverse(b)
	return string(b)
}

func sorted(x string) string {
	b := []byte(x)
	slices.Sort(b)
	return string(b)
}

func swapPairs(x string) string {
	b := []byte(x)
	for i := 0; i+1 < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return string(b)
}

func dedup(x string) string {
	var b []byte
	for i := range len(x) {
		if bytes.IndexByte(b, x[i]) < 0 {
			b = append(b, x[i])
		}
	}
	return string(b)
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

// substitute replaces letter i of the alphabet by to[i].
func substitute(x, to string) string {
	return each(x, func(c byte) string { return string(to[c-'a']) })
}

func shift(k int) func(string) string {
	return func(x string) string { return substitute(x, Alphabet[k:]+Alphabet[:k]) }
}

func mirror(x string) string   { return substitute(x, reverse(Alphabet)) }
func toDigits(x string) string { return substitute(x, "0123456789") }

func orTilde(x string) string {
	if x == "" {
		return "~"
	}
	return x
}
