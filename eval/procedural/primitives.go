package procedural

import (
	"fmt"
	"strings"
	"sync"
)

// What a primitive reads and gives: the four inputs, or one of these. Two primitives follow each other where the first
// gives what the second reads.
const (
	aWord   = "word"
	aNumber = "number" // a number in decimal digits
	aText   = "text"   // an answer that nothing goes on from
)

// A kind is a rule with a parameter; each value of the parameter makes a primitive. A kind without parameters has one
// value, the zero one.
type kind struct {
	name   string // also the name of its block of wordings
	family string
	inputs []string // what it reads; one primitive for each
	gives  string
	values []value
	rule   func(v value) func(x string) string
}

// A value is a number or one or two letters.
type value struct {
	n    int
	c, d byte
}

func (v value) String() string {
	switch {
	case v.d != 0:
		return "_" + string([]byte{v.c, v.d})
	case v.c != 0:
		return "_" + string(v.c)
	case v.n != 0:
		return fmt.Sprint(v.n)
	}
	return ""
}

// A primitive is one step of a task. Its rule is total on words of any length, the empty one included.
type primitive struct {
	name     string
	family   string
	kind     string
	value    value
	input    string
	gives    string
	rule     func(x string) string
	wordings []string // verb phrases with %W for the object; the last one is never used in training
}

// shorter has the primitives that are not named by kind and value.
var shorter = map[string]string{"last1": "last"}

var primitives = sync.OnceValue(func() []*primitive {
	wordings := readWordings()
	var all []*primitive
	for _, k := range kinds() {
		values := k.values
		if values == nil {
			values = []value{{}}
		}
		for at, input := range k.inputs {
			for _, v := range values {
				p := &primitive{name: k.name + v.String(), family: k.family, kind: k.name, value: v, input: input,
					gives: k.gives, rule: k.rule(v), wordings: v.word(wordings[k.name])}
				if name, ok := shorter[p.name]; ok {
					p.name = name
				}
				if at > 0 { // the second input of a kind: the same rule on digits
					p.name = input + "_" + p.name
				}
				all = append(all, p)
			}
		}
	}
	return all
})

var primitiveByName = sync.OnceValue(func() map[string]*primitive {
	byName := map[string]*primitive{}
	for _, p := range primitives() {
		byName[p.name] = p
	}
	return byName
})

// parseSteps reads primitives joined by ".", as the names of compositions do; nil where it can't.
func parseSteps(name string) []*primitive {
	var steps []*primitive
	for _, part := range strings.Split(name, ".") {
		p := primitiveByName()[part]
		if p == nil || len(steps) > 0 && steps[len(steps)-1].gives != p.input {
			return nil
		}
		steps = append(steps, p)
	}
	return steps
}

// apply runs the steps; an empty answer is written ~.
func apply(steps []*primitive, x string) string {
	for _, p := range steps {
		x = p.rule(x)
	}
	return orTilde(x)
}

func kinds() []kind {
	var all []kind
	for _, some := range [][]kind{positionKinds(), moveKinds(), setKinds(), letterKinds(), countKinds(), cipherKinds(), numberKinds(), bitKinds()} {
		all = append(all, some...)
	}
	return all
}

// numbered makes the values from..to.
func numbered(from, to int) []value {
	var values []value
	for n := from; n <= to; n++ {
		values = append(values, value{n: n})
	}
	return values
}

// lettered makes a value of every letter from..to.
func lettered(from, to byte) []value {
	var values []value
	for c := from; c <= to; c++ {
		values = append(values, value{c: c})
	}
	return values
}
