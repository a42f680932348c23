package tokenizer

import (
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalForm is NFC, NFD, NFKC or NFKD (UAX 15). The reference's tables are those of Unicode 9, and it keeps track of
// what each character came from, for which golang.org/x/text has no means; its tables serve for both.
type normalForm struct {
	form    norm.Form
	compose bool
}

func newNormalForm(name string) normalForm {
	switch name {
	case "NFC":
		return normalForm{norm.NFD, true}
	case "NFKC":
		return normalForm{norm.NFKD, true}
	case "NFKD":
		return normalForm{norm.NFKD, false}
	}
	return normalForm{norm.NFD, false}
}

// changed is a character of the normal form. replaced is how many characters of the old text it takes the place of,
// as far as they weren't taken by one before it; 0: it belongs to the one before it.
type changed struct {
	r        rune
	class    uint8 // canonical combining class
	replaced int
}

func (f normalForm) normalize(t text) text {
	if f.isNormal(t.s) {
		return t
	}
	chars := f.decompose(t.s)
	if f.compose {
		chars = compose(chars)
	}
	b := builder{from: t}
	b.grow(len(t.s))
	old := 0 // byte of the old text that the next character takes the place of
	for _, c := range chars {
		if c.replaced == 0 {
			b.put(string(c.r), old-1)
			continue
		}
		b.put(string(c.r), old)
		for range c.replaced {
			_, n := utf8.DecodeRuneInString(t.s[old:])
			old += n
		}
	}
	return b.text()
}

// isNormal is a quick test that holds for texts without combining marks or anything that decomposes.
func (f normalForm) isNormal(s string) bool {
	i := 0
	for i < len(s) && s[i] < utf8.RuneSelf {
		i++
	}
	if i == len(s) {
		return true
	}
	form := norm.NFKC
	switch {
	case f.compose && f.form == norm.NFD:
		form = norm.NFC
	case !f.compose:
		form = f.form
	}
	return form.QuickSpanString(s) == len(s)
}

// decompose returns the characters of s decomposed in canonical order.
func (f normalForm) decompose(s string) []changed {
	out := make([]changed, 0, len(s))
	pending := 0 // where the characters begin that may have to be put in order
	add := func(r rune, replaced int) {
		c := changed{r, combiningClass(r), replaced}
		if c.class == 0 {
			sortByClass(out[pending:])
			pending = len(out) + 1
		}
		out = append(out, c)
	}
	for _, r := range s {
		parts := ""
		if !isLaterMark(r) && r >= utf8.RuneSelf {
			parts = string(f.form.PropertiesString(string(r)).Decomposition())
		}
		if r >= hangulBase && r < hangulBase+hangulCount {
			parts = f.form.String(string(r))
		}
		if parts == "" {
			add(r, 1)
			continue
		}
		for i, p := range parts {
			if i == 0 {
				add(p, 1)
			} else {
				add(p, 0)
			}
		}
	}
	sortByClass(out[min(pending, len(out)):])
	return out
}

const (
	hangulBase  = 0xAC00
	hangulCount = 11172
)

func sortByClass(c []changed) {
	slices.SortStableFunc(c, func(a, b changed) int { return int(a.class) - int(b.class) })
}

// compose joins characters to primary composites. A character that composes hands on what it replaced.
func compose(chars []changed) []changed {
	out := make([]changed, 0, len(chars))
	starter := -1 // index in out of the last character of class 0
	last := -1    // combining class of what follows it in out; -1: nothing
	for _, c := range chars {
		if starter >= 0 && (last < 0 || last < int(c.class)) {
			if r, ok := composite(out[starter].r, c.r); ok {
				out[starter].r = r
				out[starter].replaced += c.replaced
				continue
			}
		}
		if c.class == 0 {
			starter, last = len(out), -1
		} else if starter >= 0 {
			last = int(c.class)
		}
		out = append(out, c)
	}
	return out
}

// laterRanges are the characters with a decomposition or a combining class in golang.org/x/text v0.35 (Unicode 15) that
// the reference's tables lack, found by comparing NFD and NFKD of every code point, alone and among marks.
var laterRanges = []rune{
	0x7FD, 0x7FD, 0x898, 0x89F, 0x8CA, 0x8D3, 0x9FE, 0x9FE, 0xC3C, 0xC3C, 0xD3B, 0xD3C,
	0xEBA, 0xEBA, 0x1715, 0x1715, 0x1ABF, 0x1ACE, 0x1DF6, 0x1DFA, 0x32FF, 0x32FF, 0xA7F2, 0xA7F4,
	0xA82C, 0xA82C, 0xAB69, 0xAB69, 0x10781, 0x10785, 0x10787, 0x107B0, 0x107B2, 0x107BA, 0x10D24, 0x10D27,
	0x10EAB, 0x10EAC, 0x10EFD, 0x10EFF, 0x10F46, 0x10F50, 0x10F82, 0x10F85, 0x11070, 0x11070, 0x1133B, 0x1133B,
	0x1145E, 0x1145E, 0x11839, 0x1183A, 0x11938, 0x11938, 0x1193D, 0x1193E, 0x11943, 0x11943, 0x119E0, 0x119E0,
	0x11A34, 0x11A34, 0x11A47, 0x11A47, 0x11A99, 0x11A99, 0x11D42, 0x11D42, 0x11D44, 0x11D45, 0x11D97, 0x11D97,
	0x11F41, 0x11F42, 0x16FF0, 0x16FF1, 0x1E030, 0x1E06D, 0x1E08F, 0x1E08F, 0x1E130, 0x1E136, 0x1E2AE, 0x1E2AE,
	0x1E2EC, 0x1E2EF, 0x1E4EC, 0x1E4EF, 0x1F16C, 0x1F16C, 0x1FBF0, 0x1FBF9,
}

// isLaterMark tells whether the reference takes r for a character that neither decomposes nor combines.
func isLaterMark(r rune) bool {
	if r < laterRanges[0] {
		return false
	}
	i := sort.Search(len(laterRanges)/2, func(i int) bool { return laterRanges[2*i+1] >= r })
	return i < len(laterRanges)/2 && laterRanges[2*i] <= r
}

// composite returns the primary composite of two characters.
func composite(a, b rune) (rune, bool) {
	if b < 0x300 || isLaterMark(a) || isLaterMark(b) { // no composite's second part is below
		return 0, false
	}
	pair := string([]rune{a, b})
	joined := norm.NFC.String(pair)
	r, n := utf8.DecodeRuneInString(joined)
	if n != len(joined) || joined == pair || strings.Contains(pair, joined) || isLaterMark(r) {
		return 0, false
	}
	return r, true
}

func combiningClass(r rune) uint8 {
	if r < 0x300 || isLaterMark(r) {
		return 0
	}
	return norm.NFD.PropertiesString(string(r)).CCC()
}
