package task

import (
	"errors"
	"fmt"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// The harness' seeds of few-shot draws.
const (
	fewshotSeed = 1234
	v1Seed      = 42 // also shuffles the documents
)

// sampler draws few-shots of a pool, document by document.
type sampler struct {
	pool   []Doc
	random *python.Random
	firstN bool
	// exclude tells that the evaluated document may be in the pool: one more is drawn and the document dropped.
	exclude bool
}

func (t *Task) sampler(seed int) (*sampler, error) {
	c := t.Config
	s := &sampler{pool: t.Pool, random: python.NewRandom(seed), exclude: c.Fewshot.Split == c.TestSplit}
	switch c.Fewshot.Sampler {
	case "default":
	case "first_n":
		s.firstN = true
	default:
		return nil, fmt.Errorf("task %s: there is no few-shot sampler %q, only default and first_n", c.Task, c.Fewshot.Sampler)
	}
	return s, nil
}

// draw returns the rows of the pool for a document.
func (s *sampler) draw(n int, doc Doc) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	if len(s.pool) == 0 {
		return nil, errors.New("there are no documents to draw few-shots from")
	}
	if s.firstN {
		return s.first(n, doc)
	}
	if !s.exclude || doc.Len() == 0 {
		return s.random.Sample(len(s.pool), n)
	}
	drawn, err := s.random.Sample(len(s.pool), n+1)
	if err != nil {
		return nil, err
	}
	rows := s.others(drawn, n, doc)
	if len(rows) < n {
		return nil, fmt.Errorf("only %d of %d few-shots differ from the document: the pool repeats it", len(rows), n)
	}
	return rows, nil
}

// others keeps the first n rows that differ from the document.
func (s *sampler) others(rows []int, n int, doc Doc) []int {
	kept := make([]int, 0, n)
	for _, row := range rows {
		if len(kept) == n {
			break
		}
		if !jinja.Equal(s.pool[row], doc) {
			kept = append(kept, row)
		}
	}
	return kept
}

func (s *sampler) first(n int, doc Doc) ([]int, error) {
	rows := make([]int, 0, n)
	for row := 0; row < len(s.pool) && len(rows) < n; row++ {
		if !s.exclude || !jinja.Equal(s.pool[row], doc) {
			rows = append(rows, row)
		}
	}
	if len(rows) < n {
		return nil, fmt.Errorf("%d few-shots are asked for, but only %d are there", n, len(rows))
	}
	return rows, nil
}
