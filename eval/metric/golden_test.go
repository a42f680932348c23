package metric

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goldenDir finds the recordings that the harness itself made.
func goldenDir(t *testing.T) string {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(root, "golden", "eval")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recordings in %s: set D2NWG_SHARED to the shared folder", dir)
	}
	return dir
}

func readRows(t *testing.T, path string) []map[string]any {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []map[string]any
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		rows = append(rows, decode(t, lines.Bytes()).(map[string]any))
	}
	return rows
}

// decode reads JSON with whole numbers as int64.
func decode(t *testing.T, data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return plain(v)
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// float reads a number; those that JSON can't hold are text.
func float(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case bool:
		return float64(number(v))
	case string:
		var f float64
		fmt.Sscan(strings.Replace(v, "inf", "Inf", 1), &f)
		return f
	}
	return math.NaN()
}

func near(got, want float64) bool {
	return got == want || math.IsNaN(got) && math.IsNaN(want) || math.Abs(got-want) <= 1e-9*math.Abs(want)
}

type row map[string]any

func (r row) Get(column string) (any, bool) {
	v, ok := r[column]
	return v, ok
}

// tally counts the rows of a file that held.
type tally struct{ held, all int }

func (c *tally) check(t *testing.T, name string, got, want float64, err error) {
	c.all++
	if err == nil && near(got, want) {
		c.held++
		return
	}
	t.Logf("%s: got %v (%v), want %v", name, got, err, want)
}

// TestGoldenMetrics judges the harness' recorded answers: filters, metrics of each document, aggregates.
func TestGoldenMetrics(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(goldenDir(t), "metrics_*.jsonl"))
	var total tally
	for _, file := range files {
		name := filepath.Base(file)
		switch name {
		case "metrics_primitives.jsonl":
			continue
		case "metrics_leaderboard_ifeval.jsonl", "metrics_leaderboard_math_hard.jsonl", "metrics_math_responses.jsonl":
			continue // checkers of their own
		}
		var c tally
		judgeFile(t, readRows(t, file), &c)
		t.Logf("%s: %d of %d held", name, c.held, c.all)
		total.held, total.all = total.held+c.held, total.all+c.all
	}
	if total.all == 0 || float64(total.held) < 0.999*float64(total.all) {
		t.Fatalf("%d of %d values held", total.held, total.all)
	}
}

// judgeFile groups a file's rows by task and filter; the row with the aggregate ends a task.
func judgeFile(t *testing.T, rows []map[string]any, c *tally) {
	pending := map[string][]map[string]any{}
	for _, r := range rows {
		task := r["task"].(string)
		aggregate, ok := r["aggregate"].(map[string]any)
		if !ok {
			pending[task] = append(pending[task], r)
			continue
		}
		judgeTask(t, task, r["config"].(map[string]any), pending[task], aggregate, c)
	}
}

func judgeTask(t *testing.T, task string, config map[string]any, rows []map[string]any, aggregate map[string]any, c *tally) {
	rule := Rule{Output: config["output_type"].(string), Str: func(v any) string { return fmt.Sprint(v) }}
	if strings.HasSuffix(task, "_mc2") {
		rule.Helper = "process_results_mc2"
	}
	for _, entry := range config["metric_list"].([]any) {
		s := Settings(entry.(map[string]any))
		m, err := NewMetric(s["metric"].(string), s, rule.Helper != "")
		if err != nil {
			t.Fatal(err)
		}
		rule.Metrics = append(rule.Metrics, m)
	}
	chains := chainsOf(t, config)
	values := map[string][]Value{}
	for _, r := range rows {
		name := fmt.Sprintf("%s document %v filter %v", task, r["doc_id"], r["filter"])
		kase, err := caseOf(r, chains, c, t, name)
		var measures []Measure
		if err == nil {
			measures, err = rule.Judge(kase)
		}
		want := r["metrics"].(map[string]any)
		got := map[string]Value{}
		for _, m := range measures {
			got[m.Name] = m.Value
			key := m.Name + "," + r["filter"].(string)
			values[key] = append(values[key], m.Value)
		}
		for key, w := range want {
			c.check(t, name+" "+key, float(got[key]), float(w), err)
		}
	}
	for key, v := range values {
		metric, filter, _ := strings.Cut(key, ",")
		for _, m := range rule.Metrics {
			if m.Name != metric {
				continue
			}
			got, err := m.Aggregation.Of(v)
			c.check(t, task+" "+key, got, float(aggregate[key]), err)
			got, _, err = m.Aggregation.StdErr(v, 100)
			c.check(t, task+" stderr "+key, got, float(aggregate[metric+"_stderr,"+filter]), err)
		}
	}
}

