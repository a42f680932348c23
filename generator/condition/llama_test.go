package condition

import (
	"math"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
)

// letters gives one id a byte; id 0 is the beginning of a text.
type letters struct{ tokenizer.Tokenizer }

func (letters) Encode(text string, special bool) ([]int, error) {
	var ids []int
	for _, b := range []byte(text) {
		ids = append(ids, int(b))
	}
	return ids, nil
}
func (letters) VocabSize() int   { return 256 }
func (letters) BOS() (int, bool) { return 0, true }

// echo has the hidden state (id, position, 1) and refuses more than its positions.
type echo struct {
	t         *testing.T
	positions int
}

func (e echo) Config() llm.Config {
	return llm.Config{VocabSize: 256, HiddenSize: 3, MaxPositions: e.positions}
}

func (e echo) Hidden(ids []int) ([]float32, error) {
	if len(ids) > e.positions || ids[0] != 0 {
		e.t.Errorf("the model was given %v", ids)
	}
	var h []float32
	for p, id := range ids {
		h = append(h, float32(id), float32(p), 1)
	}
	return h, nil
}

func TestEmbedIsTheMeanOverTheText(t *testing.T) {
	for _, c := range []struct {
		text      string
		positions int
		want      [3]float64
	}{
		{"abc", 8, [3]float64{98, 2, 1}},        // ids 97 98 99 at positions 1 2 3
		{"abcde", 4, [3]float64{99, 9. / 5, 1}}, // pieces of 3 and 2: positions 1 2 3 1 2
		{"aaaaaaa", 8, [3]float64{97, 4, 1}},    // exactly full
		{"aaaaaaaa", 8, [3]float64{97, 2.5, 1}}, // one more: two pieces of 4
	} {
		l, err := NewLLaMA(echo{t, c.positions}, letters{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Embed(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			if math.Abs(float64(got[i])-w) > 1e-5 {
				t.Errorf("%q with %d positions: %v, want %v", c.text, c.positions, got, c.want)
			}
		}
	}
}

// A description made of sentences is the mean of its sentences, whatever their lengths, order or the space between.
func TestEmbedIsTheMeanOfSentences(t *testing.T) {
	l, err := NewLLaMA(echo{t, 64}, letters{})
	if err != nil {
		t.Fatal(err)
	}
	embed := func(text string) []float32 {
		e, err := l.Embed(text)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	a, b, c := embed("abcdef."), embed("g!"), embed("h, 1.5 i")
	for _, text := range []string{"abcdef. g! h, 1.5 i", "g!\nh, 1.5 i\n\nabcdef.\n", "h, 1.5 i\nabcdef.   g!"} {
		for i, x := range embed(text) {
			if want := (a[i] + b[i] + c[i]) / 3; math.Abs(float64(x-want)) > 1e-4 {
				t.Errorf("%q: number %d is %v, want %v", text, i, x, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	l, err := NewLLaMA(echo{t, 8}, letters{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Embed(""); err == nil {
		t.Error("an empty text was embedded")
	}
	if _, err := NewLLaMA(echo{t, 1}, letters{}); err == nil {
		t.Error("a model of one position was accepted")
	}
}
