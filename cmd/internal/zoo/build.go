// Package zoo builds what generators of adapters learn from: it trains the adapters of a folder of tasks, many in one batch,
// scores them, and takes in adapters of others. The folder itself is package generator/zoo.
package zoo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"d2nwg/generator/zoo"
	"d2nwg/internal/compute"
	"d2nwg/internal/files"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
)

// Defaults of what decides the adapters, for models of the bundled one's size.
const (
	DefaultRank  = 4
	DefaultSteps = 400
	DefaultLR    = 0.024
	DefaultRows  = 2
	DefaultGroup = 32
	DefaultSeed  = 1
	// One A for all zoos, whatever their seed: generators can start from what was learned on it.
	DefaultSharedA = 1
	DefaultSplit   = zoo.TrainSplit
	defaultWarmup  = 10
)

// Options say where and how a zoo is built. What is 0 in Rank and Training is as the zoo was built before, or else the default.
type Options struct {
	Dir        string
	Base       string // folder
	From       string // folder of tasks to copy into Dir first; "" = none
	Procedural int    // procedural tasks to write into Dir first; 0 = none

	Rank     int
	SharedA  *uint64 // seed of the factors A; nil = as before, or the default
	Training zoo.Training
	Seeds    int      // adapters of each task
	Splits   []string // of the tasks to learn from; nil = as before, or "train"
	Adapters int      // most tasks to learn from that get adapters, evenly over the index; 0 = all
	Oracles  bool     // adapters for the other tasks too, to measure against
	Group    int      // most adapters in one batch

	Force    bool // remove the adapters that were trained before
	Backend  func(ctx context.Context) (*compute.Backend, error)
	Progress progress.Func
}

// Check refuses what can't be.
func (o Options) Check() error {
	t := o.Training
	if min(o.Rank, t.Steps, t.Rows, t.Length, o.Adapters, o.Procedural) < 0 || min(o.Seeds, o.Group) < 1 || !(t.LearningRate >= 0) {
		return fmt.Errorf("rank %d, steps %d, learning rate %v, rows %d, length %d, seeds %d, adapters %d or group %d is out of range",
			o.Rank, t.Steps, t.LearningRate, t.Rows, t.Length, o.Seeds, o.Adapters, o.Group)
	}
	if o.From != "" && o.Procedural > 0 {
		return errors.New("tasks are copied from a folder or are procedural, not both")
	}
	return nil
}

// Builder builds one zoo.
type Builder struct {
	opt     Options
	base    *llm.Checkpoint
	tok     tokenizer.Tokenizer
	zoo     *zoo.Zoo
	journal *journal.Journal
	model   *engine.Model
	backend *compute.Backend
	asked   baseScore // of the latest task
	meter   meter
}

// job is one adapter of the zoo that is wanted.
type job struct {
	task   zoo.Task
	seed   int
	oracle bool
	data   string // hash of the task's file
}

func (j job) dir() string {
	top := zoo.AdaptersDir
	if j.oracle {
		top = zoo.OraclesDir
	}
	return fmt.Sprintf("%s/%s-s%d", top, j.task.Name, j.seed)
}

