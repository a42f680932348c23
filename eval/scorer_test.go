package eval

import (
	"context"
	"math/rand/v2"
	"testing"

	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// Some items, in any order, must get the bits that they get among all.
func TestScoreItemsIsPartOfScore(t *testing.T) {
	c, m := tiny(t, 6)
	tok := letters{size: 12, begin: 11, end: 10}
	r := rand.New(rand.NewPCG(6, 6))
	questions := &Dataset{Questions: map[stats.Split][]Question{}}
	documents := &Dataset{Documents: map[stats.Split][]string{}}
	const n = 30
	for range n {
		questions.Questions[stats.Select] = append(questions.Questions[stats.Select], Question{Prompt: randomLetters(r, 1+r.IntN(5)), Answer: randomLetters(r, 1+r.IntN(3))})
		documents.Documents[stats.Select] = append(documents.Documents[stats.Select], randomLetters(r, 1+r.IntN(40)))
	}
	for _, opt := range []struct {
		data   *Dataset
		metric string
	}{{questions, Exact}, {questions, Margin}, {documents, BitsPerByte}} {
		s, err := NewScorer(m, tok, opt.data, Options{Metric: opt.metric, Context: 8})
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Score(context.Background(), &llm.Variant{Base: c}, stats.Select)
		if err != nil || all.Broken {
			t.Fatal(err)
		}
		for _, count := range []int{0, 1, 7, n} {
			items := r.Perm(n)[:count]
			got, err := s.ScoreItems(context.Background(), &llm.Variant{Base: c}, stats.Select, items)
			if err != nil || len(got.Items) != count || got.Broken {
				t.Fatalf("%+v, %v", got, err)
			}
			for k, i := range items {
				if got.Items[k] != all.Items[i] || all.Tie != nil && got.Tie[k] != all.Tie[i] || all.Weights != nil && got.Weights[k] != all.Weights[i] {
					t.Fatalf("%s item %d: %+v is not in %+v", opt.metric, i, got, all)
				}
			}
		}
		if _, err := s.ScoreItems(context.Background(), &llm.Variant{Base: c}, stats.Select, []int{n}); err == nil {
			t.Error("an item beyond the split was scored")
		}
	}
}
