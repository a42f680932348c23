// Package ui is how commands speak: results on standard output as tables or JSON, progress and notes on
// standard error as bars, lines or JSON events, metrics.jsonl files and plots.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8/cwriter"
)

// Options say where a UI writes and how much.
type Options struct {
	Out, Err io.Writer
	JSON     bool // results as JSON; progress as JSON lines when Err is no terminal
	Quiet    bool // no progress, no notes
	Progress bool // report progress even when Err is no terminal
}

// Mode is the form progress takes on standard error.
type Mode int

// The forms of progress: none (piped or quiet), bars (terminal), sparse lines, JSON lines.
const (
	ModeNone Mode = iota
	ModeBars
	ModeLines
	ModeEvents
)

// UI writes results and progress for one command. Its methods are safe for concurrent use.
type UI struct {
	Out, Err io.Writer
	JSON     bool
	Mode     Mode

	mu       sync.Mutex // guards Err
	progress reporter
}

// New chooses the form of progress from o and from whether o.Err is a terminal.
func New(o Options) *UI {
	u := &UI{Out: o.Out, Err: o.Err, JSON: o.JSON}
	switch {
	case o.Quiet:
		u.Mode = ModeNone
	case IsTerminal(o.Err):
		u.Mode = ModeBars
	case o.Progress && o.JSON:
		u.Mode = ModeEvents
	case o.Progress:
		u.Mode = ModeLines
	}
	return u
}

// Result writes a command's result to standard output: v as indented JSON under --json, else what human
// writes.
func (u *UI) Result(v any, human func(w io.Writer)) error {
	if !u.JSON {
		w := &errWriter{w: u.Out}
		human(w)
		return w.err
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the result as JSON: %w", err)
	}
	_, err = u.Out.Write(append(data, '\n'))
	return err
}

// Notef writes a line about what is happening to standard error, when progress is reported at all.
func (u *UI) Notef(format string, args ...any) {
	if u.Mode == ModeNone {
		return
	}
	u.message("note", fmt.Sprintf(format, args...))
}

// Warnf writes a warning to standard error whatever the mode.
func (u *UI) Warnf(format string, args ...any) {
	u.message("warning", fmt.Sprintf(format, args...))
}

func (u *UI) message(kind, text string) {
	if u.Mode == ModeEvents || u.JSON {
		line, _ := json.Marshal(map[string]string{kind: text})
		u.writeErr(string(line) + "\n")
		return
	}
	if kind == "warning" {
		text = "warning: " + text
	}
	u.writeErr(text + "\n")
}

// writeErr puts one or more whole lines on standard error, above the bars if there are any.
func (u *UI) writeErr(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if bars, ok := u.progress.(*barReporter); ok {
		io.WriteString(bars.container, s)
		return
	}
	io.WriteString(u.Err, s)
}

// IsTerminal tells whether a reader or a writer is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && cwriter.IsTerminal(int(f.Fd()))
}

// errWriter keeps the first error of a sequence of writes, so that formatting code need not check each.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}
