package zoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/eval"
	"d2nwg/generator/adapters"
	"d2nwg/generator/zoo"
	"d2nwg/internal/compute"
	"d2nwg/internal/files"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// What is measured on every task.
const (
	SourceBase      = "base"
	SourceMean      = "mean"      // the mean of all trained adapters
	SourceNoise     = "noise"     // the mean, and noise as large as trained adapters lie around it
	SourceMultitask = "multitask" // one adapter trained on the questions of all training tasks
	SourceNearest   = "nearest"   // the trained adapter of the most similar description of another task
	SourceShuffled  = "shuffled"  // generated from another task's description
	SourceGenerated = "generated" // from the task's first description
	SourceUnseen    = "unseen"    // from a wording kept out of training
	SourceExamples  = "examples"  // from examples of the task
	SourceOracle    = "oracle"    // an adapter trained on the task
)

// Sources lists them in the order of a table.
var Sources = []string{SourceBase, SourceMean, SourceNoise, SourceMultitask, SourceNearest, SourceShuffled, SourceGenerated, SourceUnseen, SourceExamples, SourceOracle}

// TableOptions say what is measured.
type TableOptions struct {
	Dir, Base, Generator string // folders: the zoo, with oracles of the held-out tasks; the base; the generator
	Out                  string // folder of the table and of what it continues from
	TrainingTasks        int    // training tasks measured, of those with adapters
	Items                int    // held questions of each task
	Shots                int    // examples that SourceExamples sees
	Sources              []string
	Seed                 uint64
	Backend              *compute.Backend
	Multitask            string // folder of SourceMultitask, which is trained where it isn't there
	Tune                 TuneOptions
	Trainer              *compute.Backend // of the adapters trained here; may be another than the one that samples
	Progress             progress.Func
}

// Row is one task.
type Row struct {
	Task       string             `json:"task"`
	Split      string             `json:"split"`
	Cheap      float64            `json:"cheap,omitempty"`
	Impossible string             `json:"impossible,omitempty"`
	N          int                `json:"n"`
	Scores     map[string]float64 `json:"scores"`
}

// SplitResult sums a split up.
type SplitResult struct {
	Split     string             `json:"split"`
	Tasks     int                `json:"tasks"`
	Means     map[string]float64 `json:"means"`
	Recovered *stats.Interval    `json:"recovered,omitempty"` // Σ(generated − base) / Σ(oracle − base), resampling tasks; needs an oracle
	Versus    map[string]float64 `json:"p_values,omitempty"`  // one-sided, that generated is no better; Holm over the baselines
}

// Table is the result.
type Table struct {
	Rows   []Row         `json:"rows"`
	Splits []SplitResult `json:"splits"`
	Tuned  []TuneRow     `json:"tuned_rows,omitempty"`
	Tunes  []TuneResult  `json:"tuned,omitempty"` // accuracy after a short fine-tune
}

const tableJournal = "table.journal.jsonl"

// Measure fills the table: every baseline, always, on the same held questions. Killed at any moment, the same call continues.
func Measure(ctx context.Context, opt TableOptions) (*Table, error) {
	m := &measurer{opt: opt}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	table, err := m.run(ctx)
	return table, errors.Join(err, m.close())
}

type measurer struct {
	opt     TableOptions
	base    *llm.Checkpoint
	tok     tokenizer.Tokenizer
	model   *engine.Model
	z       *zoo.Zoo
	g       *adapters.Generator
	journal *journal.Journal
	tasks   []zoo.Task

	mean      map[string][]float32
	deviation map[string]float64 // see deviations
	multitask *llm.Variant
}

