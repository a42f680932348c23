package jinja

import (
	"strings"

	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
)

func (c *compiler) parseText(_ *parser.Parser, pc piece, _ *exprParser, t tag) (nodes.ControlStructure, error) {
	return &textTag{t, pc.text}, nil
}

func (c *compiler) parsePrint(_ *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	p := &printTag{tag: t}
	if pc.kind == outputPiece {
		x, err := e.tuple(true, false)
		p.exprs = []expr{x}
		if err == nil {
			err = e.end(false)
		}
		return p, err
	}
	for e.peek().kind != endToken {
		if len(p.exprs) > 0 {
			if err := e.expect(","); err != nil {
				return nil, err
			}
		}
		x, err := e.expr()
		if err != nil {
			return nil, err
		}
		p.exprs = append(p.exprs, x)
	}
	return p, nil
}

func (c *compiler) parseIf(p *parser.Parser, _ piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &ifTag{tag: t}
	for {
		x, err := e.tuple(false, false)
		if err == nil {
			err = e.end(true)
		}
		if err != nil {
			return nil, err
		}
		s.tests = append(s.tests, x)
		w, next, err := c.wrap(p, "elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		s.bodies = append(s.bodies, w)
		switch w.EndTag {
		case "endif":
			return s, nil
		case "else":
			w, _, err := c.wrap(p, "endif")
			s.bodies = append(s.bodies, w)
			return s, err
		}
		e = next
	}
}

func (c *compiler) parseFor(p *parser.Parser, _ piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	f := &forTag{tag: t}
	var err error
	if f.to, err = e.targets("in", false); err != nil {
		return nil, err
	}
	if !e.word("in") {
		return nil, syntax(t.line, "expected token 'in', got '%s'", e.peek())
	}
	if f.x, err = e.tuple(false, false, "recursive"); err != nil {
		return nil, err
	}
	if e.word("if") {
		if f.test, err = e.expr(); err != nil {
			return nil, err
		}
	}
	f.recursive = e.word("recursive")
	if err := e.end(true); err != nil {
		return nil, err
	}
	if f.body, _, err = c.wrap(p, "else", "endfor"); err != nil {
		return nil, err
	}
	if f.body.EndTag == "else" {
		f.other, _, err = c.wrap(p, "endfor")
	}
	return f, err
}

// targets parses what is assigned to, one target or several, which end before a word or at "=" or "|".
func (p *exprParser) targets(end string, namespaces bool) (target, error) {
	var parts []target
	comma := false
	for {
		t := p.peek()
		if t.kind == endToken || t.named(end) || t.is("=") || t.is("|") || t.is(")") {
			break
		}
		to, err := p.target(namespaces)
		if err != nil {
			return to, err
		}
		parts = append(parts, to)
		if !p.op(",") {
			break
		}
		comma = true
	}
	if len(parts) == 0 {
		return target{}, syntax(p.line, "Expected an expression, got '%s'", p.peek())
	}
	if !comma {
		return parts[0], nil
	}
	return target{parts: parts}, nil
}

func (p *exprParser) target(namespaces bool) (target, error) {
	if err := p.enter(); err != nil {
		return target{}, err
	}
	defer func() { p.depth-- }()
	if p.op("(") {
		to, err := p.targets("", namespaces)
		if err == nil {
			err = p.expect(")")
		}
		return to, err
	}
	name, err := p.name()
	if err != nil {
		return target{}, err
	}
	switch name {
	case "true", "false", "none", "True", "False", "None":
		return target{}, syntax(p.line, "can't assign to '%s'", name)
	}
	to := target{name: name}
	if namespaces && p.op(".") {
		to.attr, err = p.name()
	}
	return to, err
}

func (c *compiler) parseSet(p *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &setTag{tag: t}
	var err error
	if s.to, err = e.targets("", true); err != nil {
		return nil, err
	}
	if !blockSet(pc) {
		if err := e.expect("="); err != nil {
			return nil, err
		}
		if s.x, err = e.tuple(true, false); err != nil {
			return nil, err
		}
		return s, e.end(false)
	}
	for e.op("|") {
		x, err := e.filter(nil)
		if err != nil {
			return nil, err
		}
		s.filters = append(s.filters, x.(*filterExpr))
	}
	if err := e.end(true); err != nil {
		return nil, err
	}
	s.body, _, err = c.wrap(p, "endset")
	return s, err
}

func (c *compiler) parseWith(p *parser.Parser, _ piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &withTag{tag: t}
	for e.peek().kind != endToken && !e.peek().is(":") {
		if len(s.to) > 0 {
			if err := e.expect(","); err != nil {
				return nil, err
			}
		}
		to, err := e.target(false)
		if err != nil {
			return nil, err
		}
		if err := e.expect("="); err != nil {
			return nil, err
		}
		x, err := e.expr()
		if err != nil {
			return nil, err
		}
		s.to, s.values = append(s.to, to), append(s.values, x)
	}
	err := e.end(true)
	if err == nil {
		s.body, _, err = c.wrap(p, "endwith")
	}
	return s, err
}

func (c *compiler) parseFilter(p *parser.Parser, _ piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &filterTag{tag: t}
	for first := true; first || e.op("|"); first = false {
		x, err := e.filter(nil)
		if err != nil {
			return nil, err
		}
		s.filters = append(s.filters, x.(*filterExpr))
	}
	err := e.end(true)
	if err == nil {
		s.body, _, err = c.wrap(p, "endfilter")
	}
	return s, err
}

// signature parses (a, b=default).
func (p *exprParser) signature() (signature, error) {
	var s signature
	if err := p.expect("("); err != nil {
		return s, err
	}
	for !p.op(")") {
		if len(s.params) > 0 {
			if err := p.expect(","); err != nil {
				return s, err
			}
		}
		name, err := p.name()
		if err != nil {
			return s, err
		}
		var x expr
		if p.op("=") {
			if x, err = p.expr(); err != nil {
				return s, err
			}
		} else if n := len(s.defaults); n > 0 && s.defaults[n-1] != nil {
			return s, syntax(p.line, "non-default argument follows default argument")
		}
		s.params, s.defaults = append(s.params, name), append(s.defaults, x)
	}
	return s, nil
}

// mentions notes which of the special arguments the body names, up to the end tag of a piece.
func (c *compiler) mentions(s *signature, first int, end string) {
	depth := 0
	begin := strings.TrimPrefix(end, "end")
	for _, pc := range c.pieces[first+1:] {
		switch {
		case pc.kind == tagPiece && pc.name == begin:
			depth++
		case pc.kind == tagPiece && pc.name == end && depth == 0:
			return
		case pc.kind == tagPiece && pc.name == end:
			depth--
		}
		for _, t := range pc.tokens {
			s.varargs = s.varargs || t.named("varargs")
			s.kwargs = s.kwargs || t.named("kwargs")
			s.caller = s.caller || t.named("caller")
		}
	}
}

func (c *compiler) parseMacro(p *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &macroTag{tag: t}
	var err error
	if s.name, err = e.name(); err != nil {
		return nil, err
	}
	if s.signature, err = e.signature(); err != nil {
		return nil, err
	}
	if err := e.end(true); err != nil {
		return nil, err
	}
	c.mentions(&s.signature, pc.index, "endmacro")
	s.body, _, err = c.wrap(p, "endmacro")
	return s, err
}

func (c *compiler) parseCall(p *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &callTag{tag: t}
	var err error
	if e.peek().is("(") {
		if s.signature, err = e.signature(); err != nil {
			return nil, err
		}
	}
	x, err := e.expr()
	if err == nil {
		err = e.end(true)
	}
	if err != nil {
		return nil, err
	}
	call, ok := x.(*callExpr)
	if !ok {
		return nil, syntax(t.line, "expected call")
	}
	s.call = call
	c.mentions(&s.signature, pc.index, "endcall")
	s.body, _, err = c.wrap(p, "endcall")
	return s, err
}

// parseGeneration parses the tag of transformers that marks the assistant's words: they are printed as they are.
func (c *compiler) parseGeneration(p *parser.Parser, _ piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	s := &callTag{tag: t}
	err := e.end(true)
	if err == nil {
		s.body, _, err = c.wrap(p, "endgeneration")
	}
	return s, err
}

func (c *compiler) parseJump(_ *parser.Parser, pc piece, e *exprParser, t tag) (nodes.ControlStructure, error) {
	jump := &jumpTag{t, errBreak}
	if pc.name == "continue" {
		jump.err = errContinue
	}
	return jump, e.end(false)
}
