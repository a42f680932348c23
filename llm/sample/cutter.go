package sample

import "strings"

// Cutter ends a text before the first of its stop strings, or right after it, wherever the pieces of the text are cut.
// Text that may turn out to be part of a stop string waits until that is known.
type Cutter struct {
	stops   []string
	keep    bool // the stop string is part of the text
	waiting string
	stopped bool
}

// NewCutter returns a cutter for stop strings; empty ones are never met. With keep the one met stays in the text.
func NewCutter(stops []string, keep bool) *Cutter { return &Cutter{stops: stops, keep: keep} }

// Add takes the next piece of the text. It returns what can be given out, and whether the text has ended; after that
// it gives nothing any more.
func (c *Cutter) Add(piece string) (text string, stopped bool) {
	if c.stopped {
		return "", true
	}
	text = c.waiting + piece
	c.waiting = ""
	// The text ends with the first character that completes a stop string; of several that end there the longest
	// counts. So the pieces don't matter.
	start, end := -1, len(text)+1
	for _, stop := range c.stops {
		at := strings.Index(text, stop)
		if stop == "" || at < 0 {
			continue
		}
		if to := at + len(stop); to < end || to == end && at < start {
			start, end = at, to
		}
	}
	if start >= 0 {
		c.stopped = true
		if c.keep {
			start = end
		}
		return text[:start], true
	}
	keep := 0
	for _, stop := range c.stops {
		for n := min(len(stop)-1, len(text)); n > keep; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				keep = n
			}
		}
	}
	c.waiting = text[len(text)-keep:]
	return text[:len(text)-keep], false
}

// Rest returns what still waits, at the end of the text.
func (c *Cutter) Rest() string {
	rest := c.waiting
	c.waiting = ""
	return rest
}
