package ui

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"d2nwg/internal/progress"
)

// Metrics appends measured values to a metrics.jsonl file, one object a line:
//
//	{"time":"2026-11-23T14:00:00Z","stage":"vae","step":120,"values":{"loss":0.31}}
//
// A continued run appends; a reader takes the last line of a stage and step.
type Metrics struct {
	mu   sync.Mutex
	file *os.File
	now  func() time.Time
	err  error // the first failed write
}

// OpenMetrics opens or creates a metrics file for appending.
func OpenMetrics(path string) (*Metrics, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the metrics file: %w", err)
	}
	return &Metrics{file: f, now: time.Now}, nil
}

// Record is a progress.Func that writes every event that carries values.
func (m *Metrics) Record(e progress.Event) {
	if len(e.Values) == 0 {
		return
	}
	line, err := json.Marshal(struct {
		Time   string            `json:"time"`
		Stage  string            `json:"stage"`
		Step   int64             `json:"step"`
		Values map[string]number `json:"values"`
	}{m.now().UTC().Format(time.RFC3339), e.Stage, e.Done, numbers(e.Values)})
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		_, err = m.file.Write(append(line, '\n'))
	}
	if m.err == nil {
		m.err = err
	}
}

// Close closes the file and returns the first error any write met.
func (m *Metrics) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.file.Close()
	if m.err != nil {
		err = m.err
	}
	if err != nil {
		return fmt.Errorf("writing the metrics file: %w", err)
	}
	return nil
}

// number is a float64 whose NaN and infinities become null, which JSON can hold.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

func numbers(values map[string]float64) map[string]number {
	if values == nil {
		return nil
	}
	out := make(map[string]number, len(values))
	for name, v := range values {
		out[name] = number(v)
	}
	return out
}
