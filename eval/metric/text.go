package metric

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// IsSpace is Python's str.isspace of one character.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// strip is Python's str.strip.
func strip(s string) string { return strings.TrimFunc(s, IsSpace) }

// lower is Python's str.lower.
func lower(s string) string { return cases.Lower(language.Und).String(s) }

// upper is Python's str.upper.
func upper(s string) string { return cases.Upper(language.Und).String(s) }
