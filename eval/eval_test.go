package eval

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/eval/procedural"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// letters is a tokenizer of single letters: 'a' is id 0, 'b' id 1 and so on; the last ids begin and end.
type letters struct {
	tokenizer.Tokenizer // nil: what eval doesn't call
	size, begin, end    int
}

func (l letters) Encode(text string, _ bool) ([]int, error) {
	ids := []int{}
	for _, c := range text {
		if c < 'a' || int(c-'a') >= l.size {
			return nil, fmt.Errorf("no token for %q", c)
		}
		ids = append(ids, int(c-'a'))
	}
	return ids, nil
}
func (l letters) EncodeOffsets(text string, special bool) (tokenizer.Encoding, error) {
	ids, err := l.Encode(text, special)
	return tokenizer.Encoding{IDs: ids}, err
}
func (l letters) Decode(ids []int, _ bool) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteByte(byte('a' + id))
	}
	return b.String()
}
func (l letters) VocabSize() int   { return l.size }
func (l letters) BOS() (int, bool) { return l.begin, l.begin >= 0 }
func (l letters) EOS() (int, bool) { return l.end, l.end >= 0 }

// tiny is a random model of 12 tokens, 16 positions.
func tiny(t *testing.T, seed uint64) (*llm.Checkpoint, *engine.Model) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	cfg := llm.Llama32_1B()
	cfg.VocabSize, cfg.HiddenSize, cfg.IntermediateSize, cfg.Layers = 12, 16, 24, 2
	cfg.Heads, cfg.KVHeads, cfg.HeadDim, cfg.MaxPositions = 2, 1, 8, 16
	cfg.RopeScaling, cfg.TieWordEmbeddings = nil, false
	if err := llm.RandomCheckpoint(dir, cfg, safetensors.DType("F32"), 0, seed); err != nil {
		t.Fatal(err)
	}
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := engine.New(c, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

func randomLetters(r *rand.Rand, n int) string {
	return letters{}.Decode(func() []int {
		ids := make([]int, n)
		for i := range ids {
			ids[i] = r.IntN(10)
		}
		return ids
	}(), false)
}

// Exact match by teacher forcing must be what greedy generation gives: an answer scores 1 if and only if the model,
// left alone after the prompt, writes it and then ends.
func TestExactIsGreedyGeneration(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	right, wrong := 0, 0
	for seed := range uint64(12) {
		c, m := tiny(t, seed)
		tok := letters{size: 12, begin: 11, end: int(seed) % 12} // some models like some token; let that one end answers
		d := &Dataset{Name: "test", Questions: map[stats.Split][]Question{}}
		var want []float64
		for range 40 {
			prompt := randomLetters(r, 1+r.IntN(4))
			p, _ := NewEncoder(tok).Prompt(prompt)
			const most = 8 // longer than any answer tried
			written, err := m.Greedy(context.Background(), p, most, func(id int) bool { return id == tok.end })
			if err != nil {
				t.Fatal(err)
			}
			if len(written) == most {
				written = nil // it goes on for ever: no answer is right
			}
			for _, answer := range []string{tok.Decode(written, false), randomLetters(r, 1+r.IntN(3)), randomLetters(r, 1)} {
				if _, _, err := NewEncoder(tok).Pair(prompt, answer); answer == "" || err != nil {
					continue // nothing, or the end token spelled out
				}
				expect := 0.0
				if answer == tok.Decode(written, false) {
					expect = 1
				}
				d.Questions[stats.Test] = append(d.Questions[stats.Test], Question{Prompt: prompt, Answer: answer})
				want = append(want, expect)
			}
		}
		s, err := NewScorer(m, tok, d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Score(context.Background(), &llm.Variant{Base: c}, stats.Test)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got.Items[i] != want[i] {
				t.Fatalf("model %d, %+v: exact match %g, greedy generation says %g", seed, d.Questions[stats.Test][i], got.Items[i], want[i])
			}
			if want[i] == 1 {
				right++
			} else {
				wrong++
			}
		}
	}
	t.Logf("%d answers that greedy decoding writes and %d that it doesn't agree with teacher forcing", right, wrong)
	if right < 20 || wrong < 100 {
		t.Errorf("only %d right and %d wrong answers: the test shows too little", right, wrong)
	}
}

// logSoftmax in float64 over one row of logits.
func logProb(row []float32, token int) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, x := range row {
		top = max(top, float64(x))
	}
	for _, x := range row {
		sum += math.Exp(float64(x) - top)
	}
	return float64(row[token]) - top - math.Log(sum)
}

