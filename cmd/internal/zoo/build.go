// Package zoo trains the adapters of a zoo of tasks, many in one batch, and scores them.
package zoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/eval/traindata"
	"d2nwg/generator/zoo"
	"d2nwg/internal/compute"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
	"d2nwg/safetensors"
)

// Files of a zoo that is being built.
const (
	journalName = "zoo.journal.jsonl"
	stateDir    = ".state"
)

// Settings decide what the adapters become.
type Settings struct {
	Rank         int     `json:"rank"`
	Seed         uint64  `json:"seed"`     // all others are derived from it
	Seeds        int     `json:"seeds"`    // adapters of each task
	Adapters     int     `json:"adapters"` // most training tasks with adapters; 0 = all
	Oracles      bool    `json:"oracles"`  // also for the held-out tasks, to measure against; never to learn from
	Steps        int     `json:"steps"`
	Warmup       int     `json:"warmup"`
	LearningRate float64 `json:"learning_rate"`
	Rows         int     `json:"rows"`
	Length       int     `json:"length"` // tokens of a row; 0 = what the longest question needs
	Group        int     `json:"group"`  // adapters in one batch
}

// Options say where and how a zoo is built.
type Options struct {
	Dir  string
	Base string // folder
	Settings
	Force    bool // start anew where the zoo was built with other settings
	Backend  func(ctx context.Context) (*compute.Backend, error)
	Progress progress.Func
	Note     func(format string, args ...any)
}

// Builder is a zoo whose tasks are read.
type Builder struct {
	opt     Options
	tasks   []zoo.Task
	jobs    []job
	base    *llm.Checkpoint
	tok     tokenizer.Tokenizer
	model   *engine.Model
	journal *journal.Journal
	backend *compute.Backend
}

// job is one adapter to train.
type job struct {
	task zoo.Task
	seed int
}

func (j job) dir() string { return zoo.MemberDir(j.task.Name, j.seed) }

// Open reads the tasks and the base. Nothing is written.
func Open(opt Options) (*Builder, error) {
	b := &Builder{opt: opt}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Builder) open() (err error) {
	s := b.opt.Settings
	if s.Rank < 1 || s.Seeds < 1 || s.Steps < 1 || s.Rows < 1 || s.Group < 1 || s.Adapters < 0 || s.Length < 0 || !(s.LearningRate > 0) {
		return fmt.Errorf("rank %d, seeds %d, steps %d, rows %d, group %d, adapters %d, length %d or learning rate %v is out of range",
			s.Rank, s.Seeds, s.Steps, s.Rows, s.Group, s.Adapters, s.Length, s.LearningRate)
	}
	if b.tasks, err = zoo.ReadTasks(b.opt.Dir); err != nil {
		return err
	}
	if b.base, err = llm.Open(b.opt.Base); err != nil {
		return err
	}
	if b.tok, err = tokenizer.Open(b.opt.Base); err != nil {
		return err
	}
	trained := 0
	for _, t := range b.tasks {
		if t.Training() {
			if trained++; s.Adapters > 0 && trained > s.Adapters {
				continue
			}
		} else if !s.Oracles {
			continue
		}
		for seed := range s.Seeds {
			b.jobs = append(b.jobs, job{t, seed})
		}
	}
	if trained == 0 {
		return fmt.Errorf("%s lists no task of the split %q, which are the ones that adapters are trained for", filepath.Join(b.opt.Dir, zoo.IndexName), zoo.TrainSplit)
	}
	if b.opt.Length == 0 {
		b.opt.Length, err = b.longest()
	}
	return err
}

// longest is the length of a row that holds every question there is, in eights, within the model's positions.
func (b *Builder) longest() (int, error) {
	encoder := eval.NewEncoder(b.tok)
	const enough = 32 // two or three short questions; longer rows cost more attention
	length := enough
	for _, t := range b.tasks {
		data, err := b.data(t)
		if err != nil {
			return 0, err
		}
		for _, q := range data.Questions[stats.Train] {
			prompt, answer, err := encoder.Pair(q.Prompt, q.Answer)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", t.File(b.opt.Dir), err)
			}
			length = max(length, (len(prompt)+len(answer)+6)/8*8)
		}
	}
	return min(length, b.base.Config.MaxPositions), nil
}

// data reads a task's questions, cut by hash.
func (b *Builder) data(t zoo.Task) (*eval.Dataset, error) {
	return eval.ReadQuestions(t.File(b.opt.Dir), stats.DefaultShares)
}

// Plan says what a build would do.
type Plan struct {
	Tasks    int `json:"tasks"`
	Training int `json:"training_tasks"`
	Adapters int `json:"adapters"`
	Batches  int `json:"batches"`
	Length   int `json:"length"`
}

