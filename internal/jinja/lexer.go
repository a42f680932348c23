package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pieceKind tells what a piece of a template's source is.
type pieceKind int

const (
	textPiece   pieceKind = iota // printed as it stands
	outputPiece                  // {{ … }}
	tagPiece                     // {% … %}
)

// piece is a part of a template's source, its whitespace control already applied.
type piece struct {
	kind   pieceKind
	text   string  // of a textPiece
	name   string  // of a tagPiece: its first word
	tokens []token // the rest, up to the closing delimiter
	line   int
	index  int // among the pieces
}

// lexer cuts a source into pieces as Jinja2 does: with trimBlocks a tag takes the blanks before it on its line and the
// newline after it along; "-" takes all whitespace, "+" none.
type lexer struct {
	src        string
	pos        int
	line       int
	trimBlocks bool
	pieces     []piece
	lineOpen   bool // the last match ended in a newline: blanks before a tag here begin its line
	open       []byte
}

func cut(source string, settings Settings) ([]piece, error) {
	source = newlines.Replace(source)
	if !settings.KeepNewline {
		source = strings.TrimSuffix(source, "\n")
	}
	l := &lexer{src: source, trimBlocks: settings.TrimBlocks, line: 1, lineOpen: true}
	for l.pos < len(l.src) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	for i := range l.pieces {
		l.pieces[i].index = i
	}
	return l.pieces, nil
}

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// next takes the text up to the next delimiter and what the delimiter opens.
func (l *lexer) next() error {
	rest := l.src[l.pos:]
	at := 0
	for {
		i := strings.IndexByte(rest[at:], '{')
		if i < 0 || at+i+1 >= len(rest) {
			l.text(rest)
			l.pos = len(l.src)
			return nil
		}
		at += i
		if c := rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	kind := rest[at+1]
	open := at + 2
	sign := byte(0)
	if open < len(rest) && (rest[open] == '-' || rest[open] == '+') {
		sign = rest[open]
		open++
	}
	l.text(l.strip(rest[:at], sign, kind))
	l.advance(open)
	l.lineOpen = false
	switch kind {
	case '#':
		return l.comment()
	case '{':
		return l.tag(outputPiece, "}}")
	}
	if n := rawBegin(l.src[l.pos:]); n > 0 {
		l.shut(n)
		return l.raw()
	}
	return l.tag(tagPiece, "%}")
}

// advance moves over n bytes of the source and counts their lines.
func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

func (l *lexer) text(s string) {
	if s != "" {
		l.pieces = append(l.pieces, piece{kind: textPiece, text: s, line: l.line})
	}
}

// strip applies the whitespace control of the delimiter that follows text.
func (l *lexer) strip(text string, sign, kind byte) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, IsSpace)
	}
	if sign == '+' || kind == '{' || !l.trimBlocks {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if (start > 0 || l.lineOpen) && strings.TrimLeftFunc(text[start:], IsSpace) == "" {
		return text[:start]
	}
	return text
}

// closed moves over the closing delimiter if it is next, and over the whitespace it takes along.
func (l *lexer) closed(end string, trim bool) bool {
	rest := l.src[l.pos:]
	switch {
	case strings.HasPrefix(rest, "-"+end):
		n := len(end) + 1
		n += len(rest[n:]) - len(strings.TrimLeftFunc(rest[n:], IsSpace))
		l.shut(n)
	case trim && strings.HasPrefix(rest, "+"+end):
		l.shut(len(end) + 1)
	case strings.HasPrefix(rest, end):
		n := len(end)
		if trim && l.trimBlocks && strings.HasPrefix(rest[n:], "\n") {
			n++
		}
		l.shut(n)
	default:
		return false
	}
	return true
}

func (l *lexer) shut(n int) {
	l.lineOpen = l.src[l.pos+n-1] == '\n'
	l.advance(n)
}

func (l *lexer) comment() error {
	for ; l.pos < len(l.src); l.advance(1) {
		if l.closed("#}", true) {
			return nil
		}
	}
	return syntax(l.line, "Missing end of comment tag")
}

// rawBegin returns the length of "raw %}" at the start of s, 0 where there is none.
func rawBegin(s string) int {
	word := strings.TrimLeftFunc(s, IsSpace)
	after, ok := strings.CutPrefix(word, "raw")
	if !ok {
		return 0
	}
	after = strings.TrimLeftFunc(after, IsSpace)
	if rest, ok := strings.CutPrefix(after, "%}"); ok {
		return len(s) - len(rest)
	}
	if rest, ok := strings.CutPrefix(after, "-%}"); ok {
		return len(s) - len(strings.TrimLeftFunc(rest, IsSpace))
	}
	return 0
}

// raw takes everything up to {% endraw %} as text.
func (l *lexer) raw() error {
	rest := l.src[l.pos:]
	for at := 0; ; at += 2 {
		i := strings.Index(rest[at:], "{%")
		if i < 0 {
			return syntax(l.line, "Missing end of raw directive")
		}
		at += i
		open, sign := at+2, byte(0)
		if open < len(rest) && (rest[open] == '-' || rest[open] == '+') {
			sign = rest[open]
			open++
		}
		word, ok := strings.CutPrefix(strings.TrimLeftFunc(rest[open:], IsSpace), "endraw")
		if !ok {
			continue
		}
		word = strings.TrimLeftFunc(word, IsSpace)
		if !strings.HasPrefix(word, "%}") && !strings.HasPrefix(word, "-%}") && !strings.HasPrefix(word, "+%}") {
			continue
		}
		l.text(l.strip(rest[:at], sign, '%'))
		l.advance(len(rest) - len(word))
		l.closed("%}", true)
		return nil
	}
}

// tag reads the tokens up to the closing delimiter; brackets have to be closed before it.
func (l *lexer) tag(kind pieceKind, end string) error {
	p := piece{kind: kind, line: l.line}
	l.open = l.open[:0]
	for {
		if len(l.open) == 0 && l.closed(end, kind == tagPiece) {
			break
		}
		if l.pos >= len(l.src) {
			return syntax(p.line, "unexpected end of template, expected %q", end)
		}
		t, n, err := scan(l.src, l.pos, l.line)
		if err != nil {
			return err
		}
		if t.kind == opToken {
			if err := l.balance(t); err != nil {
				return err
			}
		}
		if t.kind != spaceToken {
			p.tokens = append(p.tokens, t)
		}
		l.advance(n)
	}
	if kind == tagPiece {
		if len(p.tokens) == 0 || p.tokens[0].kind != nameToken {
			return syntax(p.line, "tag name expected")
		}
		p.name, p.tokens = p.tokens[0].text, p.tokens[1:]
	}
	l.pieces = append(l.pieces, p)
	return nil
}

func (l *lexer) balance(t token) error {
	switch t.text {
	case "(":
		l.open = append(l.open, ')')
	case "[":
		l.open = append(l.open, ']')
	case "{":
		l.open = append(l.open, '}')
	case ")", "]", "}":
		n := len(l.open)
		if n == 0 {
			return syntax(t.line, "unexpected '%s'", t.text)
		}
		if l.open[n-1] != t.text[0] {
			return syntax(t.line, "unexpected '%s', expected '%c'", t.text, l.open[n-1])
		}
		l.open = l.open[:n-1]
	}
	return nil
}

// IsSpace is Python's str.isspace for one character.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// IsWord is Python's \w.
func IsWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// syntax is an error of the template's source.
func syntax(line int, format string, args ...any) error {
	return &evalError{kind: "TemplateSyntaxError", message: fmt.Sprintf(format, args...), line: line}
}

// width is the length in bytes of the first character of s.
func width(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
