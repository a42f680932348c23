package procedural

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// How the space is cut down. A composition whose middle result is a word is dropped where that word is often too short
// for the next step to show, any composition where one answer is so common that it is cheap.
const (
	maxAnswer   = 16   // characters
	shortWord   = 2    // a middle result of fewer letters is short
	shortShare  = 0.3  // of the probe's inputs
	CheapShare  = 0.4  // a task whose commonest answer has a larger share is cheap
	sameShare   = 0.95 // tasks that agree on this share of the probe count as one when one of them is held out
	heldPairs   = 60   // compositions held out
	perKindPair = 2    // compositions tried of each ordered pair of kinds
	tripleEvery = 3    // of so many training compositions one is tried with a third step
)

// heldValues are held out beside the table's: one value of every kind that has several and of which the table holds out
// none, two where a kind has ten or more. Each number word still occurs in training with other kinds. A held-out value
// is in no training task, composed ones included; only the table's sortdesc_take2 is older than this rule.
var heldValues = strings.Fields(`last3 drop2 chop3 fromend3 del3 delend2 rotr2 tofront3 toend2 revfirst4 revlast3 twice2
	before_g after_c remove_h replace_dg replace_ib replace_ag exchange_cg append_d append_i prepend_b prepend_f count_g
	countbefore_e back2 modtimes5 modadd4 plus4 multiply3`)

// Space returns the table's tasks and after them all others, simplest first: what single steps, two and three of them
// do, each behaviour once. It is the same in every run.
func Space() []Task { return slices.Clone(space().tasks) }

type spaceOf struct {
	tasks   []Task
	byName  map[string]int
	reasons map[string]string // why a composition that was tried is no task
	seen    map[string]map[uint64]int
	held    []heldTask
}

var space = sync.OnceValue(func() *spaceOf {
	s := &spaceOf{byName: map[string]int{}, reasons: map[string]string{}, seen: map[string]map[uint64]int{}}
	for _, kind := range inputOrder {
		s.seen[kind] = map[uint64]int{}
	}
	s.addTable()
	s.addSingles()
	s.addPairs()
	s.addTriples()
	return s
})

func (s *spaceOf) lookup(name string) (Task, error) {
	if at, ok := s.byName[name]; ok {
		return s.tasks[at], nil
	}
	if why := s.reasons[name]; why != "" {
		return Task{}, fmt.Errorf("the procedural task %s is not in the space: %s", name, why)
	}
	return Task{}, fmt.Errorf("the procedural task %s is not among the %d of the space", name, len(s.tasks))
}

func (s *spaceOf) add(c candidate, split string) {
	t := c.task
	t.Split = split
	if t.Description == "" {
		t.Description = t.describe()
	}
	t.Impossible = impossible(t)
	s.byName[t.Name] = len(s.tasks)
	s.seen[t.Input][c.signature] = len(s.tasks)
	s.tasks = append(s.tasks, t)
	if split != TrainSplit {
		s.held = append(s.held, heldTask{len(s.tasks) - 1, t.Input, c.outputs})
	}
}

// known finds the task that does what c does; c's name becomes another name of it.
func (s *spaceOf) known(c candidate) bool {
	at, ok := s.seen[c.task.Input][c.signature]
	if !ok {
		at, ok = s.heldLike(c)
	}
	if ok {
		s.byName[c.task.Name] = at
	}
	return ok
}

// addTable puts the table's tasks first; those of several steps have their steps for a second name.
func (s *spaceOf) addTable() {
	for _, t := range table() {
		s.add(measure(t, nil), t.Split)
		s.byName[stepNames(t.steps)] = s.byName[t.Name]
	}
}

// addSingles adds the primitives that read an input. The held-out ones come first, so that whatever equals one of them
// is held out too.
func (s *spaceOf) addSingles() {
	var open []candidate
	for _, p := range primitives() {
		if p.input == aNumber || s.has(p.name) {
			continue
		}
		c := measure(Task{Name: p.name, Family: p.family, Input: p.input, steps: []*primitive{p}}, nil)
		switch {
		case !isHeld(p):
			open = append(open, c)
		case !s.known(c):
			s.add(c, heldParameter)
		}
	}
	for _, c := range open {
		if !s.known(c) {
			s.add(c, TrainSplit)
		}
	}
}

func (s *spaceOf) has(name string) bool { _, ok := s.byName[name]; return ok }

// isHeld tells whether no training composition may have the step.
func isHeld(p *primitive) bool {
	if slices.Contains(heldValues, p.name) {
		return true
	}
	for _, t := range table() {
		if t.Split != TrainSplit && len(t.steps) == 1 && t.steps[0] == p {
			return true
		}
	}
	return false
}

func stepNames(steps []*primitive) string {
	names := make([]string, len(steps))
	for i, p := range steps {
		names[i] = p.name
	}
	return strings.Join(names, ".")
}

// impossible says why a description does not tell a held-out cipher.
func impossible(t Task) string {
	if len(t.steps) == 1 && t.Split == heldParameter && (t.steps[0].kind == "shift" || t.steps[0].kind == "back") {
		return "no training task shifts letters this way by this number, and the number's word alone does not tell how far it is"
	}
	return ""
}
