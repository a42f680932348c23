package suggest

import "testing"

func TestNearest(t *testing.T) {
	choices := []string{"inspect", "logits", "spectrum", "improve", "seed", "n"}
	for word, want := range map[string]string{
		"inspct": "inspect", "specturm": "spectrum", "sed": "seed", "improve": "improve",
		"zzzzzz": "", "": "n", "logitss": "logits",
	} {
		if got := Nearest(word, choices); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"abc", "acb", 1}, {"é", "", 2}, {"flaw", "lawn", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