// Plan says what Build would do.
func (b *Builder) Plan() Plan {
	p := Plan{Tasks: len(b.tasks), Adapters: len(b.jobs), Length: b.opt.Length, Batches: (len(b.jobs) + b.opt.Group - 1) / b.opt.Group}
	for _, t := range b.tasks {
		if t.Training() {
			p.Training++
		}
	}
	return p
}

// Summary is what came out of a build.
type Summary struct {
	Plan
	Accuracy float64  `json:"accuracy"`      // mean over adapters of training tasks, on held questions
	Base     float64  `json:"base_accuracy"` // the base's, on the same
	Oracles  float64  `json:"oracle_accuracy,omitempty"`
	Weak     []string `json:"below_half"` // training tasks whose adapters answer less than half
	Bytes    int64    `json:"bytes"`      // of the stored factors
	Seconds  float64  `json:"seconds"`    // of this call
	Trained  int      `json:"trained"`    // adapters trained by this call
}

// Build trains and scores what isn't there yet and writes the manifest. Killed at any moment, the same build continues.
func (b *Builder) Build(ctx context.Context) (*Summary, error) {
	began := time.Now()
	if err := b.begin(); err != nil {
		return nil, err
	}
	sum := &Summary{Plan: b.Plan()}
	var members []zoo.Member
	for first := 0; first < len(b.jobs); first += b.opt.Group {
		group := b.jobs[first:min(first+b.opt.Group, len(b.jobs))]
		done, trained, err := b.group(ctx, first, group)
		if err != nil {
			return nil, err
		}
		members = append(members, done...)
		sum.Trained += trained
	}
	if err := b.finish(members); err != nil {
		return nil, err
	}
	sum.count(members)
	sum.Seconds = time.Since(began).Seconds()
	return sum, nil
}

// begin opens the journal and ties it to the settings and the base.
func (b *Builder) begin() error {
	path := filepath.Join(b.opt.Dir, journalName)
	if b.opt.Force {
		for _, name := range []string{zoo.AdaptersDir, zoo.ManifestName, journalName, stateDir} {
			if err := os.RemoveAll(filepath.Join(b.opt.Dir, name)); err != nil {
				return err
			}
		}
	}
	var err error
	if b.journal, err = journal.Open(path); err != nil {
		return err
	}
	hash, err := b.base.Hash()
	if err != nil {
		return err
	}
	type inputs struct {
		Base     string
		Settings Settings
	}
	now := inputs{hash, b.opt.Settings}
	// More tasks, or more adapters of them, don't change those that are there.
	now.Settings.Adapters, now.Settings.Oracles, now.Settings.Seeds = 0, false, 0
	kept, err := journal.Do(b.journal, "settings", "zoo", func() (inputs, error) { return now, nil })
	if err != nil {
		return err
	}
	if kept != now {
		return fmt.Errorf("%s was built with other settings or another base; repeat those, or start anew with --force", b.opt.Dir)
	}
	if b.model, err = engine.New(b.base, engine.Options{}); err != nil {
		return err
	}
	return nil
}

// group trains, saves and scores the adapters of one batch unless the journal has them.
func (b *Builder) group(ctx context.Context, first int, group []job) (members []zoo.Member, trained int, err error) {
	missing := slices.ContainsFunc(group, func(j job) bool { return !b.has(j) })
	if missing {
		if err := b.trainGroup(ctx, first, group); err != nil {
			return nil, 0, err
		}
		trained = len(group)
	}
	for _, j := range group {
		var m zoo.Member
		if _, err := b.journal.Get("member", j.dir(), &m); err != nil {
			return nil, 0, err
		}
		members = append(members, m)
	}
	b.opt.Progress.Report(progress.Event{Stage: "zoo", Done: int64(first + len(group)), Total: int64(len(b.jobs)), Note: "adapters"})
	return members, trained, nil
}

// has tells whether an adapter was trained, scored and still is there.
func (b *Builder) has(j job) bool {
	var m zoo.Member
	ok, err := b.journal.Get("member", j.dir(), &m)
	_, lost := os.Stat(filepath.Join(b.opt.Dir, filepath.FromSlash(j.dir())))
	return ok && err == nil && lost == nil
}

func (b *Builder) trainGroup(ctx context.Context, first int, group []job) error {
	if b.backend == nil {
		backend, err := b.opt.Backend(ctx)
		if err != nil {
			return err
		}
		b.backend = backend
	}
	var data []train.Data
	var sets []*eval.Dataset
	for _, j := range group {
		set, err := b.data(j.task)
		if err != nil {
			return err
		}
		q, err := traindata.NewQuestions(b.tok, set, b.opt.Rows, b.opt.Length, pipeline.Seed(b.opt.Seed, "rows "+j.dir(), 0))
		if err != nil {
			return err
		}
		data, sets = append(data, q), append(sets, set)
	}
	s := b.opt.Settings
	opt := train.Options{
		Steps: s.Steps, Warmup: s.Warmup, LearningRate: s.LearningRate, MinLearningRate: s.LearningRate / 10, Clip: 1,
		Seed: b.sharedA(), Backend: b.backend, Progress: b.opt.Progress,
		StateDir: filepath.Join(b.opt.Dir, stateDir, fmt.Sprintf("group-%06d", first)), SaveEvery: 50,
	}
	variants, log, err := train.Adapters(ctx, b.base, data, train.LowRankOptions{Rank: s.Rank}, opt)
	if err != nil {
		return err
	}
	for i, v := range variants {
		if err := b.keep(ctx, group[i], v, sets[i], tail(log.Loss, i)); err != nil {
			return err
		}
	}
	return os.RemoveAll(opt.StateDir)
}

