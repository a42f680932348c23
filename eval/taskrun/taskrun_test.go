package taskrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"d2nwg/eval/lm"
	"d2nwg/eval/metric"
	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// recordedTask rebuilds a task from a results file's configuration and its samples.
func recordedTask(t *testing.T, name string, config *jinja.Dict, documents int, samples []*jinja.Dict) *Task {
	text := func(d *jinja.Dict, key string) string {
		s, _ := mustGet(d, key).(string)
		return s
	}
	c := &task.Config{Task: name, TaskAlias: text(config, "task_alias"), OutputType: task.OutputType(text(config, "output_type")),
		TargetDelimiter: text(config, "target_delimiter"), Metadata: sub(config, "metadata")}
	if text(config, "process_results") != "" {
		c.ProcessResults = task.Function{Name: "utils.process_results_mc2"}
	}
	for _, entry := range mustGet(config, "metric_list").(*jinja.List).Items {
		d := entry.(*jinja.Dict)
		higher := mustGet(d, "higher_is_better").(bool)
		m := task.Metric{Name: text(d, "metric"), Aggregation: text(d, "aggregation"), HigherIsBetter: &higher, Args: jinja.NewDict()}
		for key, v := range d.All() {
			if k := key.(string); k != "metric" && k != "aggregation" && k != "higher_is_better" {
				m.Args.Put(k, v)
			}
		}
		c.Metrics = append(c.Metrics, m)
	}
	if filters, ok := mustGet(config, "filter_list").(*jinja.List); ok {
		for _, entry := range filters.Items {
			p := task.FilterPipeline{Name: text(entry.(*jinja.Dict), "name")}
			for _, step := range mustGet(entry.(*jinja.Dict), "filter").(*jinja.List).Items {
				d := step.(*jinja.Dict)
				args := jinja.NewDict()
				for key, v := range d.All() {
					if key != "function" {
						args.Put(key.(string), v)
					}
				}
				p.Steps = append(p.Steps, task.Filter{Function: text(d, "function"), Args: args})
			}
			c.Filters = append(c.Filters, p)
		}
	}
	made := &Task{Config: c, Documents: documents}
	seen := map[int]bool{}
	for _, s := range samples {
		if in := recordedInstance(name, c, s); !seen[in.TrueID] {
			seen[in.TrueID] = true
			made.Instances = append(made.Instances, in)
		}
	}
	return made
}

func recordedInstance(name string, c *task.Config, s *jinja.Dict) task.Instance {
	in := task.Instance{Task: name, TrueID: mustGet(s, "doc_id").(int), Doc: sub(s, "doc"), Target: mustGet(s, "target")}
	in.DocHash, in.PromptHash, in.TargetHash = mustGet(s, "doc_hash").(string), mustGet(s, "prompt_hash").(string), mustGet(s, "target_hash").(string)
	for _, v := range sub(s, "arguments").All() {
		args := v.(*jinja.Dict)
		q := task.Request{Type: task.Loglikelihood, Context: mustGet(args, "arg_0").(string)}
		if kwargs, ok := mustGet(args, "arg_1").(*jinja.Dict); ok {
			q.Type, q.GenKwargs = task.GenerateUntil, kwargs
		} else {
			q.Continuation = mustGet(args, "arg_1").(string)
			in.Choices = append(in.Choices, strings.TrimPrefix(q.Continuation, c.TargetDelimiter))
		}
		in.Requests = append(in.Requests, q)
	}
	if i, err := strconv.Atoi(in.Target.(string)); err == nil && c.OutputType == task.MultipleChoice {
		in.Target = i
	}
	in.Gold = in.Target
	if answer, ok := in.Doc.Get("option1"); ok && answer != nil { // WinoGrande: two contexts, one continuation
		n, _ := strconv.Atoi(mustGet(in.Doc, "answer").(string))
		in.Gold = n - 1
		for i := range in.Choices {
			in.Choices[i] = in.Requests[i].Context
		}
	}
	return in
}

// TestGoldenReport judges the answers that the harness recorded and writes what it wrote: every sample's bytes, every
// metric of tasks and groups, every task's hash.
func TestGoldenReport(t *testing.T) {
	for _, file := range goldenReports(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := readDict(t, data)
		files, err := SampleFiles(file)
		if err != nil {
			t.Fatal(err)
		}
		var tasks []*Task
		lines := map[string][]string{}
		for key, config := range sub(want, "configs").All() {
			name := key.(string)
			data, err := os.ReadFile(files[name])
			if err != nil {
				t.Fatal(err)
			}
			var samples []*jinja.Dict
			for line := range strings.Lines(string(data)) {
				lines[name] = append(lines[name], strings.TrimSuffix(line, "\n"))
				samples = append(samples, readDict(t, []byte(line)))
			}
			documents := mustGet(sub(sub(want, "n-samples"), name), "original").(int)
			tasks = append(tasks, recordedTask(t, name, config.(*jinja.Dict), documents, samples))
		}
		e, err := Evaluate(context.Background(), tasks, recordedGroups(want), FromSamples(files), Options{Resamples: 100})
		if err != nil {
			t.Fatal(err)
		}
		held := checkReport(t, e, want, lines)
		t.Logf("%s: %d values and samples held", filepath.Base(filepath.Dir(filepath.Dir(file))), held)
	}
}

