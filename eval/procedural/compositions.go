package procedural

import (
	"cmp"
	"slices"
)

// describe is the first description of a task that isn't in the table.
func (t Task) describe() string {
	if len(t.steps) == 1 {
		return sentence(t.steps[0].wordings[0], t.object())
	}
	return t.compose(0)
}

// after is the candidate that goes on from c with one more step.
func (c candidate) after(p *primitive) candidate {
	t := c.task
	next := Task{Name: stepNames(t.steps) + "." + p.name, Input: t.Input, Family: "F7", steps: append(slices.Clone(t.steps), p)}
	if len(next.steps) > 2 {
		next.Family = "F8"
	}
	return measure(next, c.outputs)
}

// addPairs tries compositions of every two kinds and adds those that are new. What is held out goes first, so that
// whatever does the same is held out too: the numbers that have no task of one step, and of the rest the heldPairs
// whose names have the smallest hashes.
func (s *spaceOf) addPairs() {
	add := measure(s.tasks[s.byName["add"]], nil)
	for _, p := range primitives() {
		if p.input == aNumber && isHeld(p) {
			s.add(add.after(p), heldParameter)
		}
	}
	fit, twins := s.newPairs()
	slices.SortFunc(fit, func(a, b candidate) int { return cmp.Compare(hash(a.task.Name), hash(b.task.Name)) })
	for _, c := range fit[:heldPairs] {
		s.add(c, heldComposition)
	}
	for _, c := range fit[heldPairs:] {
		if !s.known(c) {
			s.add(c, TrainSplit)
		}
	}
	for _, c := range twins {
		s.known(c)
	}
}

// newPairs returns the compositions of two steps that do what no task does, each behaviour once, and those that do what
// another of them does.
func (s *spaceOf) newPairs() (fit, twins []candidate) {
	taken := map[string]map[uint64]bool{}
	for _, kind := range inputOrder {
		taken[kind] = map[uint64]bool{}
	}
	first := map[string]candidate{}
	for _, pair := range s.pairs() {
		p := pair[0]
		before, ok := first[p.name]
		if !ok {
			before = measure(Task{Input: p.input, steps: pair[:1]}, nil)
			first[p.name] = before
		}
		c := before.after(pair[1])
		switch {
		case p.doubles()+pair[1].doubles() > 1 || !s.admits(c, before):
		case taken[p.input][c.signature]:
			twins = append(twins, c)
		default:
			taken[p.input][c.signature] = true
			fit = append(fit, c)
		}
	}
	return fit, twins
}

// admits tells whether c is new and fit, and keeps in mind why not.
func (s *spaceOf) admits(c, before candidate) bool {
	if s.known(c) {
		return false
	}
	why := c.unfit(before)
	if why != "" {
		s.reasons[c.task.Name] = why
	}
	return why == ""
}

// usable are the primitives that training compositions are made of: not held out, nor doing what a held-out one does.
// Copying before or after a step changes nothing.
func (s *spaceOf) usable() []*primitive {
	return slices.DeleteFunc(slices.Clone(primitives()), func(p *primitive) bool {
		at, task := s.byName[p.name]
		return isHeld(p) || p.kind == "copy" || task && s.tasks[at].Split != TrainSplit
	})
}

// pairs are the compositions that are tried: of every two kinds that can follow each other, the perKindPair whose names
// have the smallest hashes.
func (s *spaceOf) pairs() [][2]*primitive {
	type kinds struct{ input, first, second string }
	usable := s.usable()
	byKinds := map[kinds][][2]*primitive{}
	var order []kinds
	for _, p := range usable {
		if inputs[p.input].draw == nil {
			continue
		}
		for _, next := range usable {
			if p.gives == next.input {
				k := kinds{p.input, p.kind, next.kind}
				if byKinds[k] == nil {
					order = append(order, k)
				}
				byKinds[k] = append(byKinds[k], [2]*primitive{p, next})
			}
		}
	}
	var chosen [][2]*primitive
	for _, k := range order {
		all := byKinds[k]
		slices.SortFunc(all, func(a, b [2]*primitive) int { return cmp.Compare(hash(stepNames(a[:])), hash(stepNames(b[:]))) })
		chosen = append(chosen, all[:min(perKindPair, len(all))]...)
	}
	return chosen
}

// addTriples goes on from every tripleEvery-th training composition of two steps with a third one, the one whose name
// with it has the smallest hash.
func (s *spaceOf) addTriples() {
	usable := s.usable()
	var pairs []Task
	for _, t := range s.tasks {
		if len(t.steps) == 2 && t.Split == TrainSplit {
			pairs = append(pairs, t)
		}
	}
	for i := 0; i < len(pairs); i += tripleEvery {
		t := pairs[i]
		last := t.steps[1]
		var next *primitive
		for _, p := range usable {
			if p.input == last.gives && p.kind != last.kind && (next == nil || hash(t.Name+"."+p.name) < hash(t.Name+"."+next.name)) {
				next = p
			}
		}
		if next == nil || s.heldTogether(last, next) || t.steps[0].doubles()+last.doubles()+next.doubles() > 1 {
			continue
		}
		before := measure(t, nil)
		if c := before.after(next); s.admits(c, before) {
			s.add(c, TrainSplit)
		}
	}
}

// heldTogether tells whether two steps make a composition that is held out, by whatever name.
func (s *spaceOf) heldTogether(first, second *primitive) bool {
	if inputs[first.input].draw == nil {
		return false
	}
	c := measure(Task{Name: first.name, Input: first.input, steps: []*primitive{first}}, nil).after(second)
	return s.known(c) && s.tasks[s.byName[c.task.Name]].Split != TrainSplit
}

// doubles is 1 for a step that makes a word twice as long: with two of them answers get too long, which the probe of a
// composition that drops letters may not show.
func (p *primitive) doubles() int {
	if slices.Contains([]string{"double", "repeat", "there_and_back"}, p.kind) {
		return 1
	}
	return 0
}
