package procedural

import (
	"bufio"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/internal/stats"
)

// reference is a task as the Python reference (tasks.py) describes and samples it.
type reference struct {
	Name, Family, Input, Split, Description string
	Samples                                 [][2]string
	Majority                                float64 `json:"majority_baseline"`
}

func checkAgainst(t *testing.T, want []reference) {
	t.Helper()
	tasks := All()
	if len(tasks) != len(want) {
		t.Fatalf("%d tasks, the reference has %d", len(tasks), len(want))
	}
	samples := 0
	for i, w := range want {
		task := tasks[i]
		if task.Name != w.Name || task.Family != w.Family || task.Input != w.Input || task.Split != w.Split || task.Description != w.Description {
			t.Errorf("task %d is %+v, the reference says %+v", i, task, w)
			continue
		}
		for _, s := range w.Samples {
			if y, err := task.Apply(s[0]); err != nil || y != s[1] {
				t.Errorf("%s(%q) = %q (%v), the reference says %q", w.Name, s[0], y, err, s[1])
			}
			samples++
		}
	}
	t.Logf("%d tasks and %d samples agree with the reference", len(want), samples)
}

// testdata/samples.jsonl holds other samples than tasks.json, made by the Python reference with another seed.
func TestAgainstReferenceSamples(t *testing.T) {
	file, err := os.Open("testdata/samples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var want []reference
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r reference
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	checkAgainst(t, want)
}

func TestGoldenTasks(t *testing.T) {
	shared := os.Getenv("D2NWG_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	data, err := os.ReadFile(filepath.Join(shared, "tasks", "tasks.json"))
	if err != nil {
		t.Skipf("no reference tasks: %v", err)
	}
	var want []reference
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	checkAgainst(t, want)
	// The commonest answer's share tells whether the input distributions agree too.
	r := rand.New(rand.NewPCG(1, 1))
	worst := 0.0
	for i, task := range All() {
		counts, most := map[string]int{}, 0
		const draws = 4000
		for range draws {
			_, y := task.Draw(r)
			counts[y]++
			most = max(most, counts[y])
		}
		got, p := float64(most)/draws, want[i].Majority
		sigma := math.Sqrt(2 * max(p*(1-p), 0.002) / draws)
		worst = max(worst, math.Abs(got-p)/sigma)
		if math.Abs(got-p) > 4.5*sigma {
			t.Errorf("%s: the commonest answer has share %.3f, in the reference %.3f", task.Name, got, p)
		}
	}
	t.Logf("majority shares agree, worst %.1f sigma", worst)
}

func TestDrawsAreValidAndSeeded(t *testing.T) {
	for _, task := range All() {
		a, b := rand.New(rand.NewPCG(3, 9)), rand.New(rand.NewPCG(3, 9))
		for range 200 {
			x, y := task.Draw(a)
			if x2, y2 := task.Draw(b); x2 != x || y2 != y {
				t.Fatalf("%s: the same seed drew %q and %q", task.Name, x, x2)
			}
			if again, err := task.Apply(x); err != nil || again != y || y == "" {
				t.Fatalf("%s: drew %q>%q, Apply says %q, %v", task.Name, x, y, again, err)
			}
		}
	}
}

func TestApplyRefusesOtherInputs(t *testing.T) {
	for name, bad := range map[string][]string{
		"sort":   {"", "abc", "abcdefgh", "abck", "ab d", "3+4"},
		"add":    {"", "3", "3+", "100+1", "1+-1", "01+2", "1+2+3", "a+b", "1+ 2"},
		"times":  {"10+1", "3*4", "+3+4"},
		"parity": nil,
		"palin":  {"abca", "aba", "abababab"},
	} {
		task, err := Lookup(name)
		if bad == nil {
			if err == nil {
				t.Error("an unknown name was found")
			}
			continue
		}
		for _, x := range bad {
			if y, err := task.Apply(x); err == nil {
				t.Errorf("%s accepted %q and answered %q", name, x, y)
			}
		}
	}
}

func TestCutsOfSmallInputs(t *testing.T) {
	for kind, atLeast := range map[string]int{"digits": 8, "bits": 20, "pair": 900} {
		counts := map[stats.Split]int{}
		seen := map[string]bool{}
		for _, x := range inputs[kind].pool() {
			if !inputs[kind].valid(x) || seen[x] {
				t.Fatalf("%s: pool has %q wrong or twice", kind, x)
			}
			seen[x] = true
			counts[Cut(x)]++
		}
		t.Logf("%s: %v", kind, counts)
		for _, split := range stats.Splits {
			if counts[split] < atLeast {
				t.Errorf("%s: split %s has %d items, want at least %d", kind, split, counts[split], atLeast)
			}
		}
	}
}

// The rule that binds the whole product: no held-out task and no evaluation input is ever drawn for training.
func TestTrainingNeverSeesHeldOut(t *testing.T) {
	if n := len(TrainTasks()); n != 41 {
		t.Fatalf("%d training tasks, want 41", n)
	}
	for _, task := range All() {
		_, err := NewTraining(task)
		if (err == nil) != (task.Split == "train") {
			t.Errorf("%s (%s): NewTraining says %v", task.Name, task.Split, err)
		}
		if err != nil && !strings.Contains(err.Error(), task.Name) {
			t.Errorf("the refusal of %s doesn't name it: %v", task.Name, err)
		}
		renamed := task
		renamed.Split, renamed.Name = "train", "copy" // a forged task trains what its name says, not its rule
		if g, err := NewTraining(renamed); err != nil || g.tasks[0].rule("abcd") != "abcd" {
			t.Errorf("a forged %s reached training", task.Name)
		}
	}
	all, err := NewTraining(TrainTasks()...)
	if err != nil {
		t.Fatal(err)
	}
	evaluation := map[string]bool{}
	mixes := TrainingMixes()
	for _, split := range []stats.Split{stats.Select, stats.Confirm, stats.Test} {
		for _, item := range mixes[0].Items(split, 300, 1) {
			evaluation[item.X] = true
		}
	}
	r := rand.New(rand.NewPCG(5, 5))
	drawn := map[string]bool{}
	for range 20000 {
		item := all.Draw(r)
		task, err := Lookup(item.Task)
		if err != nil || task.Split != "train" {
			t.Fatalf("drew %s", item.Task)
		}
		if Cut(item.X) != stats.Train || evaluation[item.X] {
			t.Fatalf("drew %q of cut %s", item.X, Cut(item.X))
		}
		drawn[item.Task] = true
	}
	if len(drawn) != 41 {
		t.Errorf("%d of 41 tasks were drawn", len(drawn))
	}
	held, _ := Lookup("rotl2")
	mix, _ := NewMix(held)
	if _, err := mix.Training(); err == nil {
		t.Error("a mix with a held-out task reached training")
	}
}

func TestMixes(t *testing.T) {
	mixes := TrainingMixes()
	if len(mixes) != 35*3*3 {
		t.Fatalf("%d mixes", len(mixes))
	}
	mix, err := ParseMix("times+sort+add")
	if err != nil || mix.Name() != "sort+add+times" {
		t.Fatalf("%q %v", mix.Name(), err)
	}
	if want := "Put the letters of the word in alphabetical order. Add the two numbers. Multiply the two digits."; mix.Description() != want {
		t.Errorf("description %q", mix.Description())
	}
	for _, bad := range []string{"sort+copy", "nothing", "", "sort++add"} {
		if _, err := ParseMix(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if got := Prompt(mix.Description(), "3+4"); !strings.HasSuffix(got, "digits.\n3+4>") || Prompt("", "3+4") != "3+4>" {
		t.Errorf("prompt %q", got)
	}
}

func TestItemsAreDistinctInTheirCutAndUnambiguous(t *testing.T) {
	mix, _ := ParseMix("sort+add+times+flip")
	for _, split := range stats.Splits {
		seen := map[string]string{}
		counts := map[string]int{}
		for _, item := range mix.Items(split, 500, 7) {
			if other, twice := seen[item.X]; twice {
				t.Fatalf("%s: %q asks both %s and %s", split, item.X, other, item.Task)
			}
			seen[item.X] = item.Task
			counts[item.Task]++
			task, _ := Lookup(item.Task)
			if y, err := task.Apply(item.X); err != nil || y != item.Y || Cut(item.X) != split {
				t.Fatalf("%s: %+v (%v)", split, item, err)
			}
		}
		t.Logf("%s: %v", split, counts)
		if counts["sort"] != 500 || counts["add"] != 500 || counts["times"] < 8 || counts["times"] > 80 {
			t.Errorf("%s: counts %v", split, counts)
		}
	}
	a, b := mix.Items(stats.Test, 50, 1), mix.Items(stats.Test, 50, 1)
	for i := range a {
		if a[i] != b[i] {
			t.Fatal("the same seed gave other items")
		}
	}
	g, _ := NewTraining(TrainTasks()...)
	pairs, _ := ParseMix("add+times")
	only, err := pairs.Training()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		if item := only.Draw(r); (len(item.X) == 3) != (item.Task == "times") {
			t.Fatalf("ambiguous training item %+v", item)
		}
		if one := g.One(r); len(one.Tasks()) != 1 {
			t.Fatal("One kept several tasks")
		}
	}
}