func recordedGroups(want *jinja.Dict) (groups []Group) {
	for key, members := range sub(want, "group_subtasks").All() {
		g := Group{Group: &task.Group{Name: key.(string), Alias: pythonText(mustGet(sub(sub(want, "groups"), key.(string)), "alias"))}}
		for _, name := range members.(*jinja.List).Items {
			g.Children = append(g.Children, name.(string))
		}
		g.Tasks = g.Children
		metrics := map[string]bool{}
		for key := range sub(sub(want, "groups"), g.Name).All() {
			if name, _, ok := strings.Cut(key.(string), ","); ok && !strings.HasSuffix(name, "_stderr") {
				metrics[name] = true
			}
		}
		for name := range metrics {
			g.Aggregate = append(g.Aggregate, task.Aggregate{Metric: name, WeightBySize: true})
		}
		groups = append(groups, g)
	}
	return groups
}

func checkReport(t *testing.T, e *Evaluation, want *jinja.Dict, lines map[string][]string) (held int) {
	got := e.Results(Info{Limit: 4})
	for key, v := range sub(want, "results").All() {
		for field, w := range v.(*jinja.Dict).All() {
			g := mustGet(sub(sub(got, "results"), key.(string)), field.(string))
			if !equalNumbers(g, w) {
				t.Errorf("%s %s: %v, want %v", key, field, g, w)
				continue
			}
			held++
		}
	}
	for _, section := range []string{"task_hashes", "n-samples", "higher_is_better", "group_subtasks"} {
		if g, w := string(encode(mustGet(got, section), 0)), string(encode(mustGet(want, section), 0)); section != "task_hashes" && g != w {
			t.Errorf("%s: %s, want %s", section, g, w)
		}
	}
	for key, hash := range sub(want, "task_hashes").All() {
		if g := mustGet(sub(got, "task_hashes"), key.(string)); g != hash {
			t.Errorf("hash of %s: %v, want %v", key, g, hash)
		}
	}
	for _, r := range e.Tasks {
		for i, line := range lines[r.Task.Name()] {
			if g := string(encode(r.Samples[i], 0)); g != line {
				t.Errorf("sample %d of %s:\n%.600s\nwant\n%.600s", i+1, r.Task.Name(), g, line)
				continue
			}
			held++
		}
	}
	return held
}

func equalNumbers(a, b task.Value) bool {
	x, ok := a.(float64)
	y, ok2 := b.(float64)
	if !ok || !ok2 {
		return string(encode(a, 0)) == string(encode(b, 0))
	}
	return x == y || max(x-y, y-x) <= 1e-9*max(y, -y)
}

// fakeTask asks n documents with two choices each.
func fakeTask(n int) *Task {
	c := &task.Config{Task: "fake", OutputType: task.MultipleChoice, DocToChoice: task.Field{Value: "x"}}
	t := &Task{Config: c, Documents: n}
	for i := range n {
		in := task.Instance{TrueID: i, Doc: object("n", i), Choices: []string{"a", "b"}, Gold: i % 2, Target: i % 2,
			DocHash: fmt.Sprintf("d%d", i), PromptHash: "p", TargetHash: "t"}
		for k, choice := range in.Choices {
			in.Requests = append(in.Requests, task.Request{DocID: i, Index: k, Type: task.Loglikelihood, Context: fmt.Sprint("question ", i), Continuation: " " + choice, Repeats: 1})
		}
		t.Instances = append(t.Instances, in)
	}
	return t
}

func fakeAnswers(_ context.Context, t *Task) ([]any, lm.Tokens, error) {
	var out []any
	for i, in := range t.Instances {
		for k := range in.Requests {
			out = append(out, []any{metric.LogLikelihood{Sum: -float64((i*7 + k*3) % 5), Greedy: k == 0}})
		}
	}
	return out, lm.Tokens{Naive: 10, Computed: 5}, nil
}

