package adapters

import (
	"math"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/engine"
)

// answerLoss is the mean loss of one-token answers, computed by the engine: another implementation than the training graph.
func answerLoss(t *testing.T, v *llm.Variant, answer func(x int) int) float64 {
	t.Helper()
	m, err := engine.New(v.Base, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.With(v); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for x := range vocab {
		logits, err := m.Logits([]int{x})
		if err != nil {
			t.Fatal(err)
		}
		top := math.Inf(-1)
		for _, l := range logits {
			top = max(top, float64(l))
		}
		total := 0.0
		for _, l := range logits {
			total += math.Exp(float64(l) - top)
		}
		sum += top + math.Log(total) - float64(logits[answer(x)])
	}
	return sum / vocab
}