// sharedA is the seed of the frozen factor A.
func (b *Builder) sharedA() uint64 { return pipeline.Seed(b.opt.Seed, "shared A", 0) }

// tail is the mean loss of a group's last tenth of the steps.
func tail(loss [][]float64, group int) float64 {
	n := max(1, len(loss)/10)
	sum := 0.0
	for _, row := range loss[len(loss)-n:] {
		sum += row[group]
	}
	return sum / float64(n)
}

// maxScored bounds the held questions of a task.
const maxScored = 200

// keep saves an adapter, scores what was saved, and notes it.
func (b *Builder) keep(ctx context.Context, j job, v *llm.Variant, set *eval.Dataset, loss float64) error {
	dir := filepath.Join(b.opt.Dir, filepath.FromSlash(j.dir()))
	if err := v.SaveAs(dir, j.task.Wordings()[0], llm.SaveOptions{DType: safetensors.BF16, Force: true}); err != nil {
		return err
	}
	saved, _, err := llm.LoadVariant(b.base, dir)
	if err != nil {
		return err
	}
	m := zoo.Member{Task: j.task.Name, Seed: j.seed, Dir: j.dir(), Split: j.task.Split, Steps: b.opt.Steps, Loss: loss}
	if m.Hash, err = saved.Hash(); err != nil {
		return err
	}
	if m.Data, err = zoo.FileHash(j.task.File(b.opt.Dir)); err != nil {
		return err
	}
	for _, l := range saved.LowRank {
		m.Bytes += 2 * int64(len(l.B))
	}
	if m.Accuracy, m.Base, m.N, err = b.score(ctx, saved, set); err != nil {
		return err
	}
	return b.journal.Append("member", j.dir(), m)
}

// score is the share of held questions that a variant and the base answer exactly.
func (b *Builder) score(ctx context.Context, v *llm.Variant, set *eval.Dataset) (accuracy, base float64, n int, err error) {
	set.Limit(stats.Test, maxScored)
	if n = set.Items(stats.Test); n == 0 {
		return 0, 0, 0, nil
	}
	scorer, err := eval.NewScorer(b.model, b.tok, set, eval.Options{})
	if err != nil {
		return 0, 0, 0, err
	}
	scores, err := scorer.Score(ctx, v, stats.Test)
	if err != nil {
		return 0, 0, 0, err
	}
	own, err := scorer.Score(ctx, &llm.Variant{Base: b.base}, stats.Test)
	return scores.Mean(), own.Mean(), n, err
}

// finish writes the manifest: the adapters of this build, and the imported ones of an old manifest.
func (b *Builder) finish(members []zoo.Member) error {
	hash, err := b.base.Hash()
	if err != nil {
		return err
	}
	if old, err := zoo.Open(b.opt.Dir, b.base); err == nil {
		for _, m := range old.Manifest.Members {
			if m.From != "" {
				members = append(members, m)
			}
		}
	}
	z := zoo.Zoo{Dir: b.opt.Dir, Manifest: zoo.Manifest{
		Format: 1, Base: hash, Rank: b.opt.Rank, SharedA: b.sharedA(), Options: b.opt.Settings, Members: members,
	}}
	if err := z.Save(); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(b.opt.Dir, stateDir))
}

func (s *Summary) count(members []zoo.Member) {
	trained, oracles := 0, 0
	for _, m := range members {
		s.Bytes += m.Bytes
		if m.Split != zoo.TrainSplit {
			s.Oracles += m.Accuracy
			oracles++
			continue
		}
		trained++
		s.Accuracy += m.Accuracy
		s.Base += m.Base
		if m.Accuracy < 0.5 && !slices.Contains(s.Weak, m.Task) {
			s.Weak = append(s.Weak, m.Task)
		}
	}
	s.Accuracy /= float64(max(1, trained))
	s.Base /= float64(max(1, trained))
	s.Oracles /= float64(max(1, oracles))
}

// Close frees what the builder holds.
func (b *Builder) Close() error {
	var err error
	if b.journal != nil {
		err = b.journal.Close()
	}
	if b.base != nil {
		err = errors.Join(err, b.base.Close())
	}
	return err
}