// TestWrite: the files are named and filled as the harness does, are read back, rescored and compared.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	e, err := Evaluate(context.Background(), []*Task{fakeTask(20)}, nil, fakeAnswers, Options{Resamples: 100})
	if err != nil {
		t.Fatal(err)
	}
	path, err := e.Write(dir, Info{Model: "org/my:model", Limit: 20}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "org__my__model"); filepath.Dir(path) != want || !strings.HasPrefix(filepath.Base(path), "results_") {
		t.Fatalf("results in %s, want them in %s", path, want)
	}
	files, err := SampleFiles(path)
	if err != nil || files["fake"] == "" {
		t.Fatalf("samples: %v (%v)", files, err)
	}
	again, err := Evaluate(context.Background(), []*Task{fakeTask(20)}, nil, FromSamples(files), Options{Resamples: 100})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := string(encode(e.Tasks[0].result(), 0)), string(encode(again.Tasks[0].result(), 0)); a != b {
		t.Errorf("rescored: %s, want %s", b, a)
	}
	if !json.Valid(StrictJSON(e.Results(Info{}))) {
		t.Error("the results are no JSON")
	}
	same, err := Compare(path, filepath.Dir(path), 200, 0.05)
	if err != nil || len(same) != 2 || same[0].Gain != 0 || same[0].P != 1 || !same[0].Prompts {
		t.Errorf("compared with itself: %+v (%v)", same, err)
	}
	checks := Verify(readFile(t, path), readFile(t, path))
	for _, c := range checks {
		if !c.Same {
			t.Errorf("verified with itself: %+v", c)
		}
	}
}

func readFile(t *testing.T, path string) task.Doc {
	d, err := ReadResults(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCompareFindsADifference compares two models, one of which is right on ten documents more.
func TestCompareFindsADifference(t *testing.T) {
	better := func(ctx context.Context, t *Task) ([]any, lm.Tokens, error) {
		out, tokens, err := fakeAnswers(ctx, t)
		for i := range 12 {
			for k := range 2 {
				sum := -9.0
				if k == i%2 {
					sum = -1
				}
				out[2*i+k] = []any{metric.LogLikelihood{Sum: sum}}
			}
		}
		return out, tokens, err
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	var means []float64
	for i, answer := range []Answerer{fakeAnswers, better} {
		e, err := Evaluate(context.Background(), []*Task{fakeTask(40)}, nil, answer, Options{})
		if err != nil {
			t.Fatal(err)
		}
		means = append(means, e.Tasks[0].Metrics[0].Value)
		if _, err := e.Write(dirs[i], Info{Model: "m"}, true, nil); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Compare(filepath.Join(dirs[0], "m"), filepath.Join(dirs[1], "m"), 1000, 0.05)
	if err != nil {
		t.Fatal(err)
	}
	d := all[0]
	if d.Metric != "acc" || d.Gain != means[1]-means[0] || !(d.Low > 0 && d.Low < d.Gain && d.Gain < d.High) || d.Worse != 0 {
		t.Errorf("%+v, want a gain of %v", d, means[1]-means[0])
	}
	// All Better documents fall on one side: two-sided that is 2·½^Better.
	want := 2.0
	for range d.Better {
		want /= 2
	}
	if max(d.P-want, want-d.P) > 1e-12 || d.Adjusted < d.P {
		t.Errorf("p %v (Holm %v), want %v", d.P, d.Adjusted, want)
	}
}

// TestFailures: files that are no samples or results, and answers that don't fit, are errors that say so.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range map[string]string{"empty": "", "broken": "{", "list": "[1]"} {
		if _, err := ReadSamples(write(name+".jsonl", text)); err == nil || !strings.Contains(err.Error(), name+".jsonl") {
			t.Errorf("%s samples: %v", name, err)
		}
		if _, err := ReadResults(write(name+".json", text)); err == nil || !strings.Contains(err.Error(), name+".json") {
			t.Errorf("%s results: %v", name, err)
		}
	}
	if _, err := SampleFiles(dir); err == nil || !strings.Contains(err.Error(), "log_samples") {
		t.Errorf("no samples: %v", err)
	}
	odd := fakeTask(2)
	odd.Config.ProcessResults.Name = "utils.process_results_gen"
	if err := CheckTask(odd); err == nil || !strings.Contains(err.Error(), "utils.process_results_gen") {
		t.Errorf("an unknown helper: %v", err)
	}
	stop := errors.New("stop")
	_, err := Evaluate(context.Background(), []*Task{fakeTask(2)}, nil, func(context.Context, *Task) ([]any, lm.Tokens, error) { return nil, lm.Tokens{}, stop }, Options{})
	if !errors.Is(err, stop) || !strings.Contains(err.Error(), "fake") {
		t.Errorf("a failing model: %v", err)
	}
	_, err = Evaluate(context.Background(), []*Task{fakeTask(2)}, nil, func(context.Context, *Task) ([]any, lm.Tokens, error) { return []any{1}, lm.Tokens{}, nil }, Options{})
	if err == nil || !strings.Contains(err.Error(), "1 answers to 4 requests") {
		t.Errorf("too few answers: %v", err)
	}
}