func chainsOf(t *testing.T, config map[string]any) map[string][]Filter {
	chains := map[string][]Filter{}
	list, _ := config["filter_list"].([]any)
	if list == nil {
		first, _ := NewFilter("take_first", nil)
		chains["none"] = []Filter{first}
	}
	for _, entry := range list {
		e := entry.(map[string]any)
		for _, step := range e["filter"].([]any) {
			s := Settings(step.(map[string]any))
			f, err := NewFilter(s["function"].(string), s)
			if err != nil {
				t.Fatal(err)
			}
			chains[e["name"].(string)] = append(chains[e["name"].(string)], f)
		}
	}
	return chains
}

// caseOf rebuilds a document with its answers, filtered.
func caseOf(r map[string]any, chains map[string][]Filter, c *tally, t *testing.T, name string) (Case, error) {
	kase := Case{Target: r["target"], Document: row{"mc2_targets": map[string]any{"labels": r["labels"]}}}
	var raw []any
	if response, ok := r["response"]; ok {
		raw = []any{[]any{response}}
	} else {
		greedy := r["is_greedy"].([]any)
		for i, l := range r["lls"].([]any) {
			raw = append(raw, []any{LogLikelihood{float(l), greedy[i].(bool)}})
			kase.Choices = append(kase.Choices, strings.TrimPrefix(r["continuations"].([]any)[i].(string), " "))
		}
	}
	var err error
	kase.Answers, err = Chain(chains[r["filter"].(string)], raw, make([]Document, len(raw)))
	if want, ok := r["filtered"]; ok && err == nil {
		c.all++
		if kase.Answers[0] == want {
			c.held++
		} else {
			t.Logf("%s: filtered %q, want %q", name, kase.Answers[0], want)
		}
	}
	return kase, err
}

// TestGoldenPrimitives checks single functions.
func TestGoldenPrimitives(t *testing.T) {
	var c tally
	for i, r := range readRows(t, filepath.Join(goldenDir(t), "metrics_primitives.jsonl")) {
		name := fmt.Sprintf("row %d %v", i+1, r["fn"])
		switch fn := r["fn"].(string); fn {
		case "exact_match":
			m, err := newExactMatch(r["kwargs"].(map[string]any))
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.share(texts(r["predictions"]), texts(r["references"]))
			c.check(t, name, got, float(r["out"]), err)
		case "aggregate_subtask_metrics":
			var values []float64
			var sizes []int
			for i, v := range r["metrics"].([]any) {
				values = append(values, float(v))
				sizes = append(sizes, int(r["sizes"].([]any)[i].(int64)))
			}
			c.check(t, name, GroupMean(values, sizes, true), float(r["weighted"]), nil)
			c.check(t, name, GroupMean(values, sizes, false), float(r["unweighted"]), nil)
		default:
			checkAggregation(t, &c, name, strings.TrimPrefix(fn, "bootstrap_"), r)
		}
	}
	if c.held != c.all {
		t.Errorf("%d of %d rows held", c.held, c.all)
	}
	t.Logf("%d of %d rows held", c.held, c.all)
}

func texts(v any) (out []string) {
	for _, s := range v.([]any) {
		out = append(out, s.(string))
	}
	return out
}

func checkAggregation(t *testing.T, c *tally, name, fn string, r map[string]any) {
	a, err := NewAggregation(fn)
	if err != nil {
		t.Fatal(err)
	}
	var values []Value
	for _, v := range r["items"].([]any) {
		pair, isPair := v.([]any)
		switch {
		case !isPair:
			values = append(values, float(v))
		case fn == "f1" || fn == "matthews_corrcoef":
			values = append(values, Label{int(pair[0].(int64)), int(pair[1].(int64))})
		case fn == "bleu" || fn == "chrf" || fn == "ter":
			values = append(values, Translation{[]string{pair[0].(string)}, pair[1].(string)})
		default:
			values = append(values, Ratio{float(pair[0]), int(pair[1].(int64))})
		}
	}
	if want, ok := r["out"]; ok {
		got, err := a.Of(values)
		c.check(t, name, got, float(want), err)
	}
	if want, ok := r["stderr"]; ok && want != nil {
		got, _, err := a.StdErr(values, 100)
		c.check(t, name+" stderr", got, float(want), err)
	}
	if want, ok := r["bootstrap_stderr"]; ok {
		got, err := bootstrap(a.of, values, int(r["bootstrap_iters"].(int64)))
		c.check(t, name+" bootstrap", got, float(want), err)
	}
}

