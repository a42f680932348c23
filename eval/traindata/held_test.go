package traindata

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"d2nwg/eval"
	"d2nwg/internal/stats"
)

// Every held-out question is asked once, whatever the shape of the batches, and those that a row can't hold are left out.
func TestHeldAsksEverythingOnce(t *testing.T) {
	tok := ascii(t)
	data := &eval.Dataset{Name: "d", Questions: map[stats.Split][]eval.Question{}}
	var want []string
	for i := range 23 {
		q := eval.Question{Prompt: strings.Repeat("p", i%7+1) + fmt.Sprint(i) + ">", Answer: fmt.Sprint(i * i)}
		data.Questions[stats.Select] = append(data.Questions[stats.Select], q)
		want = append(want, q.Prompt+q.Answer)
	}
	data.Questions[stats.Select] = append(data.Questions[stats.Select], eval.Question{Prompt: strings.Repeat("long", 20), Answer: "x"})
	slices.Sort(want)
	for _, shape := range [][2]int{{1, 24}, {4, 40}, {30, 64}} {
		h, err := NewHeld(tok, data, stats.Select, shape[0], shape[1])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range h.Batches() {
			b, err := h.Batch(i)
			if err != nil {
				t.Fatal(err)
			}
			for row := range b.Rows {
				_, examples := examplesOf(t, tok, b, row)
				got = append(got, examples...)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("batches of %v hold %q, want %q", shape, got, want)
		}
		if n := len(h.Data().Questions[stats.Select]); n != 23 {
			t.Errorf("%d questions are laid out, want 23", n)
		}
		if beyond, err := h.Batch(h.Batches()); err != nil || beyond.LossTokens() != 0 {
			t.Errorf("behind the last batch there is something (%v)", err)
		}
	}
	if _, err := NewHeld(tok, data, stats.Test, 4, 40); err == nil {
		t.Error("an empty split: no error")
	}
}

// Every token of a held-out document is predicted once.
func TestHeldTextPredictsEveryTokenOnce(t *testing.T) {
	tok := ascii(t)
	documents := []string{"a document that is longer than a row", "short", strings.Repeat("x", 16), strings.Repeat("y", 17)}
	data := &eval.Dataset{Name: "d", Documents: map[stats.Split][]string{stats.Select: documents}}
	h, err := NewHeld(tok, data, stats.Select, 3, 16)
	if err != nil {
		t.Fatal(err)
	}
	want, got := 0, map[int32]int{}
	for _, d := range documents {
		want += len(d)
	}
	total := 0
	for i := range h.Batches() {
		b, _ := h.Batch(i)
		total += b.LossTokens()
		for k, w := range b.Weights {
			if w != 0 {
				got[b.Targets[k]]++
			}
		}
	}
	if x, y := tok.Encode("x", false); y != nil || got[int32(x[0])] != 16 || total != want {
		t.Errorf("%d tokens are predicted, want %d; x %d times", total, want, got[int32(x[0])])
	}
}
