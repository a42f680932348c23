package zoo

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/eval/traindata"
	"d2nwg/generator/zoo"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/train"
	"d2nwg/safetensors"
)

// endedRecord is the kind of the journal's records of finished groups.
const endedRecord = "group ended"

// group is a batch of adapters that are trained together. The same build groups the same adapters whenever it is repeated,
// since a group's adapters become members together; so the state of a killed one is found by the group's key.
type group struct {
	Members  []string // folders
	Data     []string // hashes of their tasks' files
	Length   int      // tokens of a row
	Rank     int
	Seed     uint64 // of the shared A
	Training zoo.Training
}

// groupEnd is what the journal keeps of a finished group.
type groupEnd struct {
	Members []string
	Seconds float64 // of the call that finished it
}

func (g group) key() (string, error) {
	data, err := json.Marshal(g)
	return fmt.Sprintf("%.8x", sha256.Sum256(data)), err
}

// work is a group with the jobs and the questions that make it up.
type work struct {
	group
	jobs []job
	data []*eval.Dataset
}

// train trains the missing adapters group by group.
func (b *Builder) train(ctx context.Context, missing []job) error {
	for len(missing) > 0 {
		w, err := b.next(missing)
		if err != nil {
			return err
		}
		if err := b.trainGroup(ctx, w); err != nil {
			return err
		}
		missing = missing[len(w.jobs):]
	}
	return b.tidy()
}

// tidy removes the states of groups that nothing continues.
func (b *Builder) tidy() error {
	states, err := filepath.Glob(b.state("*"))
	for _, path := range states {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// Limits of a batch.
const (
	shortRow  = 32      // rows are no shorter: they hold two or three short questions
	maxTokens = 1 << 15 // of a batch; a group of long rows has fewer adapters
)

// next is the next group of what is missing: as many adapters as one batch holds.
func (b *Builder) next(missing []job) (*work, error) {
	t := b.zoo.Training
	w := &work{group: group{Rank: b.zoo.Rank, Seed: b.zoo.SharedSeed, Training: t}}
	for _, j := range missing {
		data, err := dataset(b.opt.Dir, j.task)
		if err != nil {
			return nil, err
		}
		row, err := b.rowFor(data)
		if err != nil {
			return nil, err
		}
		row = max(w.Length, row)
		if n := len(w.jobs); n > 0 && (n == b.opt.Group || (n+1)*t.Rows*row > maxTokens) {
			break
		}
		w.Length = row
		w.jobs, w.data = append(w.jobs, j), append(w.data, data)
		w.Members, w.group.Data = append(w.Members, j.dir()), append(w.group.Data, j.data)
	}
	return w, nil
}

// rowFor is the length of a task's rows: the one asked for, or what holds every question that it has to train on, in eights,
// within the model's positions.
func (b *Builder) rowFor(data *eval.Dataset) (int, error) {
	if n := b.zoo.Training.Length; n > 0 {
		return n, nil
	}
	encoder := eval.NewEncoder(b.tok)
	longest := shortRow
	for _, q := range data.Questions[stats.Train] {
		prompt, answer, err := encoder.Pair(q.Prompt, q.Answer)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", data.Name, err)
		}
		longest = max(longest, len(prompt)+len(answer)-1)
	}
	return min((longest+7)/8*8, b.base.Config.MaxPositions), nil
}

// trainGroup trains, saves and scores the adapters of a group, and takes them into the manifest.
func (b *Builder) trainGroup(ctx context.Context, w *work) error {
	began := time.Now()
	key, err := w.key()
	if err != nil {
		return err
	}
	variants, log, err := b.adapters(ctx, w, key)
	if err != nil {
		return err
	}
	mean := 0.0
	for i, v := range variants {
		m, err := b.keep(ctx, w.jobs[i], v, w.data[i])
		if err != nil {
			return err
		}
		m.Steps, m.Loss = len(log.Loss), lastTenth(log.Loss, i)
		mean += m.Accuracy / float64(len(variants))
		b.zoo.Put(m)
	}
	if err := b.zoo.Save(); err != nil {
		return err
	}
	end := groupEnd{w.Members, time.Since(began).Seconds()}
	b.meter.add(end, mean)
	return errors.Join(b.journal.Append(endedRecord, key, end), os.RemoveAll(b.state(key)))
}

func (b *Builder) state(key string) string {
	return filepath.Join(b.opt.Dir, zoo.StateDir, "group-"+key)
}

// adapters trains a group.
func (b *Builder) adapters(ctx context.Context, w *work, key string) ([]*llm.Variant, train.Log, error) {
	if b.backend == nil {
		backend, err := b.opt.Backend(ctx)
		if err != nil {
			return nil, train.Log{}, err
		}
		b.backend = backend
	}
	var data []train.Data
	for i, j := range w.jobs {
		q, err := traindata.NewQuestions(b.tok, w.data[i], w.Training.Rows, w.Length, pipeline.Seed(w.Training.Seed, "rows of "+j.dir(), 0))
		if err != nil {
			return nil, train.Log{}, err
		}
		data = append(data, q)
	}
	t := w.Training
	return train.Adapters(ctx, b.base, data, train.LowRankOptions{Rank: w.Rank}, train.Options{
		Steps: t.Steps, Warmup: t.Warmup, LearningRate: t.LearningRate, MinLearningRate: t.LearningRate / 10, Clip: 1,
		Seed: w.Seed, Backend: b.backend, Progress: b.opt.Progress, StateDir: b.state(key), SaveEvery: max(1, min(50, t.Steps/4)),
	})
}

// lastTenth is the mean loss of an adapter over the last tenth of the steps.
func lastTenth(loss [][]float64, adapter int) float64 {
	n := max(1, len(loss)/10)
	sum := 0.0
	for _, row := range loss[len(loss)-n:] {
		sum += row[adapter] / float64(n)
	}
	return sum
}

// keep saves an adapter and scores it as it is saved.
func (b *Builder) keep(ctx context.Context, j job, v *llm.Variant, data *eval.Dataset) (zoo.Member, error) {
	m := zoo.Member{Task: j.task.Name, Seed: j.seed, Dir: j.dir(), Split: j.task.Split, Descriptions: j.task.Descriptions, Data: j.data}
	dir := filepath.Join(b.opt.Dir, filepath.FromSlash(m.Dir))
	if err := v.SaveAs(dir, j.task.Descriptions[0], llm.SaveOptions{DType: safetensors.BF16, Force: true}); err != nil {
		return m, err
	}
	saved, err := b.zoo.Measure(&m)
	if err != nil {
		return m, err
	}
	return m, b.score(ctx, &m, saved, data)
}

// meter tells how far a build is.
type meter struct {
	began       time.Time
	total, done int // adapters
	trained     int // of them, by this call
	seconds     float64
	report      progress.Func
}

func (m *meter) add(e groupEnd, accuracy float64) {
	m.done += len(e.Members)
	m.trained += len(e.Members)
	m.seconds += e.Seconds
	each := m.seconds / float64(m.trained)
	left := time.Duration(float64(m.total-m.done) * each * float64(time.Second)).Round(time.Second)
	note := fmt.Sprintf("adapters, %v left", left)
	m.report.Report(progress.Event{
		Stage: "zoo", Done: int64(m.done), Total: int64(m.total), Note: note,
		Values: map[string]float64{"accuracy": accuracy, "seconds_per_adapter": each},
	})
}
