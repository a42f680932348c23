package procedural

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// freshInputs draws inputs that the space itself was not built with.
func freshInputs(t *testing.T, kind string, n int) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(20261126, 77))
	var all []string
	for range n {
		all = append(all, inputs[kind].draw(r))
	}
	return all
}

// answers are a task's outputs on inputs.
func answers(t *testing.T, task Task, xs []string) []string {
	t.Helper()
	out := make([]string, len(xs))
	for i, x := range xs {
		y, err := task.Apply(x)
		if err != nil {
			t.Fatal(err)
		}
		if y == "" || len(y) > maxAnswer {
			t.Fatalf("%s(%q) = %q", task.Name, x, y)
		}
		out[i] = y
	}
	return out
}

// No training task does what a held-out one does, on inputs that the space was not cut down with, whatever either is called.
func TestSpaceHoldsOutByBehaviour(t *testing.T) {
	outputs := map[string][][]string{} // of the held-out tasks, by input
	names := map[string][]string{}
	xs := map[string][]string{}
	for kind := range inputs {
		xs[kind] = freshInputs(t, kind, 300)
	}
	counts := map[string]int{}
	for _, task := range Space() {
		counts[task.Split]++
		if task.Split != TrainSplit {
			outputs[task.Input] = append(outputs[task.Input], answers(t, task, xs[task.Input]))
			names[task.Input] = append(names[task.Input], task.Name)
		}
	}
	closest, pair := 0, ""
	for _, task := range Space() {
		if task.Split != TrainSplit {
			continue
		}
		own := answers(t, task, xs[task.Input])
		for k, other := range outputs[task.Input] {
			same := 0
			for i := range own {
				if own[i] == other[i] {
					same++
				}
			}
			if same > closest {
				closest, pair = same, task.Name+" and "+names[task.Input][k]
			}
		}
	}
	t.Logf("%v; %s agree most, on %d of 300", counts, pair, closest)
	if closest > 294 { // 95 % of the space's own probe, and three standard errors of a fresh one
		t.Errorf("%s agree on %d of 300 inputs", pair, closest)
	}
	if counts[TrainSplit] < 1500 || counts["held-out:parameter"] < 30 || counts["held-out:composition"] < 60 {
		t.Errorf("the space has %v", counts)
	}
}

// No step of a training task is a held-out one.
func TestHeldStepsNeverTrain(t *testing.T) {
	for _, task := range Space() {
		for _, p := range task.steps {
			if task.Split == TrainSplit && isHeld(p) && task.Name != "sortdesc_take2" { // of the table, older than the rule
				t.Errorf("%s trains %s", task.Name, p.name)
			}
		}
	}
	steps := primitives()
	for _, name := range heldValues {
		i := slices.IndexFunc(steps, func(p *primitive) bool { return p.name == name })
		if i < 0 {
			t.Errorf("there is no step %s to hold out", name)
		}
		if i < 0 || steps[i].input == aNumber { // a step of compositions alone
			continue
		}
		if task, err := Lookup(name); err != nil || task.Split == TrainSplit {
			t.Errorf("%s: %v, split %s", name, err, task.Split)
		} else if _, err := NewTraining(task); err == nil {
			t.Errorf("%s reached training", name)
		}
	}
	forged, err := Lookup("last3")
	if err != nil {
		t.Fatal(err)
	}
	forged.Split = TrainSplit
	if _, err := NewTraining(forged); err == nil {
		t.Error("a forged last3 reached training")
	}
}

// Every wording tells one task, and no wording that is kept aside is among those of training.
func TestWordingsTellTasksApart(t *testing.T) {
	owner := map[string]string{}
	var unseen []string
	for _, task := range Space() {
		all := task.Descriptions()
		if task.Input == "word" && len(all) < 10 {
			t.Errorf("%s has only %d wordings", task.Name, len(all))
		}
		for _, d := range all {
			if other, ok := owner[d]; ok {
				t.Errorf("%s and %s are both described by %q", task.Name, other, d)
			}
			owner[d] = task.Name
		}
		unseen = append(unseen, task.Unseen())
	}
	for _, d := range unseen {
		if other, ok := owner[d]; ok && d != "" {
			t.Errorf("the wording kept aside %q trains %s", d, other)
		}
	}
}

// What steps do, worked out by hand; a name of several steps reads from the first to the last.
func TestStepsByHand(t *testing.T) {
	for _, c := range []struct{ name, x, y string }{
		{"rotl1", "abcde", "bcdea"}, {"rotr2", "abcde", "deabc"}, {"take2", "abcde", "ab"}, {"last3", "abcde", "cde"}, {"drop2", "abcde", "cde"},
		{"chop3", "abcde", "ab"}, {"fromend3", "abcde", "c"}, {"del3", "abcde", "abde"}, {"remove_h", "hahb", "ab"}, {"replace_dg", "dada", "gaga"},
		{"append_d", "abca", "abcad"}, {"prepend_b", "acca", "bacca"}, {"count_g", "gagg", "3"}, {"back2", "abcd", "ijab"},
		{"reverse.take1", "abcd", "d"}, {"sort.reverse", "bdac", "dcba"}, {"prepend_i.dedup", "cgeg", "icge"},
	} {
		task, err := Lookup(c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		y, err := task.Apply(c.x)
		if err != nil && c.y != "" || c.y != "" && y != c.y {
			t.Errorf("%s(%q) = %q (%v), want %q", c.name, c.x, y, err, c.y)
		}
	}
	all := Space()
	for _, task := range all {
		if found, err := Lookup(task.Name); err != nil || found.Name != task.Name || found.Split != task.Split {
			t.Fatalf("Lookup(%s) = %s, %v", task.Name, found.Name, err)
		}
	}
	if !slices.EqualFunc(all, Space(), func(a, b Task) bool { return a.Name == b.Name }) {
		t.Error("the space is another every time")
	}
}
