package sample

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

var ascii = func() tokenizer.Tokenizer {
	tok, err := tokenizer.Parse(tokenizer.NewASCII())
	if err != nil {
		panic(err)
	}
	return tok
}()

// script is a model that continues sequence i with the tokens of its answer, whatever the prompt.
type script struct {
	answers   [][]int
	positions int
}

func (s script) Config() llm.Config { return llm.Config{MaxPositions: s.positions} }

func (s script) Generate(ctx context.Context, prompts [][]int, next func(int, []float32) (int, bool)) error {
	done := make([]bool, len(prompts))
	for step := 0; slices.Contains(done, false); step++ {
		for i := range prompts {
			if done[i] {
				continue
			}
			logits := make([]float32, ascii.VocabSize())
			if step < len(s.answers[i]) {
				logits[s.answers[i][step]] = 9
			} else {
				logits[0] = float32(math.NaN())
			}
			_, more := next(i, logits)
			done[i] = !more
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// says returns the tokens of a text, ended by </s>.
func says(t *testing.T, text string) []int {
	t.Helper()
	ids, err := ascii.Encode(text, false)
	if err != nil {
		t.Fatal(err)
	}
	return append(ids, 2)
}

func TestRun(t *testing.T) {
	greedy := Options{TopP: 1, RepetitionPenalty: 1}
	texts := []string{"Hello\nUser: x", "né", "abcdefghij", ""}
	m := script{positions: 10}
	var reqs []Request
	for i, text := range texts {
		m.answers = append(m.answers, says(t, text))
		reqs = append(reqs, Request{Prompt: []int{1, 200}, Sequence: i})
	}
	pieces := make([]string, len(texts))
	got, err := Run(context.Background(), m, ascii, reqs, greedy, Ending{Tokens: []int{2}, Strings: []string{"\nUser"}},
		func(i int, text string) {
			if text == "" || i == 2 && len(text) != 1 {
				t.Errorf("the piece %q is given out", text)
			}
			pieces[i] += text
		})
	want := []Answer{
		{m.answers[0][:9], "Hello\nUse", Length}, // 2 + 9 − 1 tokens have the ten positions
		{m.answers[1][:3], "né", Stopped},
		{m.answers[2][:9], "abcdefghi", Length},
		{nil, "", Stopped},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (−want +got):\n%s", err, d)
	}
	if pieces[1] != "né" || pieces[2] != "abcdefghi" {
		t.Errorf("the pieces are %q", pieces)
	}
	m.positions = 100
	for text, keep := range map[string]bool{"Hello": false, "Hello\nUser": true} {
		e := Ending{Strings: []string{"\nUser"}, Keep: keep, MaxNew: 40}
		got, err = Run(context.Background(), m, ascii, reqs[:1], greedy, e, nil)
		if d := cmp.Diff([]Answer{{m.answers[0][:10], text, Stopped}}, got); err != nil || d != "" {
			t.Errorf("%v (−want +got):\n%s", err, d)
		}
	}
	// The script is that of sequence 0.
	got, err = Run(context.Background(), m, ascii, reqs[2:3], greedy, Ending{MaxNew: 3}, nil)
	if d := cmp.Diff([]Answer{{m.answers[0][:3], "Hel", Length}}, got); err != nil || d != "" {
		t.Errorf("%v (−want +got):\n%s", err, d)
	}
}

func TestRunFails(t *testing.T) {
	m := script{positions: 100, answers: [][]int{says(t, "abc"), says(t, "defghij")}}
	reqs := []Request{{Prompt: []int{1}}, {Prompt: []int{1}, Sequence: 1}}
	greedy := Options{TopP: 1, RepetitionPenalty: 1}
	got, err := Run(context.Background(), m, ascii, reqs, greedy, Ending{}, nil)
	if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "sequence 0") ||
		len(got) != 2 || got[1].Text[:4] != "defg" {
		t.Errorf("NaN gives %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	got, err = Run(ctx, m, ascii, reqs[:1], greedy, Ending{Strings: []string{"bx"}}, func(int, string) { cancel() })
	if !errors.Is(err, context.Canceled) || got[0].Text != "a" || got[0].Reason != "" {
		t.Errorf("an interrupted answer is %+v, %v", got, err)
	}
	if _, err := Run(context.Background(), m, ascii, reqs, Options{}, Ending{}, nil); err == nil {
		t.Error("a repetition penalty of 0 is taken")
	}
	if got, err := Run(context.Background(), m, ascii, nil, greedy, Ending{}, nil); err != nil || len(got) != 0 {
		t.Errorf("no requests give %v, %v", got, err)
	}
}

// An answer must not depend on what else is in its batch.
func TestAnswersAreIndependentOfCompany(t *testing.T) {
	dir := t.TempDir() + "/tiny"
	config := llm.Config{
		VocabSize: 355, HiddenSize: 16, IntermediateSize: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 4,
		MaxPositions: 40, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2},
	}
	if err := llm.RandomCheckpoint(dir, config, safetensors.F32, 0, 1); err != nil {
		t.Fatal(err)
	}
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := engine.New(c, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		prompts := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 354), 1, 12), 1, 5).Draw(rt, "prompts")
		var reqs []Request
		for i, p := range prompts {
			reqs = append(reqs, Request{p, i})
		}
		o := Options{
			Temperature: rapid.SampledFrom([]float64{0, 0.7, 1}).Draw(rt, "temperature"),
			TopK:        rapid.IntRange(0, 20).Draw(rt, "k"), TopP: 0.95,
			RepetitionPenalty: 1.2, Seed: rapid.Uint64().Draw(rt, "seed"),
		}
		e := Ending{Tokens: []int{2, 300}, Strings: []string{"a", "zz"}, MaxNew: rapid.IntRange(0, 12).Draw(rt, "most")}
		all, err := Run(context.Background(), m, ascii, reqs, o, e, nil)
		if err != nil {
			rt.Fatal(err)
		}
		for i := range reqs {
			alone, err := Run(context.Background(), m, ascii, reqs[i:i+1], o, e, nil)
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(alone[0], all[i]); d != "" {
				rt.Fatalf("answer %d (−alone +in company): %s", i, d)
			}
		}
	})
}
