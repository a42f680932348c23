package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"d2nwg/safetensors"
)

// state is what a run resumes from.
type state struct {
	step         int       // finished steps
	params, m, v []float32 // (groups, size)
	loss, norm   []float32 // (step, groups)
	// Of validation.
	heldLoss []float32 // (measurements, groups)
	best     []float32 // (groups, size): the parameters with the lowest of them
}

const stateName = "state.safetensors"

// resume loads the saved state, or begins anew where there is none.
func (r *run) resume() error {
	width := r.groups() * r.layout.size
	r.state = state{m: make([]float32, width), v: make([]float32, width)}
	for _, s := range r.start {
		r.state.params = append(r.state.params, s...)
	}
	r.stand = newStanding(r.groups(), r.opt.Validate)
	r.state.best = slices.Clone(r.state.params)
	if r.opt.StateDir == "" {
		return nil
	}
	var err error
	if r.id, err = r.fingerprint(); err != nil {
		return err
	}
	f, err := safetensors.Open(r.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("train: state: %w", err)
	}
	defer f.Close()
	meta := f.Metadata()
	if meta["run"] != r.id {
		return fmt.Errorf("train: %s belongs to a run of other settings or other initial weights; remove it or use another directory", r.statePath())
	}
	step, err := strconv.Atoi(meta["step"])
	if err != nil || step < 0 || step > r.opt.Steps {
		return fmt.Errorf("train: %s has step %q; remove it: %w", r.statePath(), meta["step"], safetensors.ErrFormat)
	}
	r.state.step = step
	for _, t := range r.stateTensors() {
		info, ok := f.Info(t.name)
		if !ok || info.DType != "F32" || info.Size != int64(4*t.rows*t.columns) {
			return fmt.Errorf("train: %s has no F32 tensor %s of %d×%d; remove it: %w", r.statePath(), t.name, t.rows, t.columns, safetensors.ErrFormat)
		}
		raw, err := f.Bytes(t.name)
		if err != nil {
			return fmt.Errorf("train: state: %w", err)
		}
		*t.values = make([]float32, t.rows*t.columns)
		if err := safetensors.Decode(*t.values, info.DType, raw); err != nil {
			return fmt.Errorf("train: state: %w", err)
		}
	}
	for row := range slices.Chunk(r.state.heldLoss, r.groups()) {
		r.stand.judge(row)
	}
	return nil
}

type stateTensor struct {
	name          string
	rows, columns int
	values        *[]float32
}

func (r *run) stateTensors() []stateTensor {
	s, groups, size := &r.state, r.groups(), r.layout.size
	all := []stateTensor{
		{"params", groups, size, &s.params}, {"m", groups, size, &s.m}, {"v", groups, size, &s.v},
		{"loss", s.step, groups, &s.loss}, {"norm", s.step, groups, &s.norm},
	}
	if r.opt.Validate != nil {
		all = append(all, stateTensor{"held", r.opt.Validate.due(s.step, r.opt.Steps), groups, &s.heldLoss}, stateTensor{"best", groups, size, &s.best})
	}
	return all
}

// save writes the state in place of the last one, atomically.
func (r *run) save() error {
	if r.opt.StateDir == "" {
		return nil
	}
	if err := os.MkdirAll(r.opt.StateDir, 0o755); err != nil {
		return fmt.Errorf("train: state: %w", err)
	}
	var tensors []safetensors.Source
	for _, t := range r.stateTensors() {
		raw := make([]byte, 4*len(*t.values))
		if err := safetensors.Encode(raw, "F32", *t.values); err != nil {
			return fmt.Errorf("train: state: %w", err)
		}
		tensors = append(tensors, safetensors.Source{
			Name: t.name, DType: "F32", Shape: []int{t.rows, t.columns},
			WriteTo: func(w io.Writer) error { _, err := w.Write(raw); return err },
		})
	}
	meta := map[string]string{"run": r.id, "step": strconv.Itoa(r.state.step)}
	if err := safetensors.Write(r.statePath(), meta, tensors); err != nil {
		return fmt.Errorf("train: save the state: %w", err)
	}
	return nil
}

func (r *run) statePath() string { return filepath.Join(r.opt.StateDir, stateName) }

// fingerprint identifies everything that decides the run's result but the data, which the caller keys the directory by.
func (r *run) fingerprint() (string, error) {
	h := sha256.New()
	o := r.opt
	cfg, err := json.Marshal(r.cfg)
	if err != nil {
		return "", fmt.Errorf("train: %w", err)
	}
	fmt.Fprintf(h, "%s\n%d %d %v %v %v %v %v %v\n", cfg, o.Steps, o.Warmup, o.LearningRate, o.MinLearningRate, o.WeightDecay, o.Beta1, o.Beta2, o.Clip)
	if v := o.Validate; v != nil {
		fmt.Fprintln(h, "validate", v.Every, v.Patience, v.Batches)
	}
	for _, e := range r.layout.entries {
		fmt.Fprintln(h, e.name, e.shape, e.decays)
	}
	for _, s := range r.start {
		raw := make([]byte, 4*len(s))
		if err := safetensors.Encode(raw, "F32", s); err != nil {
			return "", fmt.Errorf("train: %w", err)
		}
		h.Write(raw)
	}
	io.WriteString(h, r.frozenID)
	return hex.EncodeToString(h.Sum(nil)), nil
}
