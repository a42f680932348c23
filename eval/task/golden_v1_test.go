package task

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// v1Sizes are the numbers of documents of the data sets, which decide how they are shuffled.
var v1Sizes = map[string]int{"arc_challenge": 1172, "hellaswag": 10042, "winogrande": 1267, "gsm8k": 1319, "truthfulqa_mc": 817,
	"hendrycksTest-abstract_algebra": 100, "hendrycksTest-anatomy": 135, "hendrycksTest-high_school_us_history": 204,
	"hendrycksTest-moral_scenarios": 895}

func v1Task(name string) string {
	if subject, ok := strings.CutPrefix(name, "hendrycksTest-"); ok {
		return "mmlu_" + subject
	}
	return strings.Replace(name, "truthfulqa_mc", "truthfulqa_mc2", 1)
}

// TestGoldenV1 checks which documents the board of June 2023 took in which order, with which few-shots before them.
func TestGoldenV1(t *testing.T) {
	w := newWorld(t)
	built := map[string][]Instance{}
	held, all := 0, 0
	for _, line := range goldenLines(t, filepath.Join(w.folder, "v1legacy_b281b0921.jsonl")) {
		var row struct {
			Task          string `json:"task"`
			Position      *int   `json:"doc_position"`
			Index         int    `json:"hf_index"`
			NumFewshot    int    `json:"num_fewshot"`
			Indices       []int  `json:"fewshot_indices"`
			Context       string
			Contexts      []string
			Continuations []json.RawMessage `json:"continuations_or_until"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if row.Position == nil || v1Sizes[row.Task] == 0 {
			continue // results, or a set whose size isn't known here
		}
		all++
		if built[row.Task] == nil {
			built[row.Task] = w.buildV1(t, row.Task, row.NumFewshot)
		}
		in := built[row.Task][*row.Position]
		if row.Context == "" {
			row.Context = row.Contexts[0]
		}
		// Where the documents of a set differ in their number of choices, the file pairs a position with the prompt of
		// an earlier one; few-shots drawn at random tell which.
		earlier := built[row.Task][:*row.Position+1]
		begins := func(in Instance) bool { return strings.HasPrefix(row.Context, beforeQuestion(in.Requests[0].Context)) }
		switch {
		case in.TrueID != row.Index:
			t.Errorf("%s position %d: document %d, want %d", row.Task, *row.Position, in.TrueID, row.Index)
		case !slices.Equal(in.FewshotIndices, row.Indices):
			t.Errorf("%s position %d: few-shots %v, want %v", row.Task, *row.Position, in.FewshotIndices, row.Indices)
		case !begins(in) && (row.Task != "arc_challenge" || !slices.ContainsFunc(earlier, begins)):
			t.Errorf("%s position %d: the prompt is %q, want %q", row.Task, *row.Position, in.Requests[0].Context, row.Context)
		default:
			held++
		}
		if row.Task == "gsm8k" {
			var want struct{ Until []string }
			if err := json.Unmarshal(row.Continuations[0], &want); err != nil {
				t.Fatal(err)
			}
			until, _ := in.Requests[0].GenKwargs.Get("until")
			if got, err := textList(until, "until"); err != nil || !slices.Equal(got, want.Until) {
				t.Errorf("gsm8k stops at %v, want %v", got, want.Until)
			}
		}
	}
	t.Logf("%d of %d held", held, all)
}

// beforeQuestion cuts the question off, which is that of another document here.
func beforeQuestion(prompt string) string { return prompt[:strings.LastIndex(prompt, "\n\n")+2] }

// buildV1 builds a task over as many copies of its first document as the data set has.
func (w *world) buildV1(t *testing.T, name string, shots int) []Instance {
	t.Helper()
	c, err := w.config(v1Task(name))
	if err != nil {
		t.Fatal(err)
	}
	data := w.data(t, c)
	split := c.EvalSplit()
	data.Splits[split] = slices.Repeat(data.Splits[split][:1], v1Sizes[name])
	task, err := NewSession(nil).Open(c, data)
	if err != nil {
		t.Fatal(err)
	}
	in, err := task.Build(Options{Profile: V1, NumFewshot: &shots})
	if err != nil {
		t.Fatal(err)
	}
	return in
}
