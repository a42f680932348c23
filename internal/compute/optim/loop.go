package optim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"d2nwg/internal/progress"
	"d2nwg/safetensors"
)

// Schedule gives the learning rate of a step: linear warm-up, then constant or a cosine down to a hundredth of the peak.
type Schedule struct {
	Peak   float64
	Warmup int
	Steps  int
	Cosine bool
}

// Rate is the learning rate of step, counted from 0.
func (s Schedule) Rate(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step+1) / float64(s.Warmup)
	}
	if !s.Cosine || s.Steps <= s.Warmup {
		return s.Peak
	}
	x := float64(step-s.Warmup) / float64(s.Steps-s.Warmup)
	return s.Peak * (0.01 + 0.99*(1+math.Cos(math.Pi*min(x, 1)))/2)
}

// Loop runs a Trainer to its last step, reporting and saving on the way.
type Loop struct {
	Stage    string
	Steps    int
	Schedule Schedule
	Metrics  []string // names of the metrics behind the loss
	Progress progress.Func
	State    *Checkpoints // nil = not resumable
}

// Run trains until Steps. inputs gives the inputs of a step and has to be a pure function of it. Run returns the means of the loss and the
// metrics over the last tenth of the steps. It stops between steps when ctx ends, after saving the state.
func (l Loop) Run(ctx context.Context, t *Trainer, inputs func(step int) ([][]float32, error)) (map[string]float64, error) {
	sums := map[string]float64{}
	if err := l.State.load(t, sums); err != nil {
		return nil, err
	}
	for t.Steps() < l.Steps {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, l.State.save(t, sums))
		}
		step := t.Steps()
		in, err := inputs(step)
		if err != nil {
			return nil, err
		}
		loss, metrics, err := t.Step(l.Schedule.Rate(step), in...)
		if err != nil {
			return nil, err
		}
		values := map[string]float64{"loss": loss}
		for i, v := range metrics {
			values[l.Metrics[i]] = v
		}
		if step >= l.Steps-max(1, l.Steps/10) {
			for k, v := range values {
				sums[k] += v
			}
			sums["steps"]++
		}
		l.Progress.Report(progress.Event{Stage: l.Stage, Done: int64(step + 1), Total: int64(l.Steps), Values: values})
		if l.State.due(t.Steps()) || (l.State != nil && t.Steps() == l.Steps) {
			if err := l.State.save(t, sums); err != nil {
				return nil, err
			}
		}
	}
	means := map[string]float64{}
	for k, v := range sums {
		means[k] = v / sums["steps"]
	}
	return means, nil
}

// Checkpoints keeps a training state in one file, replaced atomically. A nil *Checkpoints keeps nothing.
type Checkpoints struct {
	Path  string // a .safetensors file
	Key   string // what the state belongs to, such as a hash of configuration and data; another key is an error
	Every int    // steps between states
}

func (c *Checkpoints) due(step int) bool { return c != nil && c.Every > 0 && step%c.Every == 0 }

// save writes the state, the step and the running sums.
func (c *Checkpoints) save(t *Trainer, sums map[string]float64) error {
	if c == nil {
		return nil
	}
	state, err := t.State()
	if err != nil {
		return err
	}
	meta := map[string]string{"key": c.Key, "step": strconv.Itoa(t.Steps())}
	for k, v := range sums {
		meta["sum/"+k] = strconv.FormatUint(math.Float64bits(v), 16)
	}
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
		return err
	}
	return WriteArrays(c.Path, meta, state)
}

// load continues from the saved state, if there is one.
func (c *Checkpoints) load(t *Trainer, sums map[string]float64) error {
	if c == nil {
		return nil
	}
	meta, state, err := ReadArrays(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if meta["key"] != c.Key {
		return fmt.Errorf("%s belongs to another training run; remove it or use another state folder", c.Path)
	}
	step, err := strconv.Atoi(meta["step"])
	if err != nil {
		return fmt.Errorf("%w: %s: the step %q is not a number", safetensors.ErrFormat, c.Path, meta["step"])
	}
	for k, v := range meta {
		if len(k) > 4 && k[:4] == "sum/" {
			bits, err := strconv.ParseUint(v, 16, 64)
			if err != nil {
				return fmt.Errorf("%w: %s: %s is not a number", safetensors.ErrFormat, c.Path, k)
			}
			sums[k[4:]] = math.Float64frombits(bits)
		}
	}
	return t.SetState(state, step)
}
