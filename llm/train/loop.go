package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	gomlx "github.com/gomlx/compute"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
)

// loop runs the steps. The state stays in the backend; the next batch is made while a step runs.
func (r *run) loop(ctx context.Context, step *compute.Program, next feed) (err error) {
	held, fixed, err := r.load()
	if err != nil {
		return err
	}
	defer func() { release(held) }()
	defer release(fixed)
	if err := r.measure(held[0], fixed); err != nil {
		return err
	}
	rows, length := next.rows, next.length
	began, from := time.Now(), r.state.step
	for i := from; !r.finished() && ctx.Err() == nil; i++ {
		if next.rows != rows || next.length != length {
			return fmt.Errorf("train: batch of step %d is %d×%d, the first was %d×%d; give all one shape", i, next.rows, next.length, rows, length)
		}
		prepared := r.prepare(i + 1)
		held, err = r.advance(step, held, fixed, next, i)
		following := <-prepared
		if err != nil {
			return err
		}
		if following.err != nil {
			return following.err
		}
		next = following.feed
		if err := r.measure(held[0], fixed); err != nil {
			return err
		}
		r.report(i, began, from)
		if r.finished() || r.due(i+1) {
			if err := r.checkpoint(held); err != nil {
				return err
			}
		}
	}
	if !r.finished() {
		if err := r.checkpoint(held); err != nil {
			return err
		}
		return ctx.Err()
	}
	return nil
}

// load puts the state and the frozen tensors into the backend, which from then on holds them.
func (r *run) load() (state, fixed []gomlx.Buffer, err error) {
	backend := r.opt.Backend.GoMLX()
	vector := []int{r.groups(), r.layout.size}
	state, err = upload(backend, []array{floats(r.state.params, vector...), floats(r.state.m, vector...), floats(r.state.v, vector...)})
	if err != nil {
		return nil, nil, err
	}
	var frozen []array
	for _, name := range r.frozenNames {
		frozen = append(frozen, r.frozen[name])
	}
	if fixed, err = upload(backend, frozen); err != nil {
		release(state)
		return nil, nil, err
	}
	r.frozen = nil
	return state, fixed, nil
}

type prepared struct {
	feed feed
	err  error
}

// prepare makes the batch of a step in the background; nothing follows the last step.
func (r *run) prepare(step int) <-chan prepared {
	out := make(chan prepared, 1)
	if step >= r.opt.Steps {
		out <- prepared{}
		return out
	}
	go func() {
		f, err := r.fetch(step)
		out <- prepared{f, err}
	}()
	return out
}

// advance runs one step and returns the new state; the old one is released.
func (r *run) advance(step *compute.Program, held, fixed []gomlx.Buffer, batch feed, i int) ([]gomlx.Buffer, error) {
	t := float64(i + 1)
	numbers := []float32{float32(1 / (1 - math.Pow(r.opt.Beta1, t))), float32(1 / (1 - math.Pow(r.opt.Beta2, t)))}
	for g := range r.groups() {
		rate := r.opt.rate(i)
		if r.stand.stopped(g) { // its parameters stay as they are
			rate = 0
		}
		numbers = append(numbers, float32(rate))
	}
	fresh, err := upload(r.opt.Backend.GoMLX(), append([]array{floats(numbers, len(numbers))}, batch.arrays...))
	if err != nil {
		return held, err
	}
	defer release(fresh)
	in := slices.Concat(held, fresh[:1], fixed, fresh[1:])
	out, err := step.Run(in)
	if err != nil {
		return held, err
	}
	release(held)
	held = out[:stateBuffers]
	defer release(out[stateBuffers:])
	loss, err := download(out[stateBuffers], r.groups())
	if err != nil {
		return held, err
	}
	norm, err := download(out[stateBuffers+1], r.groups())
	if err != nil {
		return held, err
	}
	for g := range loss {
		if bad(loss[g]) || bad(norm[g]) {
			return held, fmt.Errorf("train: step %d, group %d: loss %v and gradient norm %v are not finite; lower the learning rate or set Clip", i, g, loss[g], norm[g])
		}
	}
	r.state.step = i + 1
	r.state.loss, r.state.norm = append(r.state.loss, loss...), append(r.state.norm, norm...)
	return held, nil
}

func bad(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }

// due says whether the state is wanted on the host after so many steps.
func (r *run) due(step int) bool {
	return r.opt.SaveEvery > 0 && step%r.opt.SaveEvery == 0 || r.snapshot != nil && slices.Contains(r.opt.SnapshotAt, step)
}

// checkpoint brings the state to the host, hands out the snapshot that is due, and saves the state. The snapshot goes first: were the run
// killed between the two, it would be handed out again.
func (r *run) checkpoint(held []gomlx.Buffer) (err error) {
	width := r.groups() * r.layout.size
	for i, dst := range []*[]float32{&r.state.params, &r.state.m, &r.state.v} {
		if *dst, err = download(held[i], width); err != nil {
			return err
		}
	}
	if r.snapshot != nil && slices.Contains(r.opt.SnapshotAt, r.state.step) {
		if err := r.snapshot(r.state.step, r.cut(r.state.params)); err != nil {
			return fmt.Errorf("train: snapshot after step %d: %w", r.state.step, err)
		}
	}
	return r.save()
}

func (r *run) report(i int, began time.Time, resumed int) {
	if r.opt.Progress == nil {
		return
	}
	values := map[string]float64{
		"loss": average(r.state.loss[i*r.groups():]), "learning_rate": r.opt.rate(i),
		"ms_per_step": float64(time.Since(began).Microseconds()) / 1000 / float64(i+1-resumed),
	}
	r.heldValues(values)
	r.opt.Progress.Report(progress.Event{Stage: "train", Done: int64(i + 1), Total: int64(r.opt.Steps), Values: values})
}

func average(row []float32) float64 {
	mean := 0.0
	for _, v := range row {
		mean += float64(v) / float64(len(row))
	}
	return mean
}
