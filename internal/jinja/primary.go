package jinja

import "strings"

// primary parses a name, a literal or something in brackets.
func (p *exprParser) primary() (expr, error) {
	t := p.take()
	switch {
	case t.kind == nameToken:
		switch t.text {
		case "true", "True":
			return &constExpr{true}, nil
		case "false", "False":
			return &constExpr{false}, nil
		case "none", "None":
			return &constExpr{nil}, nil
		}
		return &nameExpr{t.text}, nil
	case t.kind == stringToken:
		var s strings.Builder // adjacent strings are one
		s.WriteString(t.text)
		for p.peek().kind == stringToken {
			s.WriteString(p.take().text)
		}
		return &constExpr{s.String()}, nil
	case t.kind == numberToken:
		return &constExpr{t.value}, nil
	case t.is("("):
		x, err := p.tuple(true, true)
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case t.is("["):
		items, err := p.row("]", p.expr)
		return &listExpr{items}, err
	case t.is("{"):
		return p.dict()
	}
	return nil, syntax(p.line, "unexpected '%s'", t)
}

// row parses what is separated by commas up to a closing bracket; a comma may come before that too.
func (p *exprParser) row(end string, parse func() (expr, error)) ([]expr, error) {
	var items []expr
	for !p.op(end) {
		if len(items) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
			if p.op(end) {
				break
			}
		}
		x, err := parse()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return items, nil
}

func (p *exprParser) dict() (expr, error) {
	d := &dictExpr{}
	keys, err := p.row("}", func() (expr, error) {
		key, err := p.expr()
		if err != nil {
			return nil, err
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		v, err := p.expr()
		d.vals = append(d.vals, v)
		return key, err
	})
	d.keys = keys
	return d, err
}

// postfix parses .name, [key] and (arguments) after x.
func (p *exprParser) postfix(x expr) (expr, error) {
	for {
		var err error
		switch t := p.peek(); {
		case t.is("."):
			p.pos++
			x, err = p.attribute(x)
		case t.is("["):
			p.pos++
			x, err = p.subscript(x)
		case t.is("("):
			x, err = p.call(x)
		default:
			return x, nil
		}
		if err == nil {
			err = p.grow()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *exprParser) attribute(x expr) (expr, error) {
	t := p.take()
	switch t.kind {
	case nameToken:
		return &attrExpr{x, t.text}, nil
	case numberToken:
		if _, ok := t.value.(int); ok {
			return &itemExpr{x, &constExpr{t.value}}, nil
		}
	}
	return nil, syntax(p.line, "expected name or number, got '%s'", t)
}

func (p *exprParser) subscript(x expr) (expr, error) {
	keys, err := p.row("]", p.subscribed)
	if err != nil {
		return nil, err
	}
	if len(keys) == 1 {
		return &itemExpr{x, keys[0]}, nil
	}
	return &itemExpr{x, &tupleExpr{keys}}, nil
}

func (p *exprParser) subscribed() (expr, error) {
	var parts [3]expr
	colons := 0
	for colons < 3 {
		if p.op(":") {
			colons++
			continue
		}
		if t := p.peek(); t.is("]") || t.is(",") || t.kind == endToken {
			break
		}
		if parts[colons] != nil {
			break
		}
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		parts[colons] = x
	}
	if colons == 0 && parts[0] != nil {
		return parts[0], nil
	}
	if colons == 0 || colons > 2 {
		return nil, syntax(p.line, "unexpected '%s'", p.peek())
	}
	return &sliceExpr{parts[0], parts[1], parts[2]}, nil
}

func (p *exprParser) call(fn expr) (expr, error) {
	args, err := p.arguments()
	return &callExpr{fn, args}, err
}

func (p *exprParser) arguments() (callArgs, error) {
	var a callArgs
	bad := syntax(p.line, "invalid syntax for function call expression")
	if err := p.expect("("); err != nil {
		return a, err
	}
	_, err := p.row(")", func() (expr, error) {
		var x expr
		var err error
		switch t := p.peek(); {
		case t.is("*"):
			p.pos++
			if a.star != nil || a.starStar != nil {
				return nil, bad
			}
			x, err = p.expr()
			a.star = x
		case t.is("**"):
			p.pos++
			if a.starStar != nil {
				return nil, bad
			}
			x, err = p.expr()
			a.starStar = x
		case t.kind == nameToken && p.after().is("="):
			p.pos += 2
			if a.starStar != nil {
				return nil, bad
			}
			x, err = p.expr()
			a.names, a.named = append(a.names, t.text), append(a.named, x)
		default:
			if a.star != nil || a.starStar != nil || len(a.named) > 0 {
				return nil, bad
			}
			x, err = p.expr()
			a.pos = append(a.pos, x)
		}
		return x, err
	})
	return a, err
}

// filters parses |filter and "is test" after x.
func (p *exprParser) filters(x expr) (expr, error) {
	for {
		var err error
		switch t := p.peek(); {
		case t.is("|"):
			p.pos++
			x, err = p.filter(x)
		case t.named("is"):
			p.pos++
			x, err = p.test(x)
		case t.is("("):
			x, err = p.call(x)
		default:
			return x, nil
		}
		if err == nil {
			err = p.grow()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *exprParser) dotted() (string, error) {
	name, err := p.name()
	for err == nil && p.op(".") {
		var more string
		more, err = p.name()
		name += "." + more
	}
	return name, err
}

func (p *exprParser) filter(x expr) (expr, error) {
	name, err := p.dotted()
	if err != nil {
		return nil, err
	}
	f := &filterExpr{x: x, name: name}
	if p.peek().is("(") {
		f.args, err = p.arguments()
	}
	return f, err
}

func (p *exprParser) test(x expr) (expr, error) {
	negated := p.word("not")
	name, err := p.dotted()
	if err != nil {
		return nil, err
	}
	t := &testExpr{x: x, name: name}
	next := p.peek()
	switch {
	case next.is("("):
		t.args, err = p.arguments()
	case next.named("else") || next.named("or") || next.named("and"):
	case next.named("is"):
		return nil, syntax(p.line, "You cannot chain multiple tests with is")
	case next.kind == nameToken || next.kind == stringToken || next.kind == numberToken || next.is("[") || next.is("{"):
		var arg expr
		if arg, err = p.primary(); err == nil {
			arg, err = p.postfix(arg)
		}
		t.args.pos = []expr{arg}
	}
	if negated {
		return &notExpr{t}, err
	}
	return t, err
}