func (m *measurer) open() (err error) {
	if m.base, err = llm.Open(m.opt.Base); err != nil {
		return err
	}
	if m.tok, err = tokenizer.Open(m.opt.Base); err != nil {
		return err
	}
	if m.model, err = engine.New(m.base, engine.Options{}); err != nil {
		return err
	}
	if m.z, err = zoo.Open(m.opt.Dir, m.base); err != nil {
		return err
	}
	if m.g, err = openGenerator(m.opt.Generator, m.base, m.opt.Backend); err != nil {
		return err
	}
	if len(m.g.Members()) < 2 {
		return fmt.Errorf("the generator %s learned from %d trained adapters; mean and nearest need at least 2", m.opt.Generator, len(m.g.Members()))
	}
	if err := os.MkdirAll(m.opt.Out, 0o755); err != nil {
		return err
	}
	if m.journal, err = journal.Open(filepath.Join(m.opt.Out, tableJournal)); err != nil {
		return err
	}
	generator, err := files.Hash(filepath.Join(m.opt.Generator, adapters.FileName))
	if err != nil {
		return err
	}
	m.mean = m.g.Mean()
	m.deviation = m.deviations()
	m.choose()
	return bind(m.journal, m.opt.Out, generator, m.z.Base, m.opt.Items, m.opt.Shots, m.opt.Sources, m.opt.Seed)
}

// bind ties the journal of a folder to what its measurements depend on.
func bind(j *journal.Journal, dir string, inputs ...any) error {
	text := fmt.Sprintf("%+v", inputs)
	kept, err := journal.Do(j, "inputs", "all", func() (string, error) { return text, nil })
	if err == nil && kept != text {
		err = fmt.Errorf("%s holds measurements of another generator or with other settings; choose another folder", dir)
	}
	return err
}

// choose takes every held-out task, and some training tasks that have adapters.
func (m *measurer) choose() {
	for _, t := range m.z.Tasks {
		if !m.z.Learns(t) {
			m.tasks = append(m.tasks, t)
		}
	}
	m.tasks = append(m.tasks, evenly(m.z.Tasks, m.opt.TrainingTasks, func(t zoo.Task) bool { return m.z.Learns(t) && m.z.First(t.Name) != nil })...)
}

func (m *measurer) close() error {
	var err error
	if m.journal != nil {
		err = m.journal.Close()
	}
	if m.g != nil {
		err = errors.Join(err, m.g.Close())
	}
	if m.base != nil {
		err = errors.Join(err, m.base.Close())
	}
	return err
}

func (m *measurer) run(ctx context.Context) (*Table, error) {
	if slices.Contains(m.opt.Sources, SourceMultitask) {
		if err := m.openMultitask(ctx); err != nil {
			return nil, err
		}
	}
	t := &Table{}
	for i := range m.tasks {
		row, err := journal.Do(m.journal, "task", m.tasks[i].Name, func() (Row, error) { return m.row(ctx, i) })
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
		m.opt.Progress.Report(progress.Event{Stage: "table", Done: int64(i + 1), Total: int64(len(m.tasks)), Note: row.Task})
	}
	if err := t.sum(m.opt.Seed); err != nil || len(m.opt.Tune.Tunes) == 0 {
		return t, err
	}
	var err error
	if t.Tuned, err = m.tuneAll(ctx); err != nil {
		return nil, err
	}
	t.Tunes, err = sumTunes(t.Tuned, m.opt.Seed)
	return t, err
}

// row measures everything on one task.
func (m *measurer) row(ctx context.Context, i int) (Row, error) {
	t := m.tasks[i]
	row := Row{Task: t.Name, Split: t.Split, Cheap: t.Cheap, Impossible: t.Impossible, Scores: map[string]float64{}}
	set, err := dataset(m.z.Dir, t)
	if err != nil {
		return row, err
	}
	set.Limit(stats.Test, m.opt.Items)
	if row.N = set.Items(stats.Test); row.N == 0 {
		return row, fmt.Errorf("%s has no question in its test cut; it needs more questions", t.File(m.z.Dir))
	}
	scorer, err := eval.NewScorer(m.model, m.tok, set, eval.Options{})
	if err != nil {
		return row, err
	}
	for _, source := range m.opt.Sources {
		v, err := m.candidate(ctx, i, source, set)
		if err != nil {
			return row, fmt.Errorf("task %s, %s: %w", t.Name, source, err)
		}
		if v == nil {
			continue
		}
		scores, err := scorer.Score(ctx, v, stats.Test)
		if err != nil {
			return row, err
		}
		row.Scores[source] = scores.Mean()
	}
	return row, nil
}
