package taskrun

import (
	"fmt"
	"os"
	"regexp"

	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// A Check is whether something of a results file is the same here.
type Check struct {
	Task string `json:"task,omitempty"`
	What string `json:"what"`
	Same bool   `json:"same"`
	File string `json:"file"` // what the file holds
	Here string `json:"here"`
}

// ReadResults reads a results file of the harness.
func ReadResults(path string) (task.Doc, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := jinja.DecodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: not a results file: %w", path, err)
	}
	d, ok := v.(*jinja.Dict)
	if !ok || sub(d, "configs").Len() == 0 {
		return nil, fmt.Errorf("%s: not a results file of the harness: it has no configs", path)
	}
	return d, nil
}

// same are the fields of a task's configuration that prompts and scores depend on.
var same = []string{
	"dataset_path", "dataset_name", "training_split", "validation_split", "test_split", "fewshot_split", "doc_to_text", "doc_to_target",
	"doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "num_fewshot", "metric_list", "output_type",
	"generation_kwargs", "repeats", "filter_list",
}

// Verify compares a results file with another one, or with what an evaluation of the same tasks would write: for each
// task its documents' and prompts' hash and its configuration. Functions stand under their names here and as source
// text in the harness; these are not compared.
func Verify(file, here task.Doc) []Check {
	var all []Check
	for name := range sub(file, "configs").All() {
		task := name.(string)
		if _, ok := sub(here, "configs").Get(task); !ok {
			all = append(all, Check{task, "task", false, "there", "missing"})
			continue
		}
		hash := mustGet(sub(file, "task_hashes"), task)
		own := mustGet(sub(here, "task_hashes"), task)
		if hash == nil {
			all = append(all, Check{task, "task_hash", false, "missing: it was evaluated without --log_samples", pythonText(own)})
		} else {
			all = append(all, Check{task, "task_hash", hash == own, pythonText(hash), pythonText(own)})
		}
		a, b := sub(sub(file, "configs"), task), sub(sub(here, "configs"), task)
		for _, key := range same {
			x, y := mustGet(a, key), mustGet(b, key)
			if isFunction(x) || isFunction(y) {
				continue
			}
			if left, right := string(encode(x, 0)), string(encode(y, 0)); left != right {
				all = append(all, Check{task, key, false, left, right})
			}
		}
		for _, key := range []string{"versions", "n-shot"} {
			x, y := pythonText(mustGet(sub(file, key), task)), pythonText(mustGet(sub(here, key), task))
			if x != y {
				all = append(all, Check{task, key, false, x, y})
			}
		}
	}
	for _, key := range []string{"system_instruction", "chat_template_sha"} {
		x, y := pythonText(mustGet(file, key)), pythonText(mustGet(here, key))
		if x != y {
			all = append(all, Check{"", key, false, x, y})
		}
	}
	return all
}

// isFunction tells a function, by its source text or its name, from a template.
func isFunction(v task.Value) bool {
	s, ok := v.(string)
	return ok && functionText.MatchString(s)
}

var functionText = regexp.MustCompile(`^(def |utils\.\w+$|[a-z_]*utils\.\w+$|<function )`)
