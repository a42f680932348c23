// Package sample turns logits into text: it chooses tokens as Hugging Face transformers does with the same settings,
// and ends a text at stop tokens, stop strings or a length.
//
//	logits ─► repetition penalty ─► temperature ─► top-k ─► top-p ─► min-p ─► one draw ─► token ─► text ─► cut
//
// A choice is a pure function of the logits, the settings, the seed, the sequence's number and its tokens so far:
// neither the batch nor the machine changes it.
package sample

import (
	"fmt"
	"math"
)

// Options say how the next token is chosen. Off returns the settings that change nothing.
type Options struct {
	Temperature       float64 // logits are divided by it; 0: the most likely token, of equal ones the lowest id
	TopK              int     // draw from the k largest logits, and from those equal to the last of them; 0: from all
	TopP              float64 // draw from the fewest tokens whose probabilities add up to p; 1: from all
	MinP              float64 // draw from tokens at least this many times as likely as the likeliest; 0: from all
	RepetitionPenalty float64 // divides positive logits of tokens in the sequence, multiplies negative ones; 1: none
	Seed              uint64
}

// Off returns options that draw from the model's own distribution.
func Off() Options { return Options{Temperature: 1, TopP: 1, RepetitionPenalty: 1} }

// Check tells whether the options are possible, by the names that flags and generation_config.json share.
func (o Options) Check() error {
	positive := func(x float64) bool { return float32(x) > 0 && !math.IsInf(float64(float32(x)), 0) }
	switch {
	case o.Temperature != 0 && !positive(o.Temperature):
		return fmt.Errorf("temperature is %v, want a positive number, or 0 for the most likely token", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("top-k is %d, want a number of tokens, or 0 for all", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("top-p is %v, want 0 to 1", o.TopP)
	case !(o.MinP >= 0 && o.MinP <= 1):
		return fmt.Errorf("min-p is %v, want 0 to 1", o.MinP)
	case !positive(o.RepetitionPenalty):
		return fmt.Errorf("repetition penalty is %v, want a positive number, 1 for none", o.RepetitionPenalty)
	}
	return nil
}
