package jinja

// expr is a node of an expression: eval.go says what each one does.
type expr interface {
	eval(s scope) (Value, error)
}

type (
	constExpr struct{ v Value }
	nameExpr  struct{ name string }
	listExpr  struct{ items []expr }
	tupleExpr struct{ items []expr }
	dictExpr  struct{ keys, vals []expr }
	notExpr   struct{ x expr }
	signExpr  struct {
		op byte
		x  expr
	}
	logicExpr struct {
		or          bool
		left, right expr
	}
	binaryExpr struct {
		op          string
		left, right expr
	}
	concatExpr  struct{ parts []expr }
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	condExpr struct{ test, then, other expr } // other may be nil
	attrExpr struct {
		x    expr
		name string
	}
	itemExpr struct{ x, key expr }
	// sliceExpr stands only as the key of an itemExpr; its parts may be nil.
	sliceExpr struct{ start, stop, step expr }
	callExpr  struct {
		fn   expr
		args callArgs
	}
	filterExpr struct {
		x    expr // nil = the text of the block around it
		name string
		args callArgs
	}
	testExpr struct {
		x    expr
		name string
		args callArgs
	}
)

// callArgs are the arguments as written.
type callArgs struct {
	pos      []expr
	names    []string
	named    []expr
	star     expr // *x, or nil
	starStar expr // **x, or nil
}

// exprParser parses the tokens of one tag, with the precedence of Jinja2's parser.
type exprParser struct {
	tokens []token
	pos    int
	line   int
	nodes  int
	depth  int
}

func (p *exprParser) peek() token {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return token{line: p.line}
}

func (p *exprParser) take() token {
	t := p.peek()
	p.pos++
	return t
}

func (p *exprParser) op(op string) bool {
	if p.peek().is(op) {
		p.pos++
		return true
	}
	return false
}

func (p *exprParser) word(name string) bool {
	if p.peek().named(name) {
		p.pos++
		return true
	}
	return false
}

func (p *exprParser) after() token {
	if p.pos+1 < len(p.tokens) {
		return p.tokens[p.pos+1]
	}
	return token{}
}

func (p *exprParser) expect(op string) error {
	if !p.op(op) {
		return syntax(p.line, "expected token '%s', got '%s'", op, p.peek())
	}
	return nil
}

// name takes a name.
func (p *exprParser) name() (string, error) {
	t := p.take()
	if t.kind != nameToken {
		return "", syntax(p.line, "expected token 'name', got '%s'", t)
	}
	return t.text, nil
}

// end takes the optional colon of a tag with a body and requires that nothing follows.
func (p *exprParser) end(colon bool) error {
	if colon {
		p.op(":")
	}
	if t := p.peek(); t.kind != endToken {
		return syntax(p.line, "expected token 'end of statement block', got '%s'", t)
	}
	return nil
}

// grow counts a node, and enter a level of nesting: a hostile template gets an error, not an overflowing stack.
func (p *exprParser) grow() error {
	if p.nodes++; p.nodes > maxNodes {
		return at(p.line, limitError("an expression has too many parts"))
	}
	return nil
}

func (p *exprParser) enter() error {
	if p.depth++; p.depth > maxNesting {
		return at(p.line, limitError("an expression nests too deeply"))
	}
	return p.grow()
}

// tuple parses one expression, or several with commas between them, which make a tuple.
func (p *exprParser) tuple(cond bool, parens bool, ends ...string) (expr, error) {
	var items []expr
	comma := false
	for {
		t := p.peek()
		if t.kind == endToken || t.is(")") || len(ends) > 0 && t.named(ends[0]) {
			break
		}
		parse := p.expr
		if !cond {
			parse = p.or
		}
		x, err := parse()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
		if !p.op(",") {
			break
		}
		comma = true
	}
	if !comma && len(items) == 1 {
		return items[0], nil
	}
	if !comma && !parens {
		return nil, syntax(p.line, "Expected an expression, got '%s'", p.peek())
	}
	return &tupleExpr{items}, nil
}

func (p *exprParser) expr() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.or()
	for err == nil && p.word("if") {
		c := &condExpr{then: x}
		if c.test, err = p.or(); err != nil {
			return nil, err
		}
		if p.word("else") {
			c.other, err = p.expr()
		}
		x = c
	}
	return x, err
}

func (p *exprParser) or() (expr, error) {
	x, err := p.and()
	for err == nil && p.word("or") {
		l := &logicExpr{or: true, left: x}
		l.right, err = p.and()
		x = l
	}
	return x, err
}

func (p *exprParser) and() (expr, error) {
	x, err := p.not()
	for err == nil && p.word("and") {
		l := &logicExpr{left: x}
		l.right, err = p.not()
		x = l
	}
	return x, err
}

func (p *exprParser) not() (expr, error) {
	n := 0
	for p.word("not") {
		n++
	}
	x, err := p.compare()
	if n > 0 {
		x = &notExpr{x}
	}
	if n > 1 && n%2 == 0 {
		x = &notExpr{x}
	}
	return x, err
}

func (p *exprParser) compare() (expr, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &compareExpr{first: x}
	for {
		op := ""
		switch t := p.peek(); {
		case t.is("==") || t.is("!=") || t.is("<") || t.is("<=") || t.is(">") || t.is(">=") || t.named("in"):
			op = t.text
			p.pos++
		case t.named("not") && p.after().named("in"):
			op = "not in"
			p.pos += 2
		}
		if op == "" {
			break
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, y)
	}
	if len(c.ops) == 0 {
		return x, nil
	}
	return c, nil
}

// binary parses a row of operators of one precedence, which group from the left.
func (p *exprParser) binary(next func() (expr, error), ops ...string) (expr, error) {
	x, err := next()
	for err == nil {
		t := p.peek()
		found := false
		for _, op := range ops {
			found = found || t.is(op)
		}
		if !found {
			break
		}
		p.pos++
		if err := p.grow(); err != nil {
			return nil, err
		}
		b := &binaryExpr{op: t.text, left: x}
		b.right, err = next()
		x = b
	}
	return x, err
}

func (p *exprParser) sum() (expr, error)     { return p.binary(p.concat, "+", "-") }
func (p *exprParser) product() (expr, error) { return p.binary(p.power, "*", "/", "//", "%") }
func (p *exprParser) power() (expr, error) {
	return p.binary(func() (expr, error) { return p.unary(true) }, "**")
}

func (p *exprParser) concat() (expr, error) {
	x, err := p.product()
	if err != nil || !p.peek().is("~") {
		return x, err
	}
	parts := []expr{x}
	for p.op("~") {
		if x, err = p.product(); err != nil {
			return nil, err
		}
		parts = append(parts, x)
	}
	return &concatExpr{parts}, nil
}

func (p *exprParser) unary(filters bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var x expr
	var err error
	if t := p.peek(); t.is("-") || t.is("+") {
		p.pos++
		s := &signExpr{op: t.text[0]}
		s.x, err = p.unary(false)
		x = s
	} else {
		x, err = p.primary()
	}
	if err == nil {
		x, err = p.postfix(x)
	}
	if err == nil && filters {
		x, err = p.filters(x)
	}
	return x, err
}
