package taskrun

import (
	"context"
	"errors"

	"d2nwg/eval/lm"
	"d2nwg/eval/task"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
)

// answerKind is the kind of the journal's records that hold answers.
const answerKind = "answer"

// FromModel answers requests with a model. The journal (nil = none) keeps each answer under the model's key and the hash
// of what was asked, so an interrupted evaluation goes on at the request where it was.
func FromModel(m *lm.LM, modelKey string, j *journal.Journal, report progress.Func) Answerer {
	mem := lm.Memory{
		Get: func(key string) (a lm.Answer, ok bool, err error) {
			ok, err = j.Get(answerKind, modelKey+"/"+key, &a)
			return a, ok, err
		},
		Put: func(key string, a lm.Answer) error { return j.Append(answerKind, modelKey+"/"+key, a) },
	}
	return func(ctx context.Context, t *Task) ([]any, lm.Tokens, error) {
		reqs := t.requests()
		event := progress.Event{Stage: "eval", Total: int64(len(reqs)), Note: t.Name()}
		report.Report(event)
		answers, tokens, err := m.Ask(ctx, reqs, mem, func(done int) {
			event.Done = int64(done)
			report.Report(event)
		})
		if err != nil {
			return nil, tokens, errors.Join(err, j.Sync())
		}
		event.Done = event.Total
		report.Report(event)
		return t.grouped(reqs, answers), tokens, j.Sync()
	}
}

// requests lists everything a task asks, repetitions one after the other.
func (t *Task) requests() []lm.Request {
	var reqs []lm.Request
	for _, in := range t.Instances {
		for _, q := range in.Requests {
			r := lm.Request{Output: string(q.Type), Context: q.Context, Continuation: q.Continuation}
			switch q.Type {
			case task.LoglikelihoodRolling:
				r.Context = q.Continuation
			case task.GenerateUntil:
				r.Generation, _ = plain(q.GenKwargs).(map[string]any)
			}
			for r.Repeat = range max(1, q.Repeats) {
				reqs = append(reqs, r)
			}
		}
	}
	return reqs
}

// grouped puts the answers to a request's repetitions into a list.
func (t *Task) grouped(reqs []lm.Request, answers []lm.Answer) []any {
	var out []any
	for i, a := range answers {
		if reqs[i].Repeat == 0 {
			out = append(out, []any{})
		}
		last := len(out) - 1
		out[last] = append(out[last].([]any), a.Value(reqs[i].Output))
	}
	return out
}
