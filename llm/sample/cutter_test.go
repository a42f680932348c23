package sample

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// cut is what a text comes to: character by character, it ends as soon as it contains a stop string.
func cut(text string, stops []string, keep bool) (string, bool) {
	for end := 1; end <= len(text); end++ {
		start := end
		for _, stop := range stops {
			if stop != "" && strings.HasSuffix(text[:end], stop) {
				start = min(start, end-len(stop))
			}
		}
		if start < end && keep {
			return text[:end], true
		}
		if start < end {
			return text[:start], true
		}
	}
	return text, false
}

// However a text is cut into pieces, what is given out is the same, and no more waits than may become a stop string.
func TestCutter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("abé")), 0, 5, -1)
		stops := rapid.SliceOfN(word, 0, 4).Draw(rt, "stops")
		pieces := rapid.SliceOfN(word, 0, 12).Draw(rt, "pieces")
		text := strings.Join(pieces, "")
		keep := rapid.Bool().Draw(rt, "keep")
		want, wantStopped := cut(text, stops, keep)
		longest := 0
		for _, stop := range stops {
			longest = max(longest, len(stop))
		}
		c := NewCutter(stops, keep)
		got, fed, stopped := "", 0, false
		for _, piece := range pieces {
			var more string
			more, stopped = c.Add(piece)
			got += more
			fed += len(piece)
			if !strings.HasPrefix(want, got) {
				rt.Fatalf("%q was given out, the text is %q", got, want)
			}
			if !stopped && fed-len(got) >= max(longest, 1) {
				rt.Fatalf("%d bytes wait, the longest stop string has %d", fed-len(got), longest)
			}
		}
		if got += c.Rest(); got != want || stopped != wantStopped {
			rt.Fatalf("%q with the stops %q gives %q, %v, want %q, %v", pieces, stops, got, stopped, want, wantStopped)
		}
	})
}

func TestCutterGivesOutAtOnce(t *testing.T) {
	c := NewCutter([]string{"\n\n", "User:"}, false)
	var got []string
	for _, piece := range []string{"Hi", "\n", "Us", "ers", "\n", "User", ": no"} {
		text, _ := c.Add(piece)
		got = append(got, text)
	}
	if want := []string{"Hi", "", "\n", "Users", "", "\n", ""}; !slices.Equal(got, want) {
		t.Errorf("given out %q, want %q", got, want)
	}
	if text, stopped := c.Add("more"); text != "" || !stopped || c.Rest() != "" {
		t.Errorf("after the end: %q, %v", text, stopped)
	}
}
