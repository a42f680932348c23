package procedural

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
)

// objects says what a first step works on.
var objects = map[string]string{
	"word": "the word", "bits": "the word", "pair": "the two numbers", "digits": "the two digits",
}

// A connective joins steps: before stands in front of the first, between in front of each later one, whose object is
// object. The last connective is never used in training.
type connective struct{ before, between, object string }

var connectives = []connective{
	{"", ", then ", "the result"},
	{"", " and then ", "it"},
	{"", "; after that ", "the result"},
	{"first ", ", then ", "what you get"},
	{"", "; next, ", "it"},
	{"take what you read and ", ", and afterwards ", "the result"},
	{"", ", followed by this: ", "the outcome"},
	{"begin like this: ", "; go on: ", "what you have"},
	{"", ". Then ", "the result"},
	{"do this in order: ", "; ", "what comes out"},
	{"to start, ", ". After that, ", "it"},
	{"", ", and with that done ", "the outcome"},
	{"", ", after which you ", "the result"},
	{"step one: ", ". Step two: ", "the result"},
	{"start with this: ", ". Now ", "what it gave"},
	{"", "; having done so, ", "the new text"},
	{"", " before you ", "the output"},
	{"", ", and finally ", "the result"},
	{"to begin with, ", ", whereupon you ", "whatever that leaves"},
}

const wordingsPerTask = 20

// Descriptions returns at least ten sentences that describe the task, always the same ones, in the wordings that
// training may use. Description is the first.
func (t Task) Descriptions() []string {
	all := []string{t.Description}
	add := func(s string) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(t.steps) == 1 {
		known := t.steps[0].wordings
		for _, w := range known[:len(known)-1] {
			add(sentence(w, t.object()))
		}
		return all
	}
	for i := range wordingsPerTask - 1 {
		add(t.compose(i + 1))
	}
	return all
}

// Unseen describes the task in words that no training task is described in: the reserved wording of every step, joined
// by the reserved connective.
func (t Task) Unseen() string {
	reserved := connectives[len(connectives)-1]
	text := ""
	for i, p := range t.steps {
		w := p.wordings[len(p.wordings)-1]
		if i == 0 && len(t.steps) > 1 {
			text += reserved.before
		}
		text += link(reserved, i, w, t.object())
	}
	return sentence(text, "")
}

// compose words a composition in the i-th of its ways: step after step in one of its training wordings. Wordings and
// connectives start at places that depend on the task and go on with i, so that no two ways are alike.
func (t Task) compose(i int) string {
	r := rand.New(rand.NewPCG(hash(t.Name), 0x776f726473))
	joints := len(connectives) - 1
	start := r.IntN(joints)
	text := ""
	for at, p := range t.steps {
		w := p.wordings[(r.IntN(len(p.wordings)-1)+i*(at+1))%(len(p.wordings)-1)]
		joint := connectives[(start+i*max(at, 1))%joints] // the first two steps share one
		if at == 0 {
			text = joint.before
		}
		text += link(joint, at, w, t.object())
	}
	return sentence(text, "")
}

// link is the wording of step number at, after what joins it to the step before.
func link(c connective, at int, wording, object string) string {
	if at == 0 {
		return strings.ReplaceAll(wording, "%W", object)
	}
	return c.between + strings.ReplaceAll(wording, "%W", c.object)
}

func (t Task) object() string { return objects[t.Input] }

func sentence(text, object string) string {
	text = strings.ReplaceAll(text, "%W", object)
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // never fails
	return h.Sum64()
}