// Bits per byte and margins must be those that the plain logits give, window by window.
func TestScoresFromLogits(t *testing.T) {
	c, m := tiny(t, 3)
	tok := letters{size: 12, begin: 11, end: 10}
	r := rand.New(rand.NewPCG(5, 5))
	texts := []string{randomLetters(r, 1), randomLetters(r, 7), randomLetters(r, 8), randomLetters(r, 40)}
	d := &Dataset{Documents: map[stats.Split][]string{stats.Test: texts}}
	const window = 8
	s, err := NewScorer(m, tok, d, Options{Context: window, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Score(context.Background(), &llm.Variant{Base: c}, stats.Test)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		ids, _ := tok.Encode(text, false)
		ids = append([]int{11}, ids...)
		var bits float64
		for k := 1; k < len(ids); k++ {
			start := (k - 1) / (window - 1) * (window - 1) // the window in which token k is predicted
			logits, err := m.Logits(ids[start:k])
			if err != nil {
				t.Fatal(err)
			}
			bits -= logProb(logits[len(logits)-12:], ids[k]) / math.Ln2
		}
		if want := -bits / float64(len(text)); math.Abs(got.Items[i]-want) > 1e-4 || got.Weights[i] != float64(len(text)) {
			t.Errorf("document %d: %g bits per byte of weight %g, want %g", i, got.Items[i], got.Weights[i], want)
		}
	}
	q := &Dataset{Questions: map[stats.Split][]Question{stats.Test: {{Prompt: "abc", Answer: "de"}, {Prompt: "jj", Answer: "a"}}}}
	for _, metric := range []string{Margin, Exact} {
		s, err = NewScorer(m, tok, q, Options{Metric: metric})
		if err != nil {
			t.Fatal(err)
		}
		got, err = s.Score(context.Background(), &llm.Variant{Base: c}, stats.Test)
		if err != nil {
			t.Fatal(err)
		}
		margins := got.Items
		if metric == Exact {
			margins = got.Tie
		}
		for i, question := range q.Questions[stats.Test] {
			p, _ := tok.Encode(question.Prompt, false)
			a, _ := tok.Encode(question.Answer, false)
			ids := append(append([]int{11}, p...), append(a, 10)...)
			logits, _ := m.Logits(ids)
			var sum float64
			for k := len(p) + 1; k < len(ids); k++ {
				row := logits[(k-1)*12 : k*12]
				other := math.Inf(-1)
				for id, x := range row {
					if id != ids[k] {
						other = max(other, float64(x))
					}
				}
				sum += float64(row[ids[k]]) - other
			}
			if want := sum / float64(len(a)+1); math.Abs(margins[i]-want) > 1e-4 {
				t.Errorf("%s %+v: margin %g, want %g", metric, question, margins[i], want)
			}
		}
	}
}

func TestBrokenCandidateScoresWorst(t *testing.T) {
	c, m := tiny(t, 4)
	tok := letters{size: 12, begin: 11, end: 10}
	w, _ := c.Float32("model.norm.weight")
	for i := range w {
		w[i] = float32(math.Inf(1))
	}
	broken := &llm.Variant{Base: c, Replace: map[string][]float32{"model.norm.weight": w}}
	q := &Dataset{Questions: map[stats.Split][]Question{stats.Test: {{Prompt: "abc", Answer: "de"}}}}
	s, err := NewScorer(m, tok, q, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Score(context.Background(), broken, stats.Test)
	if err != nil || got.Items[0] != 0 || got.Tie[0] != worst || !got.Broken {
		t.Errorf("scores %+v, %v", got, err)
	}
}

func TestScorerRefusals(t *testing.T) {
	_, m := tiny(t, 4)
	tok := letters{size: 12, begin: 11, end: 10}
	questions := &Dataset{Questions: map[stats.Split][]Question{stats.Test: {{Prompt: strings.Repeat("a", 20), Answer: "b"}}}}
	documents := &Dataset{Documents: map[stats.Split][]string{stats.Test: {"abc"}}}
	for name, f := range map[string]func() (*Scorer, error){
		"metric":    func() (*Scorer, error) { return NewScorer(m, tok, questions, Options{Metric: "accuracy"}) },
		"text":      func() (*Scorer, error) { return NewScorer(m, tok, documents, Options{Metric: Exact}) },
		"questions": func() (*Scorer, error) { return NewScorer(m, tok, questions, Options{Metric: BitsPerByte}) },
		"vocabulary": func() (*Scorer, error) {
			return NewScorer(m, letters{size: 13}, documents, Options{})
		},
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s, err := NewScorer(m, tok, questions, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Score(context.Background(), &llm.Variant{}, stats.Test); err == nil || !strings.Contains(err.Error(), "23 tokens") {
		t.Errorf("a question that is too long: %v", err)
	}
	if _, _, err := NewEncoder(tok).Pair("a", "bkc"); err == nil || !strings.Contains(err.Error(), "end token") {
		t.Errorf("an answer with the end token inside: %v", err)
	}
	s, _ = NewScorer(m, letters{size: 12, begin: -1, end: -1}, documents, Options{})
	if _, err := s.Score(context.Background(), &llm.Variant{}, stats.Test); err == nil {
		t.Error("text without a start token was scored")
	}
}

func TestProceduralDatasets(t *testing.T) {
	mix, err := procedural.ParseMix("sort+add+times")
	if err != nil {
		t.Fatal(err)
	}
	bare, described := FromMix(mix, false, 50, 1), FromMix(mix, true, 50, 1)
	if err := bare.CheckJudged(); err != nil {
		t.Fatal(err)
	}
	for _, split := range stats.Splits {
		if bare.Items(split) < 100 || bare.Items(split) != described.Items(split) || bare.Hash(split) == described.Hash(split) {
			t.Errorf("%s: %d bare, %d described", split, bare.Items(split), described.Items(split))
		}
		for i, q := range bare.Questions[split] {
			if d := described.Questions[split][i]; d.Prompt != mix.Description()+"\n"+q.Prompt || d.Answer != q.Answer {
				t.Fatalf("%+v and %+v", q, d)
			}
		}
	}
	if again := FromMix(mix, false, 50, 1); again.Hash(stats.Test) != bare.Hash(stats.Test) {
		t.Error("the same arguments gave other items")
	}
	scores := stats.Scores{Items: make([]float64, bare.Items(stats.Test))}
	for i, q := range bare.Questions[stats.Test] {
		scores.Items[i] = float64(len(q.Group))
	}
	for i, g := range bare.ByGroup(stats.Test, scores) {
		if name := mix.Tasks()[i].Name; g.Group != name || math.Abs(g.Mean-float64(len(name))) > 1e-12 || g.Items < 10 {
			t.Errorf("group %+v", g)
		}
	}
	all, err := FromTasks("all", procedural.All(), 10, 1)
	if err != nil || all.Items(stats.Test) < 590 {
		t.Fatalf("%d items, %v", all.Items(stats.Test), err)
	}
	hash := all.Hash(stats.Test)
	if all.Limit(stats.Test, 5); all.Items(stats.Test) != 5 || all.Hash(stats.Test) == hash {
		t.Error("Limit did nothing")
	}
}

// The scorer on real weights and text: the story model must be far better than a uniform guess, and worse with noise.
func TestGoldenBitsPerByte(t *testing.T) {
	shared := os.Getenv("D2NWG_SHARED")
	if shared == "" {
		shared = "../../shared"
	}
	texts, _ := filepath.Glob(filepath.Join(shared, "data", "*", "*.txt.gz"))
	model := filepath.Join(shared, "models", "stories260K")
	if _, err := os.Stat(model); err != nil || len(texts) == 0 {
		t.Skip("no story model or no text under D2NWG_SHARED")
	}
	d, err := ReadDocuments(texts[0], "", stats.DefaultShares)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d/%d/%d/%d documents", d.Items(stats.Train), d.Items(stats.Select), d.Items(stats.Confirm), d.Items(stats.Test))
	d.Limit(stats.Test, 5)
	c, err := llm.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tok, err := tokenizer.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	m, err := engine.New(c, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewScorer(m, tok, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Score(context.Background(), &llm.Variant{Base: c}, stats.Test)
	if err != nil {
		t.Fatal(err)
	}
	name := "model.layers.0.mlp.down_proj.weight"
	w, _ := c.Float32(name)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range w {
		w[i] += 0.1 * float32(r.NormFloat64())
	}
	noisy, err := s.Score(context.Background(), &llm.Variant{Base: c, Replace: map[string][]float32{name: w}}, stats.Test)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.4f bits per byte, %.4f with noise in one tensor", -base.Mean(), -noisy.Mean())
	if -base.Mean() > 1.5 || noisy.Mean() >= base.Mean() {
		t.Error("these can't be right")
	}
}
