package tokenizer

import (
	"slices"
	"sync"
	"unicode"
)

//go:generate sh -c "go run d2nwg/internal/tools/unicodegen ../../../shared/golden/tokenizer/unicode-classes.json > unicode_tables.go"

// class is a set of the Unicode classes that a code point belongs to.
type class uint16

const (
	classLu class = 1 << iota
	classLl
	classLt
	classLm
	classLo
	classM
	classN
	classNd
	classP
	classS
	classZ
	classSpace // \s
	classHan
	classBreak // \r and \n

	letter = classLu | classLl | classLt | classLm | classLo // \p{L}
)

// classNames are the properties that a regular expression may name.
var classNames = map[string]class{
	"L": letter, "Lu": classLu, "Ll": classLl, "Lt": classLt, "Lm": classLm, "Lo": classLo, "M": classM, "N": classN,
	"Nd": classNd, "P": classP, "S": classS, "Z": classZ, "Han": classHan,
}

// classTable gives the classes of every code point. Go's own tables are of an older Unicode than the reference's.
type classTable struct {
	page  [(unicode.MaxRune + 1) >> 8]uint16
	pages [][256]class
}

func (t *classTable) of(r rune) class {
	if uint32(r) > unicode.MaxRune {
		return 0
	}
	return t.pages[t.page[r>>8]][r&0xFF]
}

func (t *classTable) add(c class, ranges []rune) {
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			p := &t.page[r>>8]
			if *p == 0 {
				*p = uint16(len(t.pages))
				t.pages = append(t.pages, [256]class{})
			}
			t.pages[*p][r&0xFF] |= c
		}
	}
}

// classes builds the table at first use.
var classes = sync.OnceValue(func() *classTable {
	t := &classTable{pages: make([][256]class, 1, 1024)} // page 0 is the empty one
	for c, ranges := range map[class][]rune{
		classLu: rangesLu, classLl: rangesLl, classLt: rangesLt, classLm: rangesLm, classLo: rangesLo, classM: rangesM,
		classN: rangesN, classNd: rangesNd, classP: rangesP, classS: rangesS, classZ: rangesZ, classSpace: rangesSpace,
		classHan: rangesHan, classBreak: {'\n', '\n', '\r', '\r'},
	} {
		t.add(c, ranges)
	}
	return t
})

// isWord is \w of Unicode's regular expressions (UTS 18): alphabetic, mark, decimal digit, connector or join control.
func isWord(r rune) bool {
	return classes().of(r)&(letter|classM|classNd) != 0 ||
		unicode.In(r, unicode.Nl, unicode.Other_Alphabetic, unicode.Pc, unicode.Join_Control)
}

func isSpace(r rune) bool { return classes().of(r)&classSpace != 0 }

// ranges returns the characters that have one of the classes.
func (t *classTable) ranges(of class) []rune {
	var out []rune
	for r := rune(0); r <= unicode.MaxRune; r++ {
		switch n := len(out); {
		case t.of(r)&of == 0:
		case n > 0 && out[n-1] == r-1:
			out[n-1] = r
		default:
			out = append(out, r, r)
		}
	}
	return out
}

// complement returns the characters that are in none of the ranges, surrogates left out.
func complement(ranges []rune) []rune {
	sorted := make([][2]rune, 0, len(ranges)/2+1)
	for i := 0; i < len(ranges); i += 2 {
		sorted = append(sorted, [2]rune{ranges[i], ranges[i+1]})
	}
	sorted = append(sorted, [2]rune{0xD800, 0xDFFF})
	slices.SortFunc(sorted, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	var out []rune
	next := rune(0)
	for _, r := range sorted {
		if r[0] > next {
			out = append(out, next, r[0]-1)
		}
		next = max(next, r[1]+1)
	}
	if next <= unicode.MaxRune {
		out = append(out, next, unicode.MaxRune)
	}
	return out
}
