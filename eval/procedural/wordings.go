package procedural

import (
	"embed"
	"io/fs"
	"strings"
)

// A file has a block of lines for each kind, headed by [kind]. %W is the object; the words of the parameter stand in
// braces, see value.word. The last line of a block is the unseen wording: no training task is ever described by it.
//
//go:embed wordings/*.txt
var wordingFiles embed.FS

func readWordings() map[string][]string {
	blocks := map[string][]string{}
	names, _ := fs.Glob(wordingFiles, "wordings/*.txt")
	for _, name := range names {
		data, _ := wordingFiles.ReadFile(name) // embedded: the glob has just listed it
		block := ""
		for _, line := range strings.Split(string(data), "\n") {
			switch {
			case line == "" || line[0] == '#':
			case line[0] == '[':
				block = strings.Trim(line, "[]")
			default:
				blocks[block] = append(blocks[block], line)
			}
		}
	}
	return blocks
}

var (
	numberWords  = []string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
	ordinalWords = []string{"", "first", "second", "third", "fourth", "fifth"}
)

// word puts the parameter into wordings: {n} two, {nth} second, {letters} "two letters" but "letter" for one, {count}
// "two letters" and "one letter", {places} and {steps} likewise, {c} and {d} letters.
func (v value) word(wordings []string) []string {
	n := v.n % len(numberWords)
	of := func(what string) string {
		if n != 1 {
			what += "s"
		}
		return numberWords[n] + " " + what
	}
	fill := strings.NewReplacer("{n}", numberWords[n], "{nth}", ordinalWords[n%len(ordinalWords)],
		"{letters}", strings.TrimPrefix(of("letter"), "one "), "{count}", of("letter"), "{places}", of("place"),
		"{steps}", of("step"), "{c}", string(v.c), "{d}", string(v.d))
	filled := make([]string, len(wordings))
	for i, w := range wordings {
		filled[i] = fill.Replace(w)
	}
	return filled
}
