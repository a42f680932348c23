package lm

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"d2nwg/llm/sample"
	"d2nwg/llm/tokenizer"
)

// usualMaxNew is how many tokens are generated where a task doesn't say.
const usualMaxNew = 256

// batchPrompts is how many prompts are continued together.
const batchPrompts = 16

// generation is how a prompt is continued. As JSON it identifies the question.
type generation struct {
	Stops  []string // with the end token's text
	MaxNew int
	Sample bool
	Draw   sample.Options
}

// Normalize completes generation_kwargs as the harness does: until is a list, max_gen_toks has its other names and its
// default, do_sample and temperature agree.
func Normalize(settings map[string]any) (map[string]any, error) {
	out := map[string]any{"until": []any{}, "max_gen_toks": int64(usualMaxNew)}
	for key, value := range settings {
		out[key] = value
	}
	if list, ok := out["until"].([]any); !ok {
		out["until"] = []any{out["until"]}
	} else {
		out["until"] = slices.Clone(list)
	}
	names := []string{"max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
	chosen := any(int64(usualMaxNew))
	for _, name := range slices.Backward(names) {
		if value := settings[name]; value != nil {
			chosen = value
		}
		delete(out, name)
	}
	most, ok := number(chosen)
	if !ok || most < 1 {
		return nil, fmt.Errorf("max_gen_toks is %v, want a number of tokens", chosen)
	}
	out["max_gen_toks"] = int64(most)
	temperature, ok := number(out["temperature"])
	if !ok && settings["temperature"] != nil {
		return nil, fmt.Errorf("temperature is %v, want a number", settings["temperature"])
	}
	switch draws := out["do_sample"].(type) {
	case nil:
		out["do_sample"] = temperature > 0
	case bool:
		if !draws {
			if _, given := settings["temperature"]; given {
				out["temperature"] = 0.0
			}
		}
	default:
		return nil, fmt.Errorf("do_sample is %v, want true or false", draws)
	}
	return out, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// newGeneration reads generation_kwargs. A setting that would change the text and that there is no way to follow is an
// error.
func (l *LM) newGeneration(settings map[string]any) (*generation, error) {
	all, err := Normalize(settings)
	if err != nil {
		return nil, err
	}
	g := &generation{Draw: sample.Off()}
	for key, value := range all {
		x, isNumber := number(value)
		switch key {
		case "until":
			for _, stop := range value.([]any) {
				s, ok := stop.(string)
				if !ok && stop != nil {
					return nil, fmt.Errorf("until holds %v, want text", stop)
				}
				g.Stops = append(g.Stops, s)
			}
			continue
		case "max_gen_toks":
			g.MaxNew = int(x)
		case "do_sample":
			g.Sample = value.(bool)
			continue
		case "temperature":
			g.Draw.Temperature = x
		case "top_p":
			g.Draw.TopP = x
		case "top_k":
			g.Draw.TopK = int(x)
		case "min_p":
			g.Draw.MinP = x
		case "repetition_penalty":
			g.Draw.RepetitionPenalty = x
		case "num_beams", "num_return_sequences":
			if value != int64(1) {
				return nil, fmt.Errorf("generation_kwargs: %s is %v; only 1 is possible here", key, value)
			}
		default:
			return nil, fmt.Errorf("generation_kwargs: there is no setting %s; use until, max_gen_toks, do_sample, temperature, top_p, top_k, min_p, repetition_penalty", key)
		}
		if !isNumber {
			return nil, fmt.Errorf("generation_kwargs: %s is %v, want a number", key, value)
		}
	}
	if !g.Sample {
		penalty := g.Draw.RepetitionPenalty
		g.Draw = sample.Options{TopP: 1, RepetitionPenalty: penalty} // temperature 0: the most likely token
	} else if _, given := settings["top_k"]; !given {
		g.Draw.TopK = 50 // the default of transformers
	}
	g.Draw.Seed = l.seed
	if l.eos != "" && !slices.Contains(g.Stops, l.eos) {
		g.Stops = append(g.Stops, l.eos)
	}
	return g, g.Draw.Check()
}

// batches groups prompts that are continued in the same way, in their order.
func batches(all []*asked) [][]*asked {
	var order []string
	groups := map[string][]*asked{}
	for _, a := range all {
		data, _ := json.Marshal(a.generation) // plain values always marshal
		if groups[string(data)] == nil {
			order = append(order, string(data))
		}
		groups[string(data)] = append(groups[string(data)], a)
	}
	var out [][]*asked
	for _, key := range order {
		out = slices.AppendSeq(out, slices.Chunk(groups[key], batchPrompts))
	}
	return out
}

// batchCost is how many tokens of prompts a batch computes: what all begin with once.
func batchCost(batch []*asked) int64 {
	shared := batch[0].prompt
	total := 0
	for _, a := range batch {
		total += len(a.prompt)
		n := 0
		for n < min(len(shared), len(a.prompt)-1) && shared[n] == a.prompt[n] {
			n++
		}
		shared = shared[:n]
	}
	if len(batch) < 2 {
		return int64(total)
	}
	return int64(total - len(shared)*(len(batch)-1))
}

// generate continues prompts, batch by batch.
func (s *session) generate(ctx context.Context) error {
	for _, batch := range batches(s.written) {
		if err := s.continued(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// writing is a prompt that is being continued.
type writing struct {
	sampler *sample.Sampler
	stream  *tokenizer.Stream
	tail    string // of what was written, as far as a stop string may reach
	ids     []int
}

func (s *session) continued(ctx context.Context, batch []*asked) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	going := make([]writing, len(batch))
	prompts := make([][]int, len(batch))
	for i, a := range batch {
		h := fnv.New32a()
		h.Write([]byte(a.key)) // the same numbers whatever is beside it
		sampler, err := sample.New(a.generation.Draw, int(h.Sum32()), a.prompt)
		if err != nil {
			return err
		}
		going[i] = writing{sampler: sampler, stream: tokenizer.NewStream(s.lm.tok, false)}
		prompts[i] = a.prompt
	}
	err := s.lm.engine.Generate(ctx, prompts, func(i int, logits []float32) (int, bool) {
		id, more, err := s.next(&going[i], batch[i], logits)
		if err != nil {
			cancel(err)
		}
		return id, more && err == nil
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// next takes the next token of a text; where that ends it, the answer is kept.
func (s *session) next(w *writing, a *asked, logits []float32) (id int, more bool, err error) {
	if id, err = w.sampler.Next(logits); err != nil {
		return 0, false, err
	}
	ended := slices.Contains(s.lm.ends, id)
	if !ended {
		w.ids = append(w.ids, id)
		w.tail += w.stream.Add(id)
		longest := 0
		for _, stop := range a.generation.Stops {
			ended = ended || stop != "" && strings.Contains(w.tail, stop)
			longest = max(longest, len(stop))
		}
		w.tail = w.tail[max(0, len(w.tail)-longest):]
	}
	if !ended && len(w.ids) < a.generation.MaxNew {
		return id, true, nil
	}
	text := s.lm.tok.Decode(w.ids, true)
	for _, stop := range a.generation.Stops {
		if stop != "" {
			text, _, _ = strings.Cut(text, stop)
		}
	}
	return id, false, s.keep(a.key, Answer{Text: text})
}
