package train

import (
	"fmt"
	"math"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
)

// Validation stops early: held-out losses are measured before the first step, every few steps and after the last one, and each group
// returns its best parameters. A group that has stopped is frozen; the run ends when all have.
type Validation struct {
	Every    int    // steps between measurements
	Patience int    // a group stops after so many measurements in a row without a new best; 0 = never
	Data     []Data // (groups) held-out batches, all of one shape, which may differ from that of training
	Batches  int    // how many there are of each group: Batch(0) … Batch(Batches−1); one without weights counts nothing
}

// due is how many measurements belong to a run after so many of its steps.
func (v *Validation) due(step, steps int) int {
	if v == nil {
		return 0
	}
	n := 1 + step/v.Every
	if step == steps && step%v.Every != 0 {
		n++
	}
	return n
}

// standing is where every group stands, as the measurements so far tell.
type standing struct {
	patience int
	measured int
	best     []float32 // (groups) lowest loss
	at       []int     // (groups) which measurement found it
}

func newStanding(groups int, v *Validation) standing {
	s := standing{best: make([]float32, groups), at: make([]int, groups)}
	for g := range s.best {
		s.best[g] = float32(math.Inf(1))
	}
	if v != nil {
		s.patience = v.Patience
	}
	return s
}

// stopped tells whether a group has been without a new best for too long.
func (s *standing) stopped(g int) bool {
	return s.patience > 0 && s.measured-1-s.at[g] >= s.patience
}

// judge takes a measurement in and returns the groups with a new best. One that has stopped gets none.
func (s *standing) judge(row []float32) (better []int) {
	for g, loss := range row {
		if loss < s.best[g] && !s.stopped(g) {
			s.best[g], s.at[g] = loss, s.measured
			better = append(better, g)
		}
	}
	s.measured++
	return better
}

// held are the held-out batches in the backend, and the graph of their losses.
type held struct {
	program *compute.Program
	batches [][]gomlx.Buffer
	weights [][]float64 // (batches, groups) weighted tokens
}

// newHeld prepares the validation, nil without one.
func (r *run) newHeld() (h *held, err error) {
	v := r.opt.Validate
	if v == nil {
		return nil, nil
	}
	if len(v.Data) != r.groups() {
		return nil, fmt.Errorf("train: held-out data for %d of %d groups", len(v.Data), r.groups())
	}
	h = &held{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	var first feed
	for i := range v.Batches {
		next, err := r.heldBatch(h, i)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			first = next
		} else if next.rows != first.rows || next.length != first.length {
			return nil, fmt.Errorf("train: held-out batch %d is %d×%d, the first %d×%d; give all one shape", i, next.rows, next.length, first.rows, first.length)
		}
	}
	for g, total := range h.totals() {
		if total == 0 {
			return nil, fmt.Errorf("train: group %d has no held-out token to measure", g)
		}
	}
	h.program, err = r.opt.Backend.Compile("held_loss", func(g *graph.Graph) []*node {
		params := graph.Parameter(g, "params", shapes.Make(dtypes.Float32, r.groups(), r.layout.size))
		tensors := r.declareFrozen(g)
		in := newInputs(g, r.cfg, first.rows, first.length)
		loss, _ := r.net(tensors, params, in).loss(in)
		return []*node{loss}
	})
	return h, err
}

// heldBatch puts held-out batch i into the backend.
func (r *run) heldBatch(h *held, i int) (feed, error) {
	batches, err := eachBatch(r.opt.Validate.Data, i)
	if err != nil {
		return feed{}, fmt.Errorf("held-out data: %w", err)
	}
	f, err := r.feed(batches, i)
	if err != nil {
		return feed{}, fmt.Errorf("held-out data: %w", err)
	}
	weights := make([]float64, len(batches))
	for g, b := range batches {
		for _, w := range b.Weights {
			weights[g] += float64(w)
		}
	}
	buffers, err := upload(r.opt.Backend.GoMLX(), f.arrays)
	if err != nil {
		return feed{}, err
	}
	h.batches, h.weights = append(h.batches, buffers), append(h.weights, weights)
	return f, nil
}

// totals are the weighted tokens of each group.
func (h *held) totals() []float64 {
	totals := make([]float64, len(h.weights[0]))
	for _, row := range h.weights {
		for g, w := range row {
			totals[g] += w
		}
	}
	return totals
}

func (h *held) close() {
	if h == nil {
		return
	}
	for _, b := range h.batches {
		release(b)
	}
	if h.program != nil {
		h.program.Close()
	}
}

// measure takes the measurement that is due, if one is: params are the parameters in the backend, fixed the frozen tensors.
func (r *run) measure(params gomlx.Buffer, fixed []gomlx.Buffer) error {
	if r.stand.measured >= r.opt.Validate.due(r.state.step, r.opt.Steps) {
		return nil
	}
	row, err := r.held.losses(params, fixed)
	if err != nil {
		return err
	}
	for g, loss := range row {
		if bad(loss) {
			return fmt.Errorf("train: after step %d the held-out loss of group %d is %v; lower the learning rate or set Clip", r.state.step, g, loss)
		}
	}
	r.state.heldLoss = append(r.state.heldLoss, row...)
	better := r.stand.judge(row)
	if len(better) == 0 {
		return nil
	}
	now, err := download(params, len(r.state.best))
	if err != nil {
		return err
	}
	size := r.layout.size
	for _, g := range better {
		copy(r.state.best[g*size:(g+1)*size], now[g*size:])
	}
	return nil
}

// losses are the means over all held-out batches, by group.
func (h *held) losses(params gomlx.Buffer, fixed []gomlx.Buffer) ([]float32, error) {
	totals := h.totals()
	sums := make([]float64, len(totals))
	for i, batch := range h.batches {
		in := append(append([]gomlx.Buffer{params}, fixed...), batch...)
		out, err := h.program.Run(in)
		if err != nil {
			return nil, err
		}
		loss, err := download(out[0], len(sums))
		release(out)
		if err != nil {
			return nil, err
		}
		for g := range sums {
			sums[g] += float64(loss[g]) * h.weights[i][g]
		}
	}
	row := make([]float32, len(sums))
	for g := range row {
		row[g] = float32(sums[g] / totals[g])
	}
	return row, nil
}

// logHeld writes the measurements into the log.
func (r *run) logHeld(log *Log) {
	v := r.opt.Validate
	if v == nil {
		return
	}
	log.Held = perStep(r.state.heldLoss, r.groups())
	for k := range log.Held {
		log.HeldAt = append(log.HeldAt, min(k*v.Every, r.opt.Steps))
	}
	for _, at := range r.stand.at {
		log.Best = append(log.Best, min(at*v.Every, r.opt.Steps))
	}
}

// heldValues adds what the measurement of this step found, if there was one.
func (r *run) heldValues(values map[string]float64) {
	v := r.opt.Validate
	if v == nil || v.due(r.state.step, r.opt.Steps) == v.due(r.state.step-1, r.opt.Steps) {
		return
	}
	values["held"] = average(r.state.heldLoss[len(r.state.heldLoss)-r.groups():])
	for g := range r.groups() {
		if r.stand.stopped(g) {
			values["stopped"]++
		}
	}
}
