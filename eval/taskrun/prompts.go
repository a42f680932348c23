package taskrun

import (
	"fmt"
	"io"
	"strings"

	"d2nwg/eval/lm"
	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// WriteRequests writes what the task asks, a request a line of JSON.
func (t *Task) WriteRequests(w io.Writer) error {
	for _, in := range t.Instances {
		for _, q := range in.Requests {
			d := object("task", t.Name(), "doc_id", in.TrueID, "index", q.Index, "type", string(q.Type), "context", q.Context)
			if q.Type == task.GenerateUntil {
				d.Put("generation_kwargs", q.GenKwargs)
			} else {
				d.Put("continuation", q.Continuation)
			}
			d.Put("target", pythonText(in.Target))
			d.Put("doc_hash", in.DocHash)
			d.Put("prompt_hash", in.PromptHash)
			d.Put("target_hash", in.TargetHash)
			if _, err := w.Write(append(encodeStrict(d, 0), '\n')); err != nil {
				return err
			}
		}
	}
	return nil
}

// Prompts is the results file of tasks that no model has answered: their configurations and hashes.
func Prompts(tasks []*Task, groups []Group, info Info) (task.Doc, error) {
	e := &Evaluation{}
	for _, t := range tasks {
		lines, err := t.pipelines()
		if err != nil {
			return nil, err
		}
		rule, err := t.rule()
		if err != nil {
			return nil, err
		}
		r := &TaskResult{Task: t, Hash: t.hash(len(lines)), Tokens: lm.Tokens{}}
		for _, m := range rule.Metrics {
			r.higher = append(r.higher, higher{m.Name, m.HigherIsBetter})
		}
		e.Tasks = append(e.Tasks, r)
	}
	e.Groups = aggregateGroups(groups, e.Tasks)
	return e.Results(info), nil
}

// Summary tells what the table doesn't: the profile, the tokens, the leaderboard's normalized scores.
func Summary(results task.Doc) string {
	var b strings.Builder
	naive, computed := int64(0), int64(0)
	for _, v := range sub(results, "tokens").All() {
		d, _ := v.(*jinja.Dict)
		n, _ := mustGet(d, "naive").(int64)
		c, _ := mustGet(d, "computed").(int64)
		naive, computed = naive+n, computed+c
	}
	fmt.Fprintf(&b, "\nprofile %s", pythonText(mustGet(results, "profile")))
	if computed > 0 {
		fmt.Fprintf(&b, "; %d tokens computed for requests of %d (%.1f times fewer)", computed, naive, float64(naive)/float64(computed))
	}
	b.WriteByte('\n')
	if scores := sub(results, "leaderboard_v2_normalized"); scores.Len() > 0 {
		b.WriteString("\nnormalized as on the second Open LLM leaderboard:\n")
		for name, v := range scores.All() {
			fmt.Fprintf(&b, "  %-24s %6.2f\n", name, v)
		}
	}
	return b.String()
}

// Settings are settings of a command line as Python's values, in the order of their names.
func Settings(args map[string]any) task.Doc {
	d := map[string]task.Value{}
	for key, v := range args {
		if n, ok := v.(int64); ok {
			v = int(n)
		}
		d[key] = v
	}
	return byName(d)
}

// StrictJSON is results as JSON that every reader takes: null where Python writes NaN or Infinity.
func StrictJSON(v task.Value) []byte { return encodeStrict(v, 2) }
