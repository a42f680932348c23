package jinja

import (
	"errors"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
)

type forTag struct {
	tag
	to        target
	x         expr
	test      expr // nil = every item
	recursive bool
	body      *nodes.Wrapper
	other     *nodes.Wrapper // nil = no else
}

// loop is the variable of that name in a loop.
type loop struct {
	tag     *forTag
	r       *exec.Renderer
	items   []Value
	index   int
	depth   int
	changed []Value
}

func (t *forTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	v, err := t.x.eval(scopeOf(r))
	if err != nil {
		return at(t.line, err)
	}
	return t.run(r, v, 0)
}

// run runs the loop over v.
func (t *forTag) run(r *exec.Renderer, v Value, depth int) error {
	items, err := t.items(r, v)
	if err != nil {
		return at(t.line, err)
	}
	completed := false // Jinja2's else is for a loop no pass of which came to its end
	l := &loop{tag: t, r: r, items: items, depth: depth}
	for i, item := range items {
		l.index = i
		sub := r.Inherit()
		s := scopeOf(sub)
		if err := s.rt.step(); err != nil {
			return at(t.line, err)
		}
		s.set("loop", l)
		if err := s.assign(t.to, item); err != nil {
			return at(t.line, err)
		}
		err := body(sub, t.body)
		if errors.Is(err, errBreak) {
			break
		}
		if err != nil && !errors.Is(err, errContinue) {
			return err
		}
		completed = completed || err == nil
	}
	if completed || t.other == nil {
		return nil
	}
	return body(r.Inherit(), t.other)
}

// items are those of v that the loop's condition lets through.
func (t *forTag) items(r *exec.Renderer, v Value) ([]Value, error) {
	rt := scopeOf(r).rt
	items, err := rt.iterate(v)
	if err != nil || t.test == nil {
		return items, err
	}
	var kept []Value
	for _, item := range items {
		s := scopeOf(r.Inherit())
		if err := rt.step(); err != nil {
			return nil, err
		}
		if err := s.assign(t.to, item); err != nil {
			return nil, err
		}
		v, err := t.test.eval(s)
		if err != nil {
			return nil, err
		}
		ok, err := rt.truth(v)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, item)
		}
	}
	return kept, rt.items(len(kept))
}

// call runs a recursive loop over the items below.
func (l *loop) call(rt *run, args arguments) (Value, error) {
	if !l.tag.recursive {
		return nil, typeError("The loop must have the 'recursive' marker to be called recursively.")
	}
	b, err := args.bind("loop", 1, "iterable")
	if err != nil {
		return nil, err
	}
	sub := l.r.Inherit()
	var out strings.Builder
	sub.Output = &out
	err = l.tag.run(sub, b.vals[0], l.depth+1)
	return out.String(), err
}

func (l *loop) member(name string) (Value, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return l.index + 1, true
	case "index0":
		return l.index, true
	case "revindex":
		return n - l.index, true
	case "revindex0":
		return n - l.index - 1, true
	case "first":
		return l.index == 0, true
	case "last":
		return l.index == n-1, true
	case "length":
		return n, true
	case "depth":
		return l.depth + 1, true
	case "depth0":
		return l.depth, true
	case "previtem":
		if l.index == 0 {
			return missing("there is no previous item"), true
		}
		return l.items[l.index-1], true
	case "nextitem":
		if l.index == n-1 {
			return missing("there is no next item"), true
		}
		return l.items[l.index+1], true
	case "cycle":
		return &builtin{name, func(_ *run, args arguments) (Value, error) {
			if len(args.pos) == 0 {
				return nil, typeError("no items for cycling given")
			}
			return args.pos[l.index%len(args.pos)], nil
		}}, true
	case "changed":
		return &builtin{name, func(rt *run, args arguments) (Value, error) {
			same, err := rt.equalItems(l.changed, args.pos, 0)
			same = same && l.changed != nil
			l.changed = append([]Value{}, args.pos...)
			return !same, err
		}}, true
	}
	return nil, false
}
