package zoo

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/eval"
	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// maxHeld bounds the questions that a member is asked.
const maxHeld = 200

// baseScore is what the base makes of a task's held questions.
type baseScore struct {
	data   string       // hash of the task's file
	scorer *eval.Scorer // nil where nothing is held
	items  []float64
}

// score asks a member and the base the task's held questions.
func (b *Builder) score(ctx context.Context, m *zoo.Member, v *llm.Variant, data *eval.Dataset) error {
	m.P = 1
	if b.asked.data != m.Data { // adapters of one task follow each other
		base, err := b.scoreBase(ctx, data)
		if err != nil {
			return fmt.Errorf("%s: %w", data.Name, err)
		}
		base.data = m.Data
		b.asked = base
	}
	base := b.asked
	if m.Held = len(base.items); m.Held == 0 {
		return nil
	}
	scores, err := base.scorer.Score(ctx, v, stats.Test)
	if err != nil {
		return err
	}
	m.Accuracy, m.BaseAccuracy = scores.Mean(), stats.Scores{Items: base.items}.Mean()
	_, _, m.P, err = stats.McNemar(scores.Items, base.items)
	return err
}

func (b *Builder) scoreBase(ctx context.Context, data *eval.Dataset) (baseScore, error) {
	if err := b.keepHeld(data); err != nil {
		return baseScore{}, err
	}
	if data.Items(stats.Test) == 0 {
		return baseScore{}, nil
	}
	scorer, err := eval.NewScorer(b.model, b.tok, data, eval.Options{})
	if err != nil {
		return baseScore{}, err
	}
	scores, err := scorer.Score(ctx, &llm.Variant{Base: b.base}, stats.Test)
	return baseScore{scorer: scorer, items: scores.Items}, err
}

// keepHeld leaves those of the test questions that the model has positions for, maxHeld at most.
func (b *Builder) keepHeld(data *eval.Dataset) error {
	encoder := eval.NewEncoder(b.tok)
	var err error
	data.Questions[stats.Test] = slices.DeleteFunc(data.Questions[stats.Test], func(q eval.Question) bool {
		prompt, answer, bad := encoder.Pair(q.Prompt, q.Answer)
		if bad != nil {
			err = bad
		}
		return len(prompt)+len(answer) > b.base.Config.MaxPositions
	})
	data.Limit(stats.Test, maxHeld)
	return err
}
