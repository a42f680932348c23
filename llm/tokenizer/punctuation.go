package tokenizer

import "unicode/utf8"

// punctuation finds characters of the class P and ASCII's other symbols, one by one. The reference takes the class from
// an old Unicode for it.
type punctuation struct{}

func (punctuation) find(s string) []match {
	var found []match
	for i, r := range s {
		if isPunctuation(r) {
			found = append(found, match{i, i + utf8.RuneLen(r)})
		}
	}
	return found
}

// laterPunctuation are ranges whose characters of the class P the reference doesn't know as such, found by trying every
// code point.
var laterPunctuation = []rune{
	0x61D, 0x61D, 0x9FD, 0xA76, 0xC77, 0xC84, 0x1B4E, 0x1B4F, 0x1B7D, 0x1B7F, 0x2E43, 0x2E5D, 0x10D6E, 0x10F89,
	0x113D4, 0x1145D, 0x11660, 0x116B9, 0x1183B, 0x11FFF, 0x12FF1, 0x12FF2, 0x16D6D, 0x16FE2, 0x1E5FF, 0x1E95F,
}

func isPunctuation(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return classes().of(r)&(classP|classS) != 0
	case r == 0x166D || r == 0x111C9: // they were punctuation then
		return true
	case classes().of(r)&classP == 0:
		return false
	}
	for i := 0; i < len(laterPunctuation); i += 2 {
		if r >= laterPunctuation[i] && r <= laterPunctuation[i+1] {
			return false
		}
	}
	return true
}
