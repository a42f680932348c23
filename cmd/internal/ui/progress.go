package ui

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"d2nwg/internal/progress"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// reporter shows progress events in one form.
type reporter interface {
	report(progress.Event)
	close()
}

// Progress returns the Func to hand to libraries. It is nil (and so costs nothing) when nothing is shown.
func (u *UI) Progress() progress.Func {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.progress == nil {
		switch u.Mode {
		case ModeBars:
			u.progress = newBarReporter(u)
		case ModeLines:
			u.progress = &lineReporter{write: u.writeErr, every: lineInterval, now: time.Now, stages: map[string]*stage{}}
		case ModeEvents:
			u.progress = &eventReporter{write: u.writeErr, every: eventInterval, now: time.Now, stages: map[string]*stage{}}
		default:
			return nil
		}
	}
	return u.progress.report
}

// Close ends the bars. It may be called more than once.
func (u *UI) Close() {
	u.mu.Lock()
	p := u.progress
	u.mu.Unlock()
	if p == nil {
		return
	}
	p.close()
	u.mu.Lock()
	u.progress = nil
	u.mu.Unlock()
}

// Tee sends every event to all funcs.
func Tee(funcs ...progress.Func) progress.Func {
	return func(e progress.Event) {
		for _, f := range funcs {
			f.Report(e)
		}
	}
}

const (
	lineInterval  = 10 * time.Second // between two lines of one stage
	eventInterval = time.Second      // between two JSON lines of one stage
)

// stage is what a reporter remembers of one stage to stay sparse.
type stage struct {
	began, last time.Time
	ended       bool
}

// due tells whether an event of a stage should be shown now: its first, its last, and one an interval.
func due(stages map[string]*stage, e progress.Event, now time.Time, every time.Duration) (*stage, bool) {
	s := stages[e.Stage]
	if s == nil || s.ended && e.Done < e.Total {
		s = &stage{began: now, last: now}
		stages[e.Stage] = s
		s.ended = e.Total > 0 && e.Done >= e.Total
		return s, true
	}
	if e.Total > 0 && e.Done >= e.Total {
		first := !s.ended
		s.ended = true
		return s, first
	}
	if now.Sub(s.last) < every {
		return s, false
	}
	s.last = now
	return s, true
}

// lineReporter writes sparse plain lines: "train 120/400 (30%) 12s loss 1.23".
type lineReporter struct {
	write  func(string)
	every  time.Duration
	now    func() time.Time
	mu     sync.Mutex
	stages map[string]*stage
}

func (r *lineReporter) report(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if s, show := due(r.stages, e, now, r.every); show {
		r.write(describeEvent(e, now.Sub(s.began)) + "\n")
	}
}

func (r *lineReporter) close() {}

// describeEvent puts an event on one line.
func describeEvent(e progress.Event, elapsed time.Duration) string {
	var b strings.Builder
	b.WriteString(e.Stage)
	if e.Total > 0 {
		fmt.Fprintf(&b, " %d/%d (%d%%)", e.Done, e.Total, 100*e.Done/e.Total)
	} else if e.Done > 0 {
		fmt.Fprintf(&b, " %d", e.Done)
	}
	if elapsed >= time.Second {
		fmt.Fprintf(&b, " %s", elapsed.Round(time.Second))
	}
	if e.Note != "" {
		b.WriteString(" " + e.Note)
	}
	if values := describeValues(e.Values); values != "" {
		b.WriteString(" " + values)
	}
	return b.String()
}

// describeValues lists measured quantities in the order of their names.
func describeValues(values map[string]float64) string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.4g", name, values[name])
	}
	return strings.Join(names, " ")
}

// eventReporter writes one JSON object a line: {"stage":…,"done":…,"total":…,"seconds":…}.
type eventReporter struct {
	write  func(string)
	every  time.Duration
	now    func() time.Time
	mu     sync.Mutex
	stages map[string]*stage
}

func (r *eventReporter) report(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s, show := due(r.stages, e, now, r.every)
	if !show {
		return
	}
	line, err := json.Marshal(struct {
		progress.Event
		Values  map[string]number `json:"values,omitempty"`
		Seconds float64           `json:"seconds"`
	}{e, numbers(e.Values), now.Sub(s.began).Seconds()})
	if err == nil {
		r.write(string(line) + "\n")
	}
}

func (r *eventReporter) close() {}

// barReporter draws one bar a stage on a terminal.
type barReporter struct {
	container *mpb.Progress
	mu        sync.Mutex
	bars      map[string]*bar
}

// bar is one stage on the terminal; text is what stands behind it.
type bar struct {
	*mpb.Bar
	mu   sync.Mutex
	text string
}

func newBarReporter(u *UI) *barReporter {
	return &barReporter{
		container: mpb.New(mpb.WithOutput(u.Err), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond)),
		bars:      map[string]*bar{},
	}
}

func (r *barReporter) report(e progress.Event) {
	r.mu.Lock()
	b := r.bars[e.Stage]
	if b == nil || b.Completed() && e.Done < e.Total {
		b = r.newBar(e)
		r.bars[e.Stage] = b
	}
	r.mu.Unlock()

	b.mu.Lock()
	b.text = strings.TrimSpace(e.Note + " " + describeValues(e.Values))
	b.mu.Unlock()
	if e.Total > 0 {
		b.SetTotal(e.Total, false)
	}
	b.SetCurrent(e.Done)
	if e.Total > 0 && e.Done >= e.Total {
		b.SetTotal(e.Total, true)
	}
}

// newBar adds a bar: name, bar, counters, elapsed time, values.
func (r *barReporter) newBar(e progress.Event) *bar {
	b := &bar{}
	text := func(decor.Statistics) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.text
	}
	b.Bar = r.container.AddBar(e.Total,
		mpb.PrependDecorators(decor.Name(e.Stage, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.CountersNoUnit("%d/%d", decor.WCSyncSpace),
			decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace),
			decor.Any(text, decor.WC{C: decor.DextraSpace | decor.DindentRight}),
		))
	return b
}

func (r *barReporter) close() {
	r.mu.Lock()
	for _, b := range r.bars {
		if !b.Completed() {
			b.Abort(false)
		}
	}
	r.mu.Unlock()
	r.container.Wait()
}
