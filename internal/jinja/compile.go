package jinja

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// compiler makes a template of the engine from the pieces of a source. The engine's lexer and expressions differ from
// Jinja2's and can't be replaced, so it gets a source in which every tag holds only the number of its piece:
// "{%for 3%}{%print 4%}{%endfor 5%}".
type compiler struct {
	pieces []piece
	err    error // the first; the engine's own would quote the numbers
}

const (
	textName  = "text"
	printName = "print"
)

func compile(source string, settings Settings) (*exec.Template, error) {
	if len(source) > MaxSource {
		return nil, limitError(fmt.Sprintf("its source is %d bytes, more than %d", len(source), MaxSource))
	}
	pieces, err := cut(source, settings)
	if err != nil {
		return nil, err
	}
	c := &compiler{pieces: pieces}
	numbered, err := c.numbered()
	if err != nil {
		return nil, err
	}
	loader, err := loaders.NewMemoryLoader(map[string]string{"/template": numbered})
	if err != nil {
		return nil, err
	}
	t, err := exec.NewTemplate("/template", config.New(), loader, &exec.Environment{
		Context:           exec.EmptyContext(),
		Filters:           exec.NewFilterSet(nil),
		Tests:             exec.NewTestSet(nil),
		Methods:           builtins.Methods,
		ControlStructures: c.structures(),
	})
	if c.err != nil {
		return nil, c.err
	}
	return t, err
}

// refused are Jinja2's tags that read other templates.
var refused = []string{"include", "import", "from", "extends", "block"}

// numbered writes the source for the engine, having checked that the tags nest as they should.
func (c *compiler) numbered() (string, error) {
	var out strings.Builder
	var open []string // the tags whose end is still to come
	opened := 0       // the line of the last
	for i, p := range c.pieces {
		name := p.name
		switch p.kind {
		case textPiece:
			name = textName
		case outputPiece:
			name = printName
		default:
			if slices.Contains(refused, name) {
				return "", syntax(p.line, "the tag %q isn't supported: a template stands alone", name)
			}
			ends := []string(nil)
			if len(open) > 0 {
				ends = endTags[open[len(open)-1]]
			}
			switch {
			case slices.Contains(ends, name) && strings.HasPrefix(name, "end"):
				open = open[:len(open)-1]
			case slices.Contains(ends, name):
				open[len(open)-1] = map[string]string{"elif": "if", "else": "else-" + ends[len(ends)-1]}[name]
			case name == "break" || name == "continue" || name == "print":
			case endTags[name] != nil && name != "elif":
				if name != "set" || blockSet(p) {
					open, opened = append(open, name), p.line
				}
			default:
				return "", unknownTag(p, open)
			}
			if len(open) > maxNesting {
				return "", at(p.line, limitError("its tags nest too deeply"))
			}
		}
		fmt.Fprintf(&out, "{%%%s %d%%}", name, i)
	}
	if len(open) > 0 {
		ends := strings.Join(endTags[open[len(open)-1]], " or ")
		return "", syntax(opened, "Unexpected end of template: %s was expected", ends)
	}
	return out.String(), nil
}

// blockSet tells whether a set tag has a body: none with a "=", unless that belongs to a filter's argument.
func blockSet(p piece) bool {
	for _, t := range p.tokens {
		if t.is("=") || t.is("|") {
			return t.is("|")
		}
	}
	return true
}

func unknownTag(p piece, open []string) error {
	if len(open) == 0 {
		return syntax(p.line, "Encountered unknown tag %q.", p.name)
	}
	return syntax(p.line, "Encountered unknown tag %q. Jinja was looking for the following tags: %s.", p.name,
		strings.Join(endTags[open[len(open)-1]], " or "))
}

func init() { // what may follow an else
	for _, end := range []string{"endif", "endfor"} {
		endTags["else-"+end] = []string{end}
	}
}

// structures are the tags as the engine looks them up.
func (c *compiler) structures() *exec.ControlStructureSet {
	type parse = func(p *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error)
	set := map[string]parser.ControlStructureParser{}
	for name, parse := range map[string]parse{
		textName:  c.parseText,
		printName: c.parsePrint,
		"if":      c.parseIf, "for": c.parseFor, "set": c.parseSet, "with": c.parseWith, "filter": c.parseFilter,
		"macro": c.parseMacro, "call": c.parseCall, "generation": c.parseGeneration,
		"break": c.parseJump, "continue": c.parseJump,
	} {
		set[name] = func(p, args *parser.Parser) (nodes.ControlStructure, error) {
			pos := args.Current()
			pc, e, err := c.piece(args)
			var s nodes.ControlStructure
			if err == nil {
				s, err = parse(p, pc, e, tag{at: pos, line: pc.line})
			}
			if err != nil && c.err == nil {
				c.err = err
			}
			return s, err
		}
	}
	return exec.NewControlStructureSet(set)
}
