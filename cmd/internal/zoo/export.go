package zoo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval/procedural"
	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"
	"d2nwg/internal/textfile"
)

// DefaultQuestions is how many questions of a procedural task are written.
const DefaultQuestions = 400

// Exported is n training tasks of the procedural space and all that it holds out, with so many questions of each at most.
func Exported(n, questions int, seed uint64) (*Folder, error) {
	f := &Folder{}
	rules := map[string]procedural.Task{}
	training := 0
	for _, t := range chooseTasks(n, seed) {
		if t.Split == procedural.TrainSplit {
			training++
		}
		task := zoo.Task{Name: t.Name, Split: t.Split, Descriptions: t.Descriptions(), Unseen: t.Unseen(), Impossible: t.Impossible}
		if share := t.Majority(); share >= procedural.CheapShare {
			task.Cheap = share
		}
		f.Tasks = append(f.Tasks, task)
		rules[t.Name] = t
	}
	if training < n {
		return nil, fmt.Errorf("there are only %d procedural tasks to train on", training)
	}
	f.questions = func(t zoo.Task) ([]byte, error) {
		return exportQuestions(rules[t.Name], questions, pipeline.Seed(seed, "questions of "+t.Name, 0))
	}
	index, err := json.MarshalIndent(f.Tasks, "", " ")
	f.index = append(index, '\n')
	return f, err
}

// shares are those of tasks of one, two and three steps among the training tasks that are chosen, where there are so many. In the space
// itself compositions outnumber single steps by far, and a generator would hardly see what they are made of.
var shares = [3]float64{0.4, 0.45, 0.15}

// chooseTasks takes n training tasks, the table's first and then others by chance, and every held-out task, in the space's order.
func chooseTasks(n int, seed uint64) []procedural.Task {
	all := procedural.Space()
	order := append(procedural.TrainTasks(), all...)
	known := len(order) - len(all)
	r := rand.New(rand.NewPCG(seed, 0x657870))
	r.Shuffle(len(all), func(i, j int) { order[known+i], order[known+j] = order[known+j], order[known+i] })
	wanted, left := map[string]bool{}, shares
	for i := range left {
		left[i] = math.Round(left[i] * float64(n))
	}
	for _, strict := range []bool{true, false} { // what one kind lacks the others fill
		for i, t := range order {
			if len(wanted) == n || wanted[t.Name] || t.Split != procedural.TrainSplit || strict && i >= known && left[t.Steps()-1] < 1 {
				continue
			}
			wanted[t.Name] = true
			left[t.Steps()-1]--
		}
	}
	var out []procedural.Task
	for _, t := range all {
		if wanted[t.Name] || t.Split != procedural.TrainSplit {
			out = append(out, t)
		}
	}
	return out
}

// exportQuestions draws different questions as JSON lines. Both cuts of an input have to agree whether it may be trained on: the zoo's, by
// the prompt, and procedural's, by which the bundled model was trained.
func exportQuestions(t procedural.Task, n int, seed uint64) ([]byte, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	seen := map[string]bool{}
	const enough = 2000 // draws without a new input: there are no more
	for misses := 0; len(seen) < n && misses < enough; misses++ {
		x, y := t.Draw(r)
		prompt := procedural.Prompt("", x)
		if seen[x] || (stats.DefaultShares.Cut(prompt) == stats.Train) != (procedural.Cut(x) == stats.Train) {
			continue
		}
		seen[x], misses = true, 0
		if err := enc.Encode(textfile.Question{Prompt: prompt, Answer: y}); err != nil {
			return nil, err
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("the task %s has no question: %w", t.Name, fs.ErrNotExist)
	}
	return out.Bytes(), nil
}
