package ui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"d2nwg/internal/progress"
)

func TestModes(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want Mode
	}{
		{Options{}, ModeNone}, // a buffer is no terminal: silent
		{Options{Progress: true}, ModeLines},
		{Options{Progress: true, JSON: true}, ModeEvents},
		{Options{JSON: true}, ModeNone},
		{Options{Progress: true, Quiet: true}, ModeNone},
	} {
		c.o.Out, c.o.Err = io.Discard, &bytes.Buffer{}
		u := New(c.o)
		if u.Mode != c.want {
			t.Errorf("%+v: mode %d, want %d", c.o, u.Mode, c.want)
		}
		if (u.Progress() == nil) != (c.want == ModeNone) {
			t.Errorf("%+v: Progress() is nil: %v", c.o, u.Progress() == nil)
		}
		u.Close()
	}
}

func TestPipedIsSilentExceptForWarnings(t *testing.T) {
	var out, errs bytes.Buffer
	u := New(Options{Out: &out, Err: &errs})
	u.Notef("working")
	u.Progress().Report(progress.Event{Stage: "x", Done: 1, Total: 2})
	if errs.Len() != 0 || out.Len() != 0 {
		t.Errorf("wrote %q and %q", out.String(), errs.String())
	}
	u.Warnf("slow %s", "build")
	if errs.String() != "warning: slow build\n" {
		t.Errorf("warning: %q", errs.String())
	}
}

// clock is a time that moves only when told.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestLinesAreSparse(t *testing.T) {
	var lines []string
	c := &clock{time.Unix(0, 0)}
	r := &lineReporter{write: func(s string) { lines = append(lines, s) }, every: 10 * time.Second, now: c.now, stages: map[string]*stage{}}
	for step := int64(1); step <= 1000; step++ {
		c.t = c.t.Add(30 * time.Millisecond) // 30 seconds in all
		r.report(progress.Event{Stage: "train", Done: step, Total: 1000, Values: map[string]float64{"loss": 1 / float64(step), "a": 2}})
	}
	want := []string{
		"train 1/1000 (0%) a 2 loss 1\n",
		"train 335/1000 (33%) 10s a 2 loss 0.002985\n",
		"train 669/1000 (66%) 20s a 2 loss 0.001495\n",
		"train 1000/1000 (100%) 30s a 2 loss 0.001\n",
	}
	if strings.Join(lines, "") != strings.Join(want, "") {
		t.Errorf("got %q", lines)
	}
	r.report(progress.Event{Stage: "train", Done: 1000, Total: 1000})
	if len(lines) != len(want) {
		t.Errorf("the end was reported twice")
	}
	r.report(progress.Event{Stage: "train", Done: 1, Total: 5}) // the stage begins anew
	if len(lines) != len(want)+1 {
		t.Errorf("a second run of the stage was not reported")
	}
}

func TestEventsAreJSONEvenForNaN(t *testing.T) {
	var errs bytes.Buffer
	u := New(Options{Out: io.Discard, Err: &errs, JSON: true, Progress: true})
	u.Progress().Report(progress.Event{Stage: "s", Done: 2, Total: 2, Values: map[string]float64{"loss": math.NaN(), "x": 0.1}})
	u.Warnf("careful")
	u.Close()
	var got []map[string]any
	for s := bufio.NewScanner(&errs); s.Scan(); {
		var v map[string]any
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%v: %s", err, s.Bytes())
		}
		got = append(got, v)
	}
	if len(got) != 2 || got[0]["stage"] != "s" || got[0]["done"] != 2.0 || got[1]["warning"] != "careful" {
		t.Fatalf("got %v", got)
	}
	values := got[0]["values"].(map[string]any)
	if v, present := values["loss"]; v != nil || !present || values["x"] != 0.1 {
		t.Errorf("values %v", values)
	}
}

