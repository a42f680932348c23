package jinja

import (
	"errors"
	"io"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// The tags, as control structures of the template engine. It nests, walks and scopes them; what stands in them is
// parsed and evaluated by this package.

var (
	errBreak    = errors.New("break outside of a loop")
	errContinue = errors.New("continue outside of a loop")
)

// tag is the base of every control structure: where it stands.
type tag struct {
	at   *tokens.Token
	line int
}

func (t *tag) Position() *tokens.Token { return t.at }
func (t *tag) String() string          { return "tag" }

// runName is the variable that holds the state of the rendering; no template can name it.
const runName = "\x00run"

func scopeOf(r *exec.Renderer) scope {
	rt, _ := r.Environment.Context.Get(runName)
	return scope{rt.(*run), r.Environment.Context}
}

// body runs what stands between tags, in the scope of r.
func body(r *exec.Renderer, w *nodes.Wrapper) error {
	if w == nil {
		return nil
	}
	return nodes.Walk(r, w)
}

// capture runs a body in a scope of its own and returns what it prints.
func capture(r *exec.Renderer, w *nodes.Wrapper, define func(scope)) (string, error) {
	var out strings.Builder
	sub := r.Inherit()
	sub.Output = &out
	if define != nil {
		define(scopeOf(sub))
	}
	err := body(sub, w)
	return out.String(), err
}

// show prints a text.
func show(r *exec.Renderer, s string) error {
	if err := scopeOf(r).rt.charge(len(s)); err != nil {
		return err
	}
	_, err := io.WriteString(r.Output, s)
	return err
}

type textTag struct {
	tag
	text string
}

func (t *textTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s := scopeOf(r)
	if err := s.rt.step(); err != nil {
		return at(t.line, err)
	}
	return at(t.line, show(r, t.text))
}

// printTag is {{ … }}, or {% print … %} with several.
type printTag struct {
	tag
	exprs []expr
}

func (t *printTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s := scopeOf(r)
	for _, e := range t.exprs {
		v, err := e.eval(s)
		if err != nil {
			return at(t.line, err)
		}
		out, err := s.rt.str(v)
		if err != nil {
			return at(t.line, err)
		}
		if err := show(r, out); err != nil {
			return at(t.line, err)
		}
	}
	return nil
}

type ifTag struct {
	tag
	tests  []expr
	bodies []*nodes.Wrapper // one more than tests where there is an else
}

func (t *ifTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s := scopeOf(r)
	for i, test := range t.tests {
		v, err := test.eval(s)
		if err != nil {
			return at(t.line, err)
		}
		ok, err := s.rt.truth(v)
		if err != nil {
			return at(t.line, err)
		}
		if ok {
			return body(r, t.bodies[i])
		}
	}
	if len(t.bodies) > len(t.tests) {
		return body(r, t.bodies[len(t.tests)])
	}
	return nil
}

// setTag is {% set x = … %}, or {% set x %}…{% endset %}.
type setTag struct {
	tag
	to      target
	x       expr           // nil = block
	body    *nodes.Wrapper // nil = expression
	filters []*filterExpr  // of the block
}

func (t *setTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s := scopeOf(r)
	if t.x != nil {
		v, err := t.x.eval(s)
		if err != nil {
			return at(t.line, err)
		}
		return at(t.line, s.assign(t.to, v))
	}
	out, err := capture(r, t.body, nil)
	if err != nil {
		return err
	}
	v, err := s.applyAll(t.filters, out)
	if err != nil {
		return at(t.line, err)
	}
	return at(t.line, s.assign(t.to, v))
}

func (s scope) applyAll(filters []*filterExpr, v Value) (Value, error) {
	var err error
	for _, f := range filters {
		if v, err = f.apply(s, v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// target is what is assigned to: a name, an attribute of a namespace, or several targets.
type target struct {
	name, attr string
	parts      []target
}

func (s scope) assign(to target, v Value) error {
	if to.parts != nil {
		items, err := s.rt.iterate(v)
		if err != nil {
			return err
		}
		if len(items) != len(to.parts) {
			return valueError("cannot unpack %d values into %d names", len(items), len(to.parts))
		}
		for i, part := range to.parts {
			if err := s.assign(part, items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if to.attr == "" {
		s.set(to.name, v)
		return nil
	}
	old, err := (&nameExpr{to.name}).eval(s)
	if err != nil {
		return err
	}
	ns, ok := old.(*namespace)
	if !ok {
		return runtimeError("cannot assign attribute on non-namespace object")
	}
	ns.attrs.Put(to.attr, v)
	return nil
}

// withTag is {% with … %}, and with no targets a block that only has a scope of its own.
type withTag struct {
	tag
	to     []target
	values []expr
	body   *nodes.Wrapper
}

func (t *withTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	sub := r.Inherit()
	vals, err := scopeOf(r).evalAll(t.values)
	if err != nil {
		return at(t.line, err)
	}
	for i, v := range vals {
		if err := scopeOf(sub).assign(t.to[i], v); err != nil {
			return at(t.line, err)
		}
	}
	return body(sub, t.body)
}

type filterTag struct {
	tag
	filters []*filterExpr
	body    *nodes.Wrapper
}

func (t *filterTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	out, err := capture(r, t.body, nil)
	if err != nil {
		return err
	}
	s := scopeOf(r)
	v, err := s.applyAll(t.filters, out)
	if err != nil {
		return at(t.line, err)
	}
	out, err = s.rt.str(v)
	if err != nil {
		return at(t.line, err)
	}
	return at(t.line, show(r, out))
}

// jumpTag is break or continue.
type jumpTag struct {
	tag
	err error
}

func (t *jumpTag) Execute(*exec.Renderer, *nodes.ControlStructureBlock) error { return t.err }

// endTags tells which tags end the body of a tag.
var endTags = map[string][]string{
	"if": {"elif", "else", "endif"}, "elif": {"elif", "else", "endif"}, "for": {"else", "endfor"},
	"set": {"endset"}, "macro": {"endmacro"}, "call": {"endcall"}, "filter": {"endfilter"},
	"with": {"endwith"}, "generation": {"endgeneration"},
}

// piece reads which piece of the source a tag of the engine's template stands for.
func (c *compiler) piece(args *parser.Parser) (piece, *exprParser, error) {
	t := args.Match(tokens.Integer)
	if t == nil {
		return piece{}, nil, errors.New("a tag without its number")
	}
	n := 0
	for _, digit := range t.Val {
		n = n*10 + int(digit-'0')
	}
	if n >= len(c.pieces) {
		return piece{}, nil, errors.New("a tag with a wrong number")
	}
	p := c.pieces[n]
	return p, &exprParser{tokens: p.tokens, line: p.line}, nil
}

// wrap takes the body up to one of the end tags.
func (c *compiler) wrap(p *parser.Parser, ends ...string) (*nodes.Wrapper, *exprParser, error) {
	w, args, err := p.WrapUntil(ends...)
	if err != nil {
		return nil, nil, err
	}
	_, end, err := c.piece(args)
	if err == nil && w.EndTag != "elif" {
		err = end.end(w.EndTag == "else")
	}
	return w, end, err
}
