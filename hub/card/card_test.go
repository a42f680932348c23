package card

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A report as improve writes it, shortened to three sources; figures are made up and all different.
const reportJSON = `{
 "run": "0123456789abcdef", "base": "aa11", "metric": "exact", "seed": 7, "alpha": 0.05, "opening": 1, "opening_alpha": 0.025,
 "splits": {"select": {"hash": "s1", "items": 200}, "confirm": {"hash": "c1", "items": 210}, "test": {"hash": "t1", "items": 620}},
 "base_scores": {"select": {"mean": 0.11}, "confirm": {"mean": 0.12}, "test": {"mean": 0.1316}},
 "sources": [
  {"name": "noise", "kind": "baseline", "evaluations": 48, "winner": "n0", "confirm": {"mean": 0.21}, "passed": true, "confirm_gain": {"against": "base", "gain": {"gain": 0.09, "low": 0.01, "high": 0.17, "lower": 0.02, "p": 0.2}},
   "test": {"mean": 0.2213}, "test_gain": {"against": "base", "gain": {"gain": 0.0897, "low": 0.0511, "high": 0.1283, "lower": 0.0571, "p": 0.001}}},
  {"name": "mean", "kind": "baseline", "evaluations": 48, "winner": "m0", "confirm": {"mean": 0.1}, "passed": false, "confirm_gain": {"against": "base", "gain": {"gain": -0.02}}},
  {"name": "generated", "kind": "generator", "evaluations": 48, "winner": "g0", "confirm": {"mean": 0.81}, "passed": true, "confirm_gain": {"against": "base", "gain": {"gain": 0.69, "low": 0.6, "high": 0.75}},
   "test": {"mean": 0.8426}, "test_gain": {"against": "base", "gain": {"gain": 0.711, "low": 0.672, "high": 0.7487, "lower": 0.678, "p": 0}, "mcnemar_p": 1e-90}}],
 "checkpoint": {"verified": true, "candidate": "generated", "reason": "generated gains at least +0.6780 over base (lower bound, level 0.025)",
  "comparisons": [{"against": "base", "gain": {"gain": 0.711, "low": 0.672, "high": 0.7487, "lower": 0.678, "p": 0}, "mcnemar_p": 1e-90}]},
 "generator": {"verified": true, "candidate": "generated", "reason": "generated gains at least +0.5819 over noise (lower bound, level 0.025)",
  "comparisons": [{"against": "noise", "gain": {"gain": 0.6213, "low": 0.5799, "high": 0.6621, "lower": 0.5819, "p": 0}, "mcnemar_p": 3e-70}]},
 "notes": ["mean did not pass the confirm gate: its winner gains -0.0200 over the base there."],
 "target": "rotl3+add+times", "describe": "Rotate the word to the left by 3.", "relatives": 70, "written": "generated"}`

