package procedural

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
)

// probeSize is how many inputs of a kind a task is told by, where the kind has that many.
const probeSize = 500

// probes are seeded inputs of every kind, the same in every run.
var probes = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	for kind, in := range inputs {
		r := rand.New(rand.NewPCG(0x70726f6265, 1))
		if in.pool != nil {
			pool := in.pool()
			r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
			all[kind] = pool[:min(probeSize, len(pool))]
			continue
		}
		for range probeSize {
			all[kind] = append(all[kind], in.draw(r))
		}
	}
	return all
})

// A candidate is a task that may enter the space, with what it answers on the probe of its input.
type candidate struct {
	task      Task
	outputs   []string // empty answers are ""
	signature uint64
}

// measure runs a task over its probe. before is what the task without its last step answers; nil runs all steps.
func measure(t Task, before []string) candidate {
	steps := t.steps
	if before == nil {
		before = probes()[t.Input]
	} else {
		steps = steps[len(steps)-1:]
	}
	c := candidate{task: t, outputs: make([]string, len(before))}
	h := fnv.New64a()
	for i, x := range before {
		for _, p := range steps {
			x = p.rule(x)
		}
		c.outputs[i] = x
		h.Write([]byte(x))
		h.Write([]byte{0})
	}
	c.signature = h.Sum64()
	return c
}

// majority is the share of the commonest answer.
func (c candidate) majority() float64 {
	counts, most := map[string]int{}, 0
	for _, y := range c.outputs {
		counts[y]++
		most = max(most, counts[y])
	}
	return float64(most) / float64(len(c.outputs))
}

// Majority is the share of the commonest answer among inputs of the task, measured on its probe: what a model scores
// that has learned nothing else.
func (t Task) Majority() float64 { return measure(t, nil).majority() }

// A heldTask is what a held-out task answers on its probe.
type heldTask struct {
	at      int // its place in the space
	input   string
	outputs []string
}

// heldLike finds a held-out task that agrees with c on sameShare of the inputs that both know.
func (s *spaceOf) heldLike(c candidate) (at int, found bool) {
	for _, h := range s.held {
		mine, theirs := c.outputs, h.outputs
		switch {
		case h.input == c.task.Input:
		case inputs[h.input].wider == c.task.Input:
			mine = nil // on the narrower input, which is the held-out task's
		case inputs[c.task.Input].wider == h.input:
			theirs = nil
		default:
			continue
		}
		probe := probes()[c.task.Input]
		if mine == nil {
			probe = probes()[h.input]
		}
		if agree(len(probe), func(i int) bool {
			return answer(c.task, mine, probe, i) == answer(s.tasks[h.at], theirs, probe, i)
		}) {
			return h.at, true
		}
	}
	return 0, false
}

func answer(t Task, outputs, probe []string, i int) string {
	if outputs == nil {
		return apply(t.steps, probe[i])
	}
	return orTilde(outputs[i])
}

// agree tells whether same holds for sameShare of 0..n-1; it stops as soon as it can't.
func agree(n int, same func(i int) bool) bool {
	allowed := n - int(float64(n)*sameShare)
	for i := range n {
		if !same(i) {
			if allowed--; allowed < 0 {
				return false
			}
		}
	}
	return true
}

// unfit says why a composition is no task of its own: a middle result too short, an answer too long or cheap. before is
// what it answers without the last step.
func (c candidate) unfit(before candidate) string {
	if before.task.steps[len(before.task.steps)-1].gives == aWord {
		short := 0
		for _, y := range before.outputs {
			if len(y) < shortWord {
				short++
			}
		}
		if float64(short) > shortShare*float64(len(before.outputs)) {
			return "its last step mostly gets too short a word"
		}
	}
	if slices.ContainsFunc(c.outputs, func(y string) bool { return len(y) > maxAnswer }) {
		return "its answers get too long"
	}
	if c.majority() > CheapShare {
		return "one answer is right too often"
	}
	return ""
}
