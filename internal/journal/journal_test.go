package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func filled(t *testing.T, n int) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sub", "journal.jsonl")
	j := open(t, path)
	for i := range n {
		if err := j.Append("step", fmt.Sprint(i), map[string]any{"n": i, "text": "a\nb<&>\u2028"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func TestReopenKeepsEverything(t *testing.T) {
	path, _ := filled(t, 4)
	j := open(t, path)
	if got := strings.Join(j.Keys("step"), " "); got != "0 1 2 3" {
		t.Fatalf("keys %q", got)
	}
	var v struct {
		N    int
		Text string
	}
	if ok, err := j.Get("step", "2", &v); !ok || err != nil || v.N != 2 || v.Text != "a\nb<&>\u2028" {
		t.Fatalf("got %v %v %v", v, ok, err)
	}
	if ok, _ := j.Get("other", "2", nil); ok {
		t.Fatal("a step of another kind was found")
	}
}

// A crash can stop a write after any byte. Whatever is left, opening must keep every complete record, drop the
// rest, and the steps done again must give the very file an undisturbed run gives.
func TestTruncationAtEveryByte(t *testing.T) {
	path, whole := filled(t, 4)
	for size := range whole {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		j, err := Open(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		complete := bytes.Count(whole[:size], []byte("\n"))
		if got := len(j.Keys("step")); got != complete {
			t.Fatalf("cut at %d: %d records, want %d", size, got, complete)
		}
		for i := range 4 {
			_, err := Do(j, "step", fmt.Sprint(i), func() (map[string]any, error) {
				return map[string]any{"n": i, "text": "a\nb<&>\u2028"}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		j.Close()
		if got, _ := os.ReadFile(path); !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: the resumed journal differs", size)
		}
	}
}

// Unsynced pages may also come back as zeros: several damaged lines at the end are a tail too.
func TestZeroedTailIsCut(t *testing.T) {
	path, whole := filled(t, 4)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	torn := bytes.Join(lines[:2], nil)
	for _, line := range lines[2:4] {
		torn = append(torn, make([]byte, len(line)-1)...)
		torn = append(torn, '\n')
	}
	os.WriteFile(path, torn, 0o644)
	if got := len(open(t, path).Keys("step")); got != 2 {
		t.Fatalf("%d records, want 2", got)
	}
}

func TestDamageInTheMiddleIsAnError(t *testing.T) {
	path, whole := filled(t, 4)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	changed := bytes.Replace(whole, []byte(`"n":1`), []byte(`"n":7`), 1)
	for name, data := range map[string][]byte{
		"changed":   changed,
		"removed":   bytes.Join([][]byte{lines[0], lines[2], lines[3]}, nil),
		"swapped":   bytes.Join([][]byte{lines[0], lines[2], lines[1], lines[3]}, nil),
		"first cut": bytes.Join(lines[1:], nil),
		"garbage":   bytes.Join([][]byte{lines[0], []byte("not json\n"), lines[1]}, nil),
	} {
		os.WriteFile(path, data, 0o644)
		_, err := Open(path)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, data) {
			t.Errorf("%s: the refused file was changed", name)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	path, _ := filled(t, 1)
	j := open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	j.Close()
	open(t, path)
}

func TestDoRunsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	runs := 0
	step := func() (float64, error) { runs++; return 1.0 / 3, nil }
	for range 2 {
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if v, err := Do(j, "k", "x", step); err != nil || v != 1.0/3 {
				t.Fatalf("got %v %v", v, err)
			}
		}
		j.Close()
	}
	if runs != 1 {
		t.Fatalf("ran %d times", runs)
	}
	failed := errors.New("no")
	j := open(t, path)
	if _, err := Do(j, "k", "bad", func() (int, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Fatalf("error %v", err)
	}
	if ok, _ := j.Get("k", "bad", nil); ok {
		t.Fatal("a failed step was recorded")
	}
	if v, err := Do(nil, "k", "x", step); err != nil || v != 1.0/3 || runs != 2 {
		t.Fatalf("nil journal: %v %v", v, err)
	}
}

func TestBatchedSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := open(t, path)
	j.SyncEvery(100)
	for i := range 10 {
		if err := j.Append("s", fmt.Sprint(i), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(open(t, path).Keys("s")); got != 10 {
		t.Fatalf("%d records", got)
	}
}

// FuzzOpen: any bytes either open (and then open again to the same records) or are refused as corrupt.
func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	j, err := Open(path)
	if err != nil {
		f.Fatal(err)
	}
	j.Append("a", "b", 1)
	j.Append("a", "c", "two")
	j.Close()
	whole, _ := os.ReadFile(path)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "j")
		os.WriteFile(path, data, 0o644)
		j, err := Open(path)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if err := j.Append("fuzz", "end", true); err != nil {
			t.Fatal(err)
		}
		n := len(j.values)
		j.Close()
		if j, err = Open(path); err != nil || len(j.values) != n {
			t.Fatalf("reopened: %v", err)
		}
		j.Close()
	})
}