// TestBarsOnATerminal drives the bar reporter as a terminal would, from many goroutines.
func TestBarsOnATerminal(t *testing.T) {
	var errs syncBuffer
	u := &UI{Out: io.Discard, Err: &errs, Mode: ModeBars}
	report := u.Progress()
	var group sync.WaitGroup
	for _, stage := range []string{"a", "b", "unbounded"} {
		group.Go(func() {
			for i := int64(0); i <= 10; i++ {
				e := progress.Event{Stage: stage, Done: i, Total: 10, Values: map[string]float64{"loss": 1}}
				if stage == "unbounded" {
					e.Total = 0
				}
				report(e)
			}
		})
	}
	group.Wait()
	report(progress.Event{Stage: "a", Done: 0, Total: 3}) // begins anew and never ends
	done := make(chan struct{})
	go func() { u.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	u.Close()
}

// syncBuffer is a buffer safe for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func TestResult(t *testing.T) {
	var out bytes.Buffer
	value := map[string]int{"n": 3}
	human := func(w io.Writer) { io.WriteString(w, "three\n") }
	if err := New(Options{Out: &out, Err: io.Discard}).Result(value, human); err != nil || out.String() != "three\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	if err := New(Options{Out: &out, Err: io.Discard, JSON: true}).Result(value, human); err != nil || out.String() != "{\n  \"n\": 3\n}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	full := New(Options{Out: fullDisk{}, Err: io.Discard})
	if err := full.Result(value, human); !errors.Is(err, errFull) {
		t.Errorf("a failed write gave %v", err)
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestTableAlignsNumbersRight(t *testing.T) {
	table := NewTable("name", "score", "note")
	table.Row("μ", 0.12345, "")
	table.Row("base", 12, "x")
	var b bytes.Buffer
	table.Write(&b)
	want := "name   score  note\n" +
		"μ     0.1235\n" +
		"base      12  x\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 2_471_645_608: "2.3 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1235814400: "1,235,814,400", -1234: "-1,234", -123: "-123"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMetricsAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	for step := int64(1); step <= 2; step++ { // a run and its continuation
		m, err := OpenMetrics(path)
		if err != nil {
			t.Fatal(err)
		}
		m.Record(progress.Event{Stage: "vae", Done: step, Values: map[string]float64{"loss": math.Inf(1)}})
		m.Record(progress.Event{Stage: "vae", Done: step}) // without values: no line
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], `"stage":"vae","step":2,"values":{"loss":null}`) {
		t.Errorf("got %q", lines)
	}
	if _, err := OpenMetrics(t.TempDir()); err == nil {
		t.Error("a folder was opened as a metrics file")
	}
}

func TestPlotsAreReadableImages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plots")
	bars := []Bar{
		{Label: "base", Value: 0.31, Low: 0.28, High: 0.34}, {Label: "noise", Value: -0.02, Low: -0.05, High: 0.01, Group: "baseline"},
		{Label: "generated", Value: 0.4, Low: math.NaN(), High: math.NaN(), Group: "generator"}, {Label: "failed", Value: math.NaN()},
	}
	if err := SaveBars(filepath.Join(dir, "sources"), "Gain & interval", "exact match", bars); err != nil {
		t.Fatal(err)
	}
	series := []Series{{"vae", []Point{{0, 1}, {1, 0.5}, {2, math.NaN()}, {3, 0.2}}}, {"none", nil}}
	if err := SaveLines(filepath.Join(dir, "loss"), "Training", "step", "loss", series); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sources", "loss"} {
		f, err := os.Open(filepath.Join(dir, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil || img.Bounds().Dx() < 200 {
			t.Errorf("%s.png: %v", name, err)
		}
		svg, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(svg, new(struct{})); err != nil {
			t.Errorf("%s.svg: %v", name, err)
		}
	}
	if err := SaveBars(filepath.Join(dir, "x"), "", "", nil); !errors.Is(err, errNothing) {
		t.Errorf("no bars: %v", err)
	}
	if err := SaveLines(filepath.Join(dir, "x"), "", "", "", series[1:]); !errors.Is(err, errNothing) {
		t.Errorf("no lines: %v", err)
	}
}
