package engine

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"d2nwg/llm"
)

// stories is a shape of 15 million parameters, deepened to eight layers.
func stories() llm.Config {
	c := tiny()
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.Layers, c.Heads, c.KVHeads, c.HeadDim = 4096, 288, 768, 8, 6, 6, 48
	c.MaxPositions = 1024
	return c
}

// fewShot makes multiple choice behind a shared prefix: questions of 60 tokens with choices of 8 each.
func fewShot(vocab, prefix, questions, choices int) []Request {
	random := rand.New(rand.NewPCG(5, 5))
	shots := randomIDs(random, prefix, vocab)
	var reqs []Request
	for range questions {
		question := append(append([]int{}, shots...), randomIDs(random, 60, vocab)...)
		for range choices {
			reqs = append(reqs, Request{append(append([]int{}, question...), randomIDs(random, 8, vocab)...), len(question)})
		}
	}
	return reqs
}

// BenchmarkFewShot compares a planned pass with naive ones, each request by itself: 600 shared tokens, 100 questions, 4
// choices. The naive time is measured on every tenth request.
func BenchmarkFewShot(b *testing.B) {
	checkpoint, _ := randomModel(b, stories(), 1)
	m, err := New(checkpoint, Options{Arithmetic: BF16})
	if err != nil {
		b.Fatal(err)
	}
	reqs := fewShot(m.config.VocabSize, 600, 100, 4)
	workers := runtime.GOMAXPROCS(0)
	for b.Loop() {
		p, err := m.NewPlan(reqs, workers)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if _, err := m.ScorePlan(context.Background(), p); err != nil {
			b.Fatal(err)
		}
		planned := time.Since(start)
		naive, tokens := time.Duration(0), 0
		for i, r := range reqs {
			tokens += len(r.input())
			if i%10 != 0 {
				continue
			}
			start := time.Now()
			if _, err := m.Score(context.Background(), reqs[i:i+1], workers); err != nil {
				b.Fatal(err)
			}
			naive += 10 * time.Since(start)
		}
		rows := float64(tokens) / float64(p.Rows())
		b.ReportMetric(rows, "tokens-ratio")
		b.ReportMetric(naive.Seconds()/planned.Seconds(), "time-ratio")
		b.ReportMetric(naive.Seconds()/planned.Seconds()/rows, "time/tokens")
	}
}

// BenchmarkVariants compares eight candidates that differ from the base in the top quarter of the layers, from the
// base's activations on, these included, with full passes. The activations are kept in memory, on disk, and nowhere.
func BenchmarkVariants(b *testing.B) {
	checkpoint, ref := randomModel(b, stories(), 1)
	replace := map[string][]float32{}
	for _, t := range checkpoint.Tensors() {
		if strings.Contains(t.Name, ".layers.6.") || strings.Contains(t.Name, ".layers.7.") {
			replace[t.Name] = ref.w[t.Name]
		}
	}
	pass := func(keep Budget, full bool) time.Duration {
		m, err := New(checkpoint, Options{Arithmetic: BF16, Keep: &keep})
		if err != nil {
			b.Fatal(err)
		}
		reqs := fewShot(m.config.VocabSize, 200, 40, 4)
		start := time.Now()
		p, err := m.NewPlan(reqs, runtime.GOMAXPROCS(0))
		if err != nil {
			b.Fatal(err)
		}
		defer p.Release()
		for range 8 {
			v, err := m.With(&llm.Variant{Base: checkpoint, Replace: replace})
			if err != nil {
				b.Fatal(err)
			}
			if full {
				v.first = 0
			}
			if _, err := v.ScorePlan(context.Background(), p); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	pass(Budget{}, true) // warms up
	for b.Loop() {
		full := pass(Budget{}, true).Seconds()
		b.ReportMetric(pass(Budget{Memory: 1 << 30}, false).Seconds()/full, "memory-of-full")
		b.ReportMetric(pass(Budget{Disk: 1 << 30}, false).Seconds()/full, "disk-of-full")
		b.ReportMetric(pass(Budget{}, false).Seconds()/full, "neither-of-full")
	}
	b.ReportMetric(0, "ns/op")
}