// TestGoldenGroups pools the recorded subtasks of the leaderboard's groups.
func TestGoldenGroups(t *testing.T) {
	dir := goldenDir(t)
	var c tally
	for group, file := range map[string]string{"leaderboard_bbh": "metrics_leaderboard_bbh.jsonl", "leaderboard_musr": "metrics_leaderboard_musr.jsonl"} {
		data, err := os.ReadFile(filepath.Join(dir, "leaderboard_group_results.json"))
		if err != nil {
			t.Fatal(err)
		}
		want := decode(t, data).(map[string]any)[group].(map[string]any)[group].(map[string]any)
		var tasks []map[string]any
		for _, r := range readRows(t, filepath.Join(dir, file)) {
			if a, ok := r["aggregate"].(map[string]any); ok {
				tasks = append(tasks, a)
			}
		}
		c.group(t, group, "acc_norm", want, tasks)
	}
	data, err := os.ReadFile(filepath.Join(dir, "mmlu_group_results.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := decode(t, data).(map[string]any)
	var tasks []map[string]any
	for name, r := range all["results"].(map[string]any) {
		if _, isGroup := all["groups"].(map[string]any)[name]; !isGroup {
			tasks = append(tasks, r.(map[string]any))
		}
	}
	c.group(t, "mmlu", "acc", all["groups"].(map[string]any)["mmlu"].(map[string]any), tasks)
	if c.held != c.all || c.all != 6 {
		t.Errorf("%d of %d values held", c.held, c.all)
	}
}

func (c *tally) group(t *testing.T, name, metric string, want map[string]any, tasks []map[string]any) {
	var values, errors []float64
	var sizes []int
	for _, a := range tasks {
		values = append(values, float(a[metric+",none"]))
		errors = append(errors, float(a[metric+"_stderr,none"]))
		sizes = append(sizes, int(a["sample_len"].(int64)))
	}
	c.check(t, name, GroupMean(values, sizes, true), float(want[metric+",none"]), nil)
	c.check(t, name+" stderr", PooledStdErr(errors, sizes), float(want[metric+"_stderr,none"]), nil)
}

// TestGoldenBoard normalizes recorded scores of the second leaderboard.
func TestGoldenBoard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(goldenDir(t), "leaderboard_v2_normalization.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c tally
	cases := decode(t, data).(map[string]any)["cases"].([]any)
	for i, entry := range cases {
		r := entry.(map[string]any)
		b := Board{IFEvalPrompt: float(r["prompt_level_strict_acc"]), IFEvalInst: float(r["inst_level_strict_acc"])}
		for name, v := range r["raw_subtasks"].(map[string]any) {
			b[name] = float(v)
		}
		for _, name := range []string{"leaderboard_gpqa", "leaderboard_mmlu_pro", "leaderboard_math_hard"} {
			b[name] = float(r[name])
		}
		scores, average, complete := b.Normalize()
		if !complete {
			t.Fatalf("case %d is not complete", i+1)
		}
		names := map[string]string{"BBH": "leaderboard_bbh", "MUSR": "leaderboard_musr", "GPQA": "leaderboard_gpqa", "MMLU-PRO": "leaderboard_mmlu_pro", "MATH": "leaderboard_math_hard", "IFEval": "leaderboard_ifeval"}
		for short, want := range r["normalized"].(map[string]any) {
			c.check(t, fmt.Sprintf("case %d %s", i+1, short), scores[names[short]], float(want), nil)
		}
		c.check(t, fmt.Sprintf("case %d average", i+1), average, float(r["average"]), nil)
	}
	if c.held != c.all {
		t.Errorf("%d of %d values held", c.held, c.all)
	}
	t.Logf("%d cases, %d of %d values held", len(cases), c.held, c.all)
}
