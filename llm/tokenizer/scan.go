package tokenizer

import "unicode/utf8"

// A scanner finds the words of a text as a regular expression would whose alternatives cover every character.
type scanner interface {
	// next returns the end of the word that begins at i, i < len(s).
	next(s string, i int) int
}

// The regular expressions that have a scanner of their own. Those after the first are other spellings of cl100k's, of
// the same language; Qwen's takes digits one by one.
const (
	gpt2Regex   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Regex = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	cl100kRegex = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	qwenRegex   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scannerOf returns the scanner of a regular expression, nil where there is none.
func scannerOf(regex string) scanner {
	switch regex {
	case gpt2Regex:
		return gpt2Scanner{classes()}
	case llama3Regex, cl100kRegex:
		return cl100kScanner{classes(), 3}
	case qwenRegex:
		return cl100kScanner{classes(), 1}
	}
	return nil
}

// at returns the classes and the length of the character at i; 0, 0 at the end of the text.
func (t *classTable) at(s string, i int) (class, int) {
	if i >= len(s) {
		return 0, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return t.pages[t.page[0]][c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return t.of(r), n
}

// run returns the end of the run, from i, of characters that have one of the classes.
func (t *classTable) run(s string, i int, of class) int {
	ascii := &t.pages[t.page[0]]
	for i < len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			if ascii[c]&of == 0 {
				return i
			}
			i++
			continue
		}
		c, n := t.at(s, i)
		if c&of == 0 {
			return i
		}
		i += n
	}
	return i
}

// others returns the end of the run, from i, of characters that are no letter, number or white space.
func (t *classTable) others(s string, i int) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&(letter|classN|classSpace) != 0 {
			return i
		}
		i += n
	}
	return i
}

// spaces returns the end of \s+(?!\S)|\s+ at i, where white space begins: all of it but the last character, which
// belongs to the word that follows, unless nothing follows or it is the only one.
func (t *classTable) spaces(s string, i int) int {
	end, last := i, i
	for end < len(s) {
		c, n := t.at(s, end)
		if c&classSpace == 0 {
			break
		}
		last = end
		end += n
	}
	if end < len(s) && last > i {
		return last
	}
	return end
}

type gpt2Scanner struct{ t *classTable }

func (g gpt2Scanner) next(s string, i int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], false); n > 0 {
			return i + 1 + n
		}
	}
	at := i
	c, n := g.t.at(s, i)
	if s[i] == ' ' { // " ?" takes it where something follows that isn't white space
		if follows, n2 := g.t.at(s, i+1); n2 > 0 && follows&classSpace == 0 {
			at, c, n = i+1, follows, n2
		}
	}
	switch {
	case c&letter != 0:
		return g.t.run(s, at+n, letter)
	case c&classN != 0:
		return g.t.run(s, at+n, classN)
	case c&classSpace == 0:
		return g.t.others(s, at+n)
	}
	return g.t.spaces(s, i)
}

// cl100kScanner is LLaMA-3's; digits is how many of them make a word at most.
type cl100kScanner struct {
	t      *classTable
	digits int
}

func (g cl100kScanner) next(s string, i int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], true); n > 0 {
			return i + 1 + n
		}
	}
	c, n := g.t.at(s, i)
	if c&letter != 0 {
		return g.t.run(s, i+n, letter)
	}
	if c&classN != 0 {
		end := i
		for range g.digits {
			c, n := g.t.at(s, end)
			if c&classN == 0 {
				break
			}
			end += n
		}
		return end
	}
	follows, n2 := g.t.at(s, i+n)
	if follows&letter != 0 && c&classBreak == 0 { // [^\r\n\p{L}\p{N}]?\p{L}+
		return g.t.run(s, i+n+n2, letter)
	}
	if c&classSpace == 0 {
		return g.t.run(s, g.t.others(s, i+n), classBreak)
	}
	if s[i] == ' ' && n2 > 0 && follows&(letter|classN|classSpace) == 0 {
		return g.t.run(s, g.t.others(s, i+n+n2), classBreak)
	}
	return g.whites(s, i)
}

// whites is \s*[\r\n]+|\s+(?!\S)|\s+: up to the last line break of the white space, if it has one.
func (g cl100kScanner) whites(s string, i int) int {
	end, broken := i, 0
	for end < len(s) {
		c, n := g.t.at(s, end)
		if c&classSpace == 0 {
			break
		}
		end += n
		if c&classBreak != 0 {
			broken = end
		}
	}
	if broken > 0 {
		return broken
	}
	return g.t.spaces(s, i)
}

// contraction returns the length of s, t, re, ve, m, ll or d at the start of s; 0 for none. Without regard to case,
// U+017F is an s, too.
func contraction(s string, fold bool) int {
	if s == "" {
		return 0
	}
	first := s[0]
	if fold && first >= 'A' && first <= 'Z' {
		first |= 0x20
	}
	second := ""
	switch first {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		second = "e"
	case 'l':
		second = "l"
	case "ſ"[0]:
		if fold && len(s) > 1 && s[1] == "ſ"[1] {
			return 2
		}
		return 0
	default:
		return 0
	}
	if len(s) > 1 && (s[1] == second[0] || fold && s[1] == second[0]&^0x20) {
		return 2
	}
	return 0
}
