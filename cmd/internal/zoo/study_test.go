package zoo

import (
	"fmt"
	"math"
	"testing"

	"d2nwg/eval/procedural"
	"d2nwg/generator/zoo"
)

// Rows of the same task are averaged source by source, over the seeds that have the source.
func TestMeanRows(t *testing.T) {
	rows := []Row{
		{Task: "a", Split: "x", Scores: map[string]float64{SourceBase: 0, SourceGenerated: 0.5, SourceOracle: 1}},
		{Task: "b", Split: "x", Scores: map[string]float64{SourceBase: 0.2, SourceGenerated: 0.2}},
		{Task: "a", Split: "x", Scores: map[string]float64{SourceBase: 0, SourceGenerated: 0.7}},
	}
	got := meanRows(rows)
	if len(got) != 2 || got[0].Task != "a" || got[1].Task != "b" {
		t.Fatalf("rows of %v", got)
	}
	for source, want := range map[string]float64{SourceBase: 0, SourceGenerated: 0.6, SourceOracle: 1} {
		if x := got[0].Scores[source]; math.Abs(x-want) > 1e-12 {
			t.Errorf("a, %s: %v, want %v", source, x, want)
		}
	}
	if rows[0].Scores[SourceGenerated] != 0.5 {
		t.Error("the rows themselves were changed")
	}
}

// A split's recovered share is Σ(generated − base) / Σ(oracle − base), and cheap and untellable tasks stand apart.
func TestSplitsAreSummedUp(t *testing.T) {
	row := func(name string, base, generated, oracle float64) Row {
		return Row{Task: name, Split: "s", Scores: map[string]float64{SourceBase: base, SourceMean: base, SourceGenerated: generated, SourceOracle: oracle}}
	}
	cheap, untold := row("c", 0.5, 0.5, 0.9), row("d", 0, 0, 1)
	cheap.Cheap, untold.Impossible = 0.6, "an unseen number"
	table := Table{Rows: []Row{row("a", 0, 0.5, 1), row("b", 0.1, 0.2, 0.6), cheap, untold}}
	if err := table.sum(1); err != nil {
		t.Fatal(err)
	}
	if len(table.Splits) != 3 || table.Splits[0].Split != "s" || table.Splits[1].Split != "s (cheap answer)" || table.Splits[2].Split != "s (not told by words)" {
		t.Fatalf("splits %+v", table.Splits)
	}
	s := table.Splits[0]
	if want := (0.5 + 0.1) / (1 + 0.5); s.Tasks != 2 || s.Recovered == nil || math.Abs(s.Recovered.Gain-want) > 1e-9 {
		t.Errorf("%d tasks, recovered %+v, want %v", s.Tasks, s.Recovered, want)
	}
}

// The first number of steps whose mean reaches nine tenths of the oracle's counts, on all examples and on the split alone.
func TestStepsToTheOracle(t *testing.T) {
	var rows []TuneRow
	add := func(shots, steps int, split string, zero float64) {
		for i := range 2 {
			rows = append(rows, TuneRow{Tune: Tune{shots, steps}, Task: fmt.Sprint(split, i), Split: split, Oracle: 0.8,
				Scores: map[string]float64{SourceZero: zero, SourceMean: 0, SourceNearest: 0, SourceGenerated: 0.75}})
		}
	}
	add(16, 5, "x", 0.9)
	add(0, 10, "x", 0.5)
	add(0, 20, "x", 0.73)
	add(0, 40, "x", 0.8)
	add(0, 10, "y", 0.8)
	sums, err := sumTunes(rows, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		split, start string
		want         int
	}{{"x", SourceZero, 20}, {"x", SourceGenerated, 10}, {"x", SourceMean, 0}, {"y", SourceZero, 10}} {
		if got := stepsTo(sums, c.split, c.start); got != c.want {
			t.Errorf("%s from %s: %d steps, want %d", c.split, c.start, got, c.want)
		}
	}
}

// Chosen tasks run from the first to the last, and there are as many as were asked for.
func TestEvenly(t *testing.T) {
	var tasks []zoo.Task
	for i := range 10 {
		tasks = append(tasks, zoo.Task{Name: fmt.Sprint(i), Split: []string{"train", "far"}[i%2]})
	}
	wanted := func(t zoo.Task) bool { return t.Split == "train" }
	for n, want := range map[int]string{0: "02468", 2: "04", 3: "026", 9: "02468"} {
		got := ""
		for _, t := range evenly(tasks, n, wanted) {
			got += t.Name
		}
		if got != want {
			t.Errorf("%d tasks: %s, want %s", n, got, want)
		}
	}
}

// An exported folder has the table's tasks, as many training tasks as asked for, single steps among them, and everything held out.
func TestChosenTasks(t *testing.T) {
	held := 0
	for _, t := range procedural.Space() {
		if t.Split != procedural.TrainSplit {
			held++
		}
	}
	table := procedural.TrainTasks()
	for _, n := range []int{20, 200, 1000} {
		steps, out, known := [4]int{}, 0, 0
		for _, task := range chooseTasks(n, 1) {
			if task.Split != procedural.TrainSplit {
				out++
				continue
			}
			steps[task.Steps()]++
			for _, one := range table {
				if one.Name == task.Name {
					known++
				}
			}
		}
		if got := steps[1] + steps[2] + steps[3]; got != n || out != held || known != min(n, len(table)) {
			t.Errorf("%d tasks asked for: %d, %d held out of %d, %d of the table", n, got, out, held, known)
		}
		if n == 200 && (steps[1] < 75 || steps[3] < 25) {
			t.Errorf("of 200 tasks %v have one, two and three steps", steps[1:])
		}
	}
}
