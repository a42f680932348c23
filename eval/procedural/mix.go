package procedural

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"d2nwg/internal/stats"
)

// Prompt is the text before the answer: described, or bare with an empty description.
func Prompt(description, x string) string {
	if description == "" {
		return x + ">"
	}
	return description + "\n" + x + ">"
}

// An Item is one question of a task.
type Item struct {
	Task, X, Y string
}

// A Mix is at most one task for each kind of input. What x looks like then tells which of its tasks is meant, so a
// model can hold the whole mix in its weights and answer bare prompts; with two tasks on one input it could not.
type Mix struct {
	tasks []Task
}

// NewMix makes a mix; its tasks are kept in the order word, pair, digits, bits.
func NewMix(tasks ...Task) (Mix, error) {
	var m Mix
	for _, kind := range inputOrder {
		for _, t := range tasks {
			if t.Input != kind {
				continue
			}
			if n := len(m.tasks); n > 0 && m.tasks[n-1].Input == kind {
				return Mix{}, fmt.Errorf("a mix can't hold both %s and %s: bare prompts on a %s don't tell them apart",
					m.tasks[n-1].Name, t.Name, kind)
			}
			m.tasks = append(m.tasks, t)
		}
	}
	if len(m.tasks) == 0 {
		return Mix{}, fmt.Errorf("a mix needs at least one task")
	}
	return m, nil
}

// ParseMix reads task names joined by "+", as Name writes them.
func ParseMix(name string) (Mix, error) {
	var tasks []Task
	for _, part := range strings.Split(name, "+") {
		t, err := Lookup(strings.TrimSpace(part))
		if err != nil {
			return Mix{}, err
		}
		tasks = append(tasks, t)
	}
	return NewMix(tasks...)
}

// TrainingMixes lists every mix of one word, one pair and one digits task that training may use.
func TrainingMixes() []Mix {
	byInput := map[string][]Task{}
	for _, t := range TrainTasks() {
		byInput[t.Input] = append(byInput[t.Input], t)
	}
	var mixes []Mix
	for _, w := range byInput["word"] {
		for _, p := range byInput["pair"] {
			for _, d := range byInput["digits"] {
				mixes = append(mixes, Mix{tasks: []Task{w, p, d}})
			}
		}
	}
	return mixes
}

// Tasks returns the mix's tasks in order.
func (m Mix) Tasks() []Task { return slices.Clone(m.tasks) }

// Name is the tasks' names joined by "+".
func (m Mix) Name() string { return m.join("+", func(t Task) string { return t.Name }) }

// Description is the tasks' sentences joined by a space.
func (m Mix) Description() string { return m.join(" ", func(t Task) string { return t.Description }) }

func (m Mix) join(by string, part func(Task) string) string {
	parts := make([]string, len(m.tasks))
	for i, t := range m.tasks {
		parts[i] = part(t)
	}
	return strings.Join(parts, by)
}

// owns reports whether x, drawn for t, belongs to t alone: a pair of two digits is left to the mix's digits task, a
// word of a and b to its bits task.
func (m Mix) owns(t Task, x string) bool {
	for _, other := range m.tasks {
		if in := inputs[other.Input]; in.wider == t.Input && in.valid(x) {
			return false
		}
	}
	return true
}

// Items returns up to perTask different items of each task whose x lies in the split, a function of the arguments
// alone. Small inputs have fewer: a split of "digits" has only about ten.
func (m Mix) Items(split stats.Split, perTask int, seed uint64) []Item {
	var items []Item
	for _, t := range m.tasks {
		for _, x := range m.sample(t, split, perTask, seed) {
			items = append(items, Item{Task: t.Name, X: x, Y: t.rule(x)})
		}
	}
	return items
}

// sample draws n different x without replacement.
func (m Mix) sample(t Task, split stats.Split, n int, seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0x6974656d73))
	fits := func(x string) bool { return Cut(x) == split && m.owns(t, x) }
	if in := inputs[t.Input]; in.pool != nil {
		pool := slices.DeleteFunc(in.pool(), func(x string) bool { return !fits(x) })
		r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		return pool[:min(n, len(pool))]
	}
	var xs []string
	seen := map[string]bool{}
	for misses := 0; len(xs) < n && misses < 10000; misses++ { // long without a new word: the split is exhausted
		if x, _ := t.Draw(r); fits(x) && !seen[x] {
			seen[x] = true
			xs = append(xs, x)
			misses = 0
		}
	}
	return xs
}

// A Training is what training data may be drawn from: tasks of the train split on inputs of the train cut. The zero
// value draws nothing; NewTraining and Mix.Training are the only ways to make another.
type Training struct {
	tasks []Task
	mix   Mix // whose inputs are kept apart; empty for a plain list of tasks
}

// NewTraining admits tasks to training; it refuses held-out ones by name.
func NewTraining(tasks ...Task) (Training, error) {
	if len(tasks) == 0 {
		return Training{}, fmt.Errorf("training needs at least one task")
	}
	var g Training
	for _, t := range tasks {
		known, err := Lookup(t.Name)
		if err != nil {
			return Training{}, err
		}
		if known.Split != TrainSplit && known.Name != t.Name {
			return Training{}, fmt.Errorf("task %s does what %s does, which is %s and never reaches training", t.Name, known.Name, known.Split)
		}
		if known.Split != TrainSplit {
			return Training{}, fmt.Errorf("task %s is %s and never reaches training", t.Name, known.Split)
		}
		g.tasks = append(g.tasks, known)
	}
	return g, nil
}

// Training admits the mix's tasks to training.
func (m Mix) Training() (Training, error) {
	g, err := NewTraining(m.tasks...)
	g.mix = m
	return g, err
}

// Tasks returns the tasks drawn from.
func (g Training) Tasks() []Task { return slices.Clone(g.tasks) }

// One narrows the training to one of its tasks, drawn as Draw does.
func (g Training) One(r *rand.Rand) Training {
	return Training{tasks: []Task{g.pick(r)}, mix: g.mix}
}

// inputShares is how often each kind of input is trained on, relative to the others. Among the training tasks are 35
// on words but 3 on pairs, which are the harder ones; digits know only 100 inputs.
var inputShares = map[string]float64{"word": 6, "pair": 3, "digits": 1, "bits": 6}

// pick draws a kind of input by its share, then one of its tasks, each equally likely.
func (g Training) pick(r *rand.Rand) Task {
	byInput := map[string]int{}
	total := 0.0
	for _, t := range g.tasks {
		if byInput[t.Input]++; byInput[t.Input] == 1 {
			total += inputShares[t.Input]
		}
	}
	at := r.Float64() * total
	for _, t := range g.tasks {
		if at -= inputShares[t.Input] / float64(byInput[t.Input]); at < 0 {
			return t
		}
	}
	return g.tasks[len(g.tasks)-1]
}

// Draw draws a task, its kind of input by share, and an item of its train cut.
func (g Training) Draw(r *rand.Rand) Item {
	t := g.pick(r)
	for {
		if x, y := t.DrawIn(r, stats.Train); g.mix.owns(t, x) {
			return Item{Task: t.Name, X: x, Y: y}
		}
	}
}