// Open opens the base. Nothing is written.
func Open(opt Options) (*Builder, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	b := &Builder{opt: opt}
	var err error
	if b.base, err = llm.Open(opt.Base); err != nil {
		return nil, err
	}
	if b.tok, err = tokenizer.Open(opt.Base); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close frees what the builder holds.
func (b *Builder) Close() error {
	return errors.Join(b.journal.Close(), b.base.Close())
}

// source is the folder of tasks to write into the zoo first, nil where there is none.
func (b *Builder) source() (*Folder, error) {
	switch {
	case b.opt.From != "":
		return Copied(b.opt.From)
	case b.opt.Procedural > 0:
		return Exported(b.opt.Procedural, DefaultQuestions, cmp.Or(b.opt.Training.Seed, DefaultSeed))
	}
	return nil, nil
}

// settle fills in what the command line left open: as the zoo was built before, or the default.
func (b *Builder) settle() error {
	z, t := b.zoo, &b.opt.Training
	was := z.Training
	b.opt.Rank = cmp.Or(b.opt.Rank, z.Rank, DefaultRank)
	t.Seed = cmp.Or(t.Seed, was.Seed, DefaultSeed)
	t.Steps = cmp.Or(t.Steps, was.Steps, DefaultSteps)
	t.LearningRate = cmp.Or(t.LearningRate, was.LearningRate, DefaultLR)
	t.Rows = cmp.Or(t.Rows, was.Rows, DefaultRows)
	t.Length = cmp.Or(t.Length, was.Length)
	t.Warmup = min(defaultWarmup, t.Steps)
	if b.opt.Splits == nil {
		b.opt.Splits = z.Splits
	}
	shapes, err := train.Adapted(b.base.Config, train.LowRankOptions{Rank: b.opt.Rank})
	if err != nil {
		return err
	}
	shared := uint64(DefaultSharedA)
	if b.opt.SharedA != nil {
		shared = *b.opt.SharedA
	} else if z.Rank != 0 {
		shared = z.SharedSeed
	}
	if z.Rank != 0 && (z.Rank != b.opt.Rank || z.SharedSeed != shared || was != *t || !slices.Equal(z.Splits, b.opt.Splits)) {
		return fmt.Errorf("%s was built with --rank %d --shared-a %d --seed %d --steps %d --lr %v --rows %d --length %d --splits %s; leave these flags out, or start anew with --force",
			z.Dir, z.Rank, z.SharedSeed, was.Seed, was.Steps, was.LearningRate, was.Rows, was.Length, strings.Join(z.Splits, " --splits "))
	}
	z.Rank, z.Training, z.Splits = b.opt.Rank, *t, b.opt.Splits
	z.SharedSeed = shared
	z.Modules = nil
	for _, s := range shapes {
		if !slices.Contains(z.Modules, s.Module) {
			z.Modules = append(z.Modules, s.Module)
		}
	}
	return nil
}

// jobs lists the adapters that are wanted, in the order of the tasks.
func (b *Builder) jobs(tasks []zoo.Task) ([]job, error) {
	var all []job
	given := 0
	chosen := map[string]bool{}
	for _, t := range evenly(tasks, b.opt.Adapters, func(t zoo.Task) bool { return slices.Contains(b.opt.Splits, t.Split) }) {
		chosen[t.Name] = true
	}
	for _, t := range tasks {
		learns := slices.Contains(b.opt.Splits, t.Split)
		if learns {
			given++
		}
		if learns && !chosen[t.Name] || !learns && !b.opt.Oracles {
			continue
		}
		for seed := range b.opt.Seeds {
			all = append(all, job{task: t, seed: seed, oracle: !learns})
		}
	}
	if given == 0 {
		return nil, fmt.Errorf("%s lists no task of the split %s, whose adapters are to be trained; name other ones by --splits",
			filepath.Join(b.opt.Dir, zoo.IndexName), strings.Join(b.opt.Splits, " or "))
	}
	return all, nil
}

// evenly takes n of the tasks that are wanted, from first to last; all where n is 0.
func evenly(tasks []zoo.Task, n int, wanted func(zoo.Task) bool) []zoo.Task {
	var all, some []zoo.Task
	for _, t := range tasks {
		if wanted(t) {
			all = append(all, t)
		}
	}
	if n == 0 || n >= len(all) {
		return all
	}
	for i := range n {
		some = append(some, all[i*len(all)/n])
	}
	return some
}

// Plan says what a build would do.
type Plan struct {
	Tasks    int `json:"tasks"`
	Learned  int `json:"tasks_to_learn_from"`
	Adapters int `json:"adapters"` // that the zoo would have, oracles among them
	Missing  int `json:"to_train"`
	Batches  int `json:"batches"` // at least
	Steps    int `json:"steps"`
}

// Plan says what Build would do, and writes nothing.
func (b *Builder) Plan() (*Plan, error) {
	source, err := b.source()
	if err != nil {
		return nil, err
	}
	if b.zoo, err = zoo.Read(b.opt.Dir, b.base); errors.Is(err, fs.ErrNotExist) && source != nil {
		b.zoo, err = &zoo.Zoo{Dir: b.opt.Dir, Tasks: source.Tasks, Manifest: zoo.Manifest{Splits: []string{zoo.TrainSplit}}}, nil
	}
	if err != nil {
		return nil, err
	}
	if b.opt.Force {
		b.zoo.Clear()
	}
	if err := b.settle(); err != nil {
		return nil, err
	}
	all, err := b.jobs(b.zoo.Tasks)
	if err != nil {
		return nil, err
	}
	missing := all
	if len(b.zoo.Members)+len(b.zoo.Oracles) > 0 {
		if missing, err = b.missing(all); err != nil {
			return nil, err
		}
	}
	learned := 0
	for _, t := range b.zoo.Tasks {
		if b.zoo.Learns(t) {
			learned++
		}
	}
	return &Plan{
		Tasks: len(b.zoo.Tasks), Learned: learned, Adapters: len(all), Missing: len(missing),
		Batches: (len(missing) + b.opt.Group - 1) / b.opt.Group, Steps: b.opt.Training.Steps,
	}, nil
}

// Summary is what came out of a build.
type Summary struct {
	Members  int      `json:"members"`
	Accuracy float64  `json:"accuracy"`      // mean over the members that were asked something, on held questions
	Base     float64  `json:"base_accuracy"` // the base's on the same
	Oracles  int      `json:"oracles"`
	Oracle   float64  `json:"oracle_accuracy"`
	Weak     []string `json:"below_half"` // tasks to learn from with an adapter that answers less than half
	Bytes    int64    `json:"bytes"`      // of the members' folders
	Trained  int      `json:"trained"`    // adapters of this call
	Seconds  float64  `json:"seconds"`    // of training and scoring those
}

// Build trains and scores what is wanted and isn't there, a batch at a time, and keeps the manifest. Killed at any moment, the
// same build continues, to the same bytes.
func (b *Builder) Build(ctx context.Context) (*Summary, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	var gone []zoo.Member
	if b.opt.Force {
		gone = b.zoo.Clear()
	}
	if err := b.settle(); err != nil {
		return nil, err
	}
	all, err := b.jobs(b.zoo.Tasks)
	if err != nil {
		return nil, err
	}
	if err := b.zoo.Remove(append(gone, b.zoo.Refresh()...)); err != nil {
		return nil, err
	}
	missing, err := b.missing(all)
	if err != nil {
		return nil, err
	}
	b.meter = meter{began: time.Now(), total: len(all), done: len(all) - len(missing), report: b.opt.Progress}
	if err := b.train(ctx, missing); err != nil {
		return nil, err
	}
	if err := b.zoo.Save(); err != nil {
		return nil, err
	}
	sum := summarize(b.zoo)
	sum.Trained, sum.Seconds = b.meter.trained, b.meter.seconds
	return sum, nil
}

// begin takes the zoo's lock, writes the tasks that are to be copied, and reads what is there.
func (b *Builder) begin() (err error) {
	source, err := b.source()
	if err != nil {
		return err
	}
	if source == nil { // a folder that isn't one is not to be littered
		if _, err := zoo.ReadTasks(b.opt.Dir); err != nil {
			return err
		}
	}
	if b.journal, err = zoo.Lock(b.opt.Dir); err != nil {
		return err
	}
	if source != nil {
		if err := source.Write(b.opt.Dir, b.opt.Force); err != nil {
			return err
		}
	}
	if b.zoo, err = zoo.Read(b.opt.Dir, b.base); err != nil {
		return err
	}
	b.model, err = engine.New(b.base, engine.Options{})
	return err
}

// missing finds the jobs whose adapter isn't in the zoo, or isn't what the manifest says.
func (b *Builder) missing(all []job) ([]job, error) {
	var out []job
	hashes := map[string]string{}
	for _, j := range all {
		hash, ok := hashes[j.task.Name]
		if !ok {
			var err error
			if hash, err = files.Hash(j.task.File(b.opt.Dir)); err != nil {
				return nil, err
			}
			hashes[j.task.Name] = hash
		}
		j.data = hash
		if m := b.zoo.At(j.dir()); m != nil {
			if _, err := b.zoo.Verify(*m, hash); err == nil {
				continue
			}
		}
		out = append(out, j)
	}
	return out, nil
}

// summarize counts a zoo's members.
func summarize(z *zoo.Zoo) *Summary {
	s := &Summary{Members: len(z.Members), Oracles: len(z.Oracles), Weak: []string{}}
	asked := 0
	for _, m := range z.Members {
		s.Bytes += m.Bytes
		if m.Held == 0 {
			continue
		}
		asked++
		s.Accuracy += m.Accuracy
		s.Base += m.BaseAccuracy
		if m.Accuracy < 0.5 && !slices.Contains(s.Weak, m.Task) {
			s.Weak = append(s.Weak, m.Task)
		}
	}
	for _, m := range z.Oracles {
		s.Oracle += m.Accuracy / float64(len(z.Oracles))
	}
	s.Accuracy /= float64(max(1, asked))
	s.Base /= float64(max(1, asked))
	return s
}
