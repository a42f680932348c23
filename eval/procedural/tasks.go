// Package procedural has small reasoning tasks over words, number pairs and bit strings: each a rule that turns an
// input x into an answer y, and sentences that describe it. Sixty of them are a fixed table, whose rules tasks.json's
// samples fix; the space around it has some thousands, made of one to three steps. Own work.
//
// In a prompt the rule is either described ("description\nx>") or bare ("x>"): in the bare form nothing but the
// weights of a model can tell which task is meant. The answer is y and the end-of-sequence token.
package procedural

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"d2nwg/internal/stats"
)

// Alphabet has the letters of words; letter i stands for the number i.
const Alphabet = "abcdefghij"

// TrainSplit is the Split of a task that training may use; all others are "held-out:…".
const TrainSplit = "train"

const (
	heldParameter   = "held-out:parameter"
	heldComposition = "held-out:composition"
)

// A Task is one rule. Tasks of one Input draw x from the same distribution, so x never tells which of them is meant.
type Task struct {
	Name string
	// Family is F1 positions, F2 order and sets, F3 counting, F4 ciphers, F5 arithmetic, F6 bits, F7 compositions of
	// two steps or F8 of three.
	Family      string
	Input       string // word, pair, digits or bits
	Split       string // "train" or "held-out:" + parameter, composition, family or far
	Description string // one sentence
	Impossible  string // why no description can tell the rule to a model of the training tasks; mostly empty

	steps []*primitive
}

// Steps is how many steps the task is made of: 1, 2 or 3.
func (t Task) Steps() int { return len(t.steps) }

func (t Task) rule(x string) string { return apply(t.steps, x) }

// Draw draws an input from the task's distribution and answers it.
func (t Task) Draw(r *rand.Rand) (x, y string) {
	x = inputs[t.Input].draw(r)
	return x, t.rule(x)
}

// DrawIn is Draw restricted to the inputs of one split.
func (t Task) DrawIn(r *rand.Rand, split stats.Split) (x, y string) {
	for {
		if x, y = t.Draw(r); Cut(x) == split {
			return x, y
		}
	}
}

// Apply answers x, or says why x is no input of this task.
func (t Task) Apply(x string) (string, error) {
	if !inputs[t.Input].valid(x) {
		return "", fmt.Errorf("task %s: %q is not %s", t.Name, x, inputs[t.Input].what)
	}
	return t.rule(x), nil
}

// All returns the 60 tasks of the table in a fixed order.
func All() []Task { return slices.Clone(table()) }

// TrainTasks returns the table's 41 tasks that training may use.
func TrainTasks() []Task {
	return slices.DeleteFunc(All(), func(t Task) bool { return t.Split != TrainSplit })
}

// Lookup finds a task of the table or the space by name. The name of a composition that does what another task does
// finds that one, so that it can't pass for a task of its own.
func Lookup(name string) (Task, error) {
	for _, t := range table() {
		if t.Name == name {
			return t, nil
		}
	}
	if parseSteps(name) != nil {
		return space().lookup(name)
	}
	names := make([]string, len(table()))
	for i, t := range table() {
		names[i] = t.Name
	}
	return Task{}, fmt.Errorf("there is no procedural task %q; the tasks are %s, and those of the space", name,
		strings.Join(names, " "))
}
