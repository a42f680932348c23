package condition

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// TestGoldenEmbedding reads a text with every shared model that has a tokenizer: whole, and in pieces through a model that claims to have
// few positions.
func TestGoldenEmbedding(t *testing.T) {
	shared := os.Getenv("D2NWG_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	files, err := filepath.Glob(filepath.Join(shared, "models", "*", "tokenizer.json"))
	if err != nil || len(files) == 0 {
		t.Skipf("no shared models with a tokenizer at %s; set D2NWG_SHARED", shared)
	}
	held := 0
	for _, file := range files {
		dir := filepath.Dir(file)
		tok, err := tokenizer.Open(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		c, err := llm.Open(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		m, err := engine.New(c, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		const text = "Once upon a time there was a little girl who liked to sort letters."
		for _, r := range []Reader{m, narrow{m, 9}} {
			if embedded(t, r, tok, text) {
				held++
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d embeddings held", held, 2*len(files))
}

// embedded compares an embedding with the mean over single reads of every token.
func embedded(t *testing.T, r Reader, tok tokenizer.Tokenizer, text string) bool {
	l, err := NewLLaMA(r, tok)
	if err != nil {
		t.Error(err)
		return false
	}
	got, err := l.Embed(text)
	if err != nil {
		t.Error(err)
		return false
	}
	ids, err := tok.Encode(text, false)
	if err != nil {
		t.Fatal(err)
	}
	bos, marked := tok.BOS()
	size := r.Config().MaxPositions
	if marked {
		size--
	}
	pieces := (len(ids) + size - 1) / size
	size = (len(ids) + pieces - 1) / pieces
	want := make([]float64, l.Len())
	for i := range ids { // the last state of the prefix that ends with token i
		prefix := ids[i-i%size : i+1]
		if marked {
			prefix = append([]int{bos}, prefix...)
		}
		h, err := r.Hidden(prefix)
		if err != nil {
			t.Fatal(err)
		}
		for k, x := range h[len(h)-l.Len():] {
			want[k] += float64(x) / float64(len(ids))
		}
	}
	for k, w := range want {
		if math.Abs(float64(got[k])-w) > 1e-4*(1+math.Abs(w)) {
			t.Errorf("number %d is %v, token by token it is %v", k, got[k], w)
			return false
		}
	}
	return true
}

// narrow is a model with fewer positions.
type narrow struct {
	Reader
	positions int
}

func (n narrow) Config() llm.Config {
	c := n.Reader.Config()
	c.MaxPositions = n.positions
	return c
}