func sample(t *testing.T, change func(*Card)) *Card {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, []byte(reportJSON), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ReadReport(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &Card{Repo: "alice/better", BaseModel: "org/base", BaseAddress: "hf://org/base@" + strings.Repeat("a", 40), License: License{ID: "apache-2.0"},
		Report: r, Recipe: []byte("# a comment\nbase: x\n\n# another\nseed: 7\n"), Files: map[string]string{"model.safetensors": strings.Repeat("b", 64)}, Version: "v1"}
	if change != nil {
		change(c)
	}
	return c
}

// render gives a card's header as any YAML reader sees it, and its body.
func render(t *testing.T, c *Card) (map[string]any, string) {
	t.Helper()
	data, err := c.Render()
	if err != nil {
		t.Fatal(err)
	}
	head, ok := header(string(data))
	if !ok {
		t.Fatalf("no header:\n%s", data)
	}
	var h map[string]any
	if err := yaml.Unmarshal([]byte(head), &h); err != nil {
		t.Fatalf("%v in\n%s", err, head)
	}
	_, body, _ := strings.Cut(string(data)[4:], "\n---\n")
	return h, body
}

func TestHeader(t *testing.T) {
	h, body := render(t, sample(t, nil))
	for key, want := range map[string]string{
		"license": "apache-2.0", "base_model": "[org/base]", "base_model_relation": "finetune", "pipeline_tag": "text-generation",
		"library_name": "transformers", "tags": "[d2nwg generated-weights safetensors]",
		"model-index": "[map[name:better results:[map[dataset:map[name:rotl3+add+times split:test type:rotl3+add+times] " +
			"metrics:[map[name:exact match type:exact_match value:0.8426]] task:map[name:Text Generation type:text-generation]]]]]",
	} {
		if got := fmt.Sprint(h[key]); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	for _, want := range []string{
		"**Is the checkpoint better than its base?** verified", "**Is the generator better than every baseline?** verified",
		"| noise | +0.6213 | [+0.5799, +0.6621] | +0.5819 | 3e-70 |", "| base | | 0.1316 | | |", "**generated** (this model) | generator | 0.8426",
		"seed 7", "| data, test | t1 |", "aa11", "```yaml\nbase: x\nseed: 7\n```", "d2nwg chat hf://alice/better",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing from\n%s", want, body)
		}
	}
}

// TestFigures: every decimal figure of a card's text is one of the report, written shorter.
func TestFigures(t *testing.T) {
	c := sample(t, nil)
	_, body := render(t, c)
	var report any
	if err := json.Unmarshal([]byte(reportJSON), &report); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var walk func(x any)
	walk = func(x any) {
		switch x := x.(type) {
		case map[string]any:
			for _, v := range x {
				walk(v)
			}
		case []any:
			for _, v := range x {
				walk(v)
			}
		case float64:
			for _, f := range []string{"%.4f", "%.2g", "%.4g"} {
				known[fmt.Sprintf(f, math.Abs(x))] = true
			}
		}
	}
	walk(report)
	text, _, _ := strings.Cut(body, "## Made by")
	figures := regexp.MustCompile(`[0-9]+\.[0-9]+(?:e[+-][0-9]+)?|[0-9]+e[+-][0-9]+`).FindAllString(text, -1)
	if len(figures) < 20 {
		t.Fatalf("only %d figures", len(figures))
	}
	for _, f := range figures {
		if !known[f] {
			t.Errorf("%s is not in the report", f)
		}
	}
}

func TestUnverifiedIsTheFirstLine(t *testing.T) {
	for name, change := range map[string]func(*Card){
		"no verdict":     func(c *Card) { c.Report.Checkpoint = Verdict{Reason: "no candidate passed the confirm gate"} },
		"another winner": func(c *Card) { c.Report.Checkpoint.Candidate = "noise" },
	} {
		_, body := render(t, sample(t, change))
		if !strings.HasPrefix(body, "**No verified improvement.** ") {
			t.Errorf("%s: the card begins with %q", name, body[:40])
		}
	}
	c := sample(t, func(c *Card) {
		c.Report.Checkpoint, c.Report.Opening = Verdict{Reason: "no candidate passed the confirm gate"}, 0
		for i := range c.Report.Sources {
			c.Report.Sources[i].Test, c.Report.Sources[i].TestGain = nil, nil
		}
	})
	h, body := render(t, c)
	if got := fmt.Sprint(h["model-index"]); !strings.Contains(got, "split:confirm") || !strings.Contains(got, "value:0.81") {
		t.Errorf("without a test the results are %s", got)
	}
	if !strings.Contains(body, "The test split was not opened.") {
		t.Error("the card hides that the test was not opened")
	}
}

func TestBitsPerByteIsShownPositive(t *testing.T) {
	h, body := render(t, sample(t, func(c *Card) {
		c.Report.Metric = "bits_per_byte"
		for i := range c.Report.Sources {
			if s := &c.Report.Sources[i]; s.Test != nil {
				s.Test.Mean *= -1
			}
		}
	}))
	if got := fmt.Sprint(h["model-index"]); !strings.Contains(got, "type:bits_per_byte value:0.8426") || strings.Contains(body, "| -0.8426") {
		t.Errorf("%s\n%s", got, body)
	}
}

func TestPatchCard(t *testing.T) {
	h, body := render(t, sample(t, func(c *Card) {
		c.Patch = &Patch{Base: map[string]string{"model.safetensors": "b1"}, Result: map[string]string{"model.safetensors": "r1"}}
	}))
	if fmt.Sprint(h["library_name"]) != "d2nwg" || !strings.Contains(fmt.Sprint(h["tags"]), "patch") {
		t.Errorf("header %v", h)
	}
	want := "d2nwg apply hf://org/base@" + strings.Repeat("a", 40) + " hf://alice/better --out better"
	for _, part := range []string{want, "| base, model.safetensors | b1 |", "| result, model.safetensors | r1 |"} {
		if !strings.Contains(body, part) {
			t.Errorf("%q is missing", part)
		}
	}
}

// TestRelation: a blend of relatives is a merge.
func TestRelation(t *testing.T) {
	h, _ := render(t, sample(t, func(c *Card) { c.Report.Written = "mean"; c.Report.Checkpoint.Candidate = "mean" }))
	if h["base_model_relation"] != "merge" {
		t.Error(h["base_model_relation"])
	}
	h, _ = render(t, sample(t, func(c *Card) { c.BaseModel = "" }))
	if _, ok := h["base_model"]; ok || h["base_model_relation"] != nil {
		t.Errorf("a base that isn't published is named: %v", h)
	}
}

// TestHostileWords: names and reasons out of files can't end a table, a fence or the header, nor add markup.
func TestHostileWords(t *testing.T) {
	evil := "x\n---\n# Owned | <script>alert(1)</script> [a](javascript:b) `c` **d** \x00\xff"
	c := sample(t, func(c *Card) {
		c.Report.Target, c.Report.Describe, c.Report.Notes, c.Version = evil, evil, []string{evil}, evil
		c.Report.Sources[0].Name, c.Report.Checkpoint.Reason, c.Report.Generator.Comparisons[0].Against = evil, evil, evil
		c.License.Name = evil
		c.Recipe = []byte("base: x\n```\nowned: |\n")
		c.Files[evil] = evil
	})
	h, body := render(t, c)
	if name, _ := h["license_name"].(string); !strings.Contains(name, "Owned") {
		t.Errorf("the licence's name became %q", h["license_name"])
	}
	markup, _, _ := strings.Cut(body, "````yaml")
	if !strings.Contains(body, "````yaml\nbase: x\n```\n") || strings.Contains(markup, "\x00") {
		t.Errorf("the recipe's fence is wrong or a control character is left:\n%s", body)
	}
	plain := regexp.MustCompile(`\\.`).ReplaceAllString(markup, "") // what Markdown doesn't take as it stands
	if strings.Contains(plain, "\n# Owned") || strings.ContainsAny(plain, "<~$") {
		t.Errorf("hostile words got through:\n%s", markup)
	}
	for _, l := range strings.Split(plain, "\n") {
		if cells := strings.Count(l, "|"); strings.HasPrefix(l, "|") && cells != 3 && cells != 6 {
			t.Errorf("a row of %d cells: %s", cells-1, l)
		}
	}
}

func TestReadReportRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{
		"cut":     reportJSON[:200],
		"empty":   "{}",
		"nobody":  strings.Replace(reportJSON, `"written": "generated"`, `"written": "ghost"`, 1),
		"a list":  "[]",
		"a float": strings.Replace(reportJSON, `"seed": 7`, `"seed": 0.5`, 1),
	} {
		path := filepath.Join(dir, "r.json")
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadReport(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
