// Package progress is how libraries tell a caller how far they are. Libraries never print: they call a Func, and the
// command line turns the events into bars, lines or JSON.
package progress

// Event is one report of progress. Done counts from 0 to Total in units of the stage (steps, bytes, items); Total is
// 0 where the end isn't known.
type Event struct {
	Stage  string             `json:"stage"`
	Done   int64              `json:"done"`
	Total  int64              `json:"total,omitempty"`
	Note   string             `json:"note,omitempty"`
	Values map[string]float64 `json:"values,omitempty"` // measured quantities by name, such as "loss"
}

// Func receives events. A nil Func ignores them. A Func given to a library that works in parallel has to be safe for
// concurrent use.
type Func func(Event)

// Report calls f with e; it does nothing when f is nil.
func (f Func) Report(e Event) {
	if f != nil {
		f(e)
	}
}

// In returns a Func that reports the events of an inner stage as stage/inner.
func (f Func) In(stage string) Func {
	if f == nil {
		return nil
	}
	return func(e Event) {
		e.Stage = stage + "/" + e.Stage
		f(e)
	}
}
