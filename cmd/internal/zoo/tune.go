package zoo

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/eval/traindata"
	"d2nwg/generator/zoo"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/train"
)

// SourceZero is the start of a fine-tune from nothing.
const SourceZero = "zero"

// starts are where a short fine-tune begins.
var starts = []string{SourceZero, SourceMean, SourceNearest, SourceGenerated}

// A Tune is a short fine-tune of held-out tasks, from every start.
type Tune struct {
	Shots int `json:"shots"` // examples, the first of the train cut; 0 = all
	Steps int `json:"steps"`
}

// TuneOptions say how adapters are tuned.
type TuneOptions struct {
	Tunes        []Tune
	PerSplit     int // tasks of every held-out split that tunes on all examples are run on; 0 = all
	LearningRate float64
	Rows, Length int
	Group        int // fine-tunes in one batch
}

// TuneRow is a held-out task's accuracy after a tune, by start.
type TuneRow struct {
	Tune
	Task   string             `json:"task"`
	Split  string             `json:"split"` // as SplitResult's
	Oracle float64            `json:"oracle,omitempty"`
	Scores map[string]float64 `json:"scores"`
}

// tuneAll runs every tune.
func (m *measurer) tuneAll(ctx context.Context) ([]TuneRow, error) {
	opt := m.opt.Tune
	var rows []TuneRow
	for _, t := range opt.Tunes {
		chosen := m.tuned(t)
		each := max(1, opt.Group/len(starts))
		for part := range slices.Chunk(chosen, each) {
			key := fmt.Sprintf("%+v %s %v %d %d %d", t, m.tasks[part[0]].Name, opt.LearningRate, opt.Rows, opt.Length, len(part))
			done, err := journal.Do(m.journal, "tune", key, func() ([]TuneRow, error) { return m.tune(ctx, part, t) })
			if err != nil {
				return nil, err
			}
			rows = append(rows, done...)
			m.opt.Progress.Report(progress.Event{Stage: fmt.Sprintf("%d steps on %s", t.Steps, t.examples()), Done: int64(slices.Index(chosen, part[len(part)-1]) + 1), Total: int64(len(chosen))})
		}
	}
	return rows, nil
}

func (t Tune) examples() string {
	if t.Shots == 0 {
		return "all examples"
	}
	return fmt.Sprintf("%d examples", t.Shots)
}

// tuned lists the held-out tasks that a tune is run on: all, or of every split PerSplit that words can tell.
func (m *measurer) tuned(t Tune) []int {
	var chosen []int
	of := map[string]int{}
	for i, task := range m.tasks {
		group := taskGroup(task)
		if m.z.Learns(task) || t.Shots == 0 && m.opt.Tune.PerSplit > 0 && (of[group] == m.opt.Tune.PerSplit || group != task.Split) {
			continue
		}
		of[group]++
		chosen = append(chosen, i)
	}
	return chosen
}

func taskGroup(t zoo.Task) string {
	return Row{Split: t.Split, Cheap: t.Cheap, Impossible: t.Impossible}.group()
}

// tune fine-tunes some tasks, from all starts of each, in one batch.
func (m *measurer) tune(ctx context.Context, tasks []int, t Tune) ([]TuneRow, error) {
	opt := m.opt.Tune
	var data []train.Data
	var inits []map[string]llm.LowRank
	var sets []*eval.Dataset
	for _, i := range tasks {
		set, err := dataset(m.z.Dir, m.tasks[i])
		if err != nil {
			return nil, err
		}
		set.Limit(stats.Test, m.opt.Items)
		if t.Shots > 0 {
			set.Limit(stats.Train, t.Shots)
		}
		q, err := traindata.NewQuestions(m.tok, set, opt.Rows, opt.Length, pipeline.Seed(m.opt.Seed, "tune "+m.tasks[i].Name, t.Shots))
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
		for _, start := range starts {
			v, err := m.candidate(ctx, i, start, set)
			if err != nil {
				return nil, err
			}
			var init map[string]llm.LowRank
			if v != nil {
				init = v.LowRank
			}
			data, inits = append(data, q), append(inits, init)
		}
	}
	variants, _, err := train.Adapters(ctx, m.base, data, train.LowRankOptions{Rank: m.g.Rank(), Init: inits}, train.Options{
		Steps: t.Steps, Warmup: min(3, t.Steps), LearningRate: opt.LearningRate, MinLearningRate: opt.LearningRate / 10, Clip: 1,
		Seed: m.g.Seed(), Backend: m.opt.Trainer,
	})
	if err != nil {
		return nil, err
	}
	var rows []TuneRow
	for k, i := range tasks {
		row := TuneRow{Tune: t, Task: m.tasks[i].Name, Split: taskGroup(m.tasks[i]), Scores: map[string]float64{}}
		if member := m.z.First(row.Task); member != nil {
			row.Oracle = member.Accuracy
		}
		scorer, err := eval.NewScorer(m.model, m.tok, sets[k], eval.Options{})
		if err != nil {
			return nil, err
		}
		for s, start := range starts {
			scores, err := scorer.Score(ctx, variants[k*len(starts)+s], stats.Test)
			if err != nil {
				return nil, err
			}
			row.Scores[start] = scores.Mean()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// TuneResult sums a split's tunes of one kind up.
type TuneResult struct {
	Tune
	Split  string             `json:"split"`
	Tasks  int                `json:"tasks"`
	Oracle float64            `json:"oracle"`
	Means  map[string]float64 `json:"means"`
	// Gain is generated against the best of the other starts on this split, resampling tasks.
	Best string          `json:"best_other"`
	Gain *stats.Interval `json:"gain,omitempty"`
}

// sumTunes groups rows by tune and split.
func sumTunes(rows []TuneRow, seed uint64) ([]TuneResult, error) {
	type key struct {
		Tune
		split string
	}
	groups := map[key][]TuneRow{}
	var keys []key
	for _, r := range rows {
		k := key{r.Tune, r.Split}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r)
	}
	var out []TuneResult
	for _, k := range keys {
		res, err := sumTune(groups[k], seed)
		if err != nil {
			return nil, err
		}
		out = append(out, res)
	}
	return out, nil
}

func sumTune(rows []TuneRow, seed uint64) (TuneResult, error) {
	res := TuneResult{Tune: rows[0].Tune, Split: rows[0].Split, Tasks: len(rows)}
	res.Means = meanScores(rows, func(r TuneRow) map[string]float64 { return r.Scores })
	for _, r := range rows {
		res.Oracle += r.Oracle / float64(len(rows))
	}
	for _, start := range starts {
		if start != SourceGenerated && (res.Best == "" || res.Means[start] > res.Means[res.Best]) {
			res.Best = start
		}
	}
	if len(rows) < 2 {
		return res, nil
	}
	var a, b []float64
	for _, r := range rows {
		a, b = append(a, r.Scores[SourceGenerated]), append(b, r.Scores[res.Best])
	}
	iv, err := stats.PairedBootstrap(a, b, nil, tableResamples, seed, tableAlpha)
	res.Gain = &iv
	return res, err
}

// nearOracle is the share of the oracle's accuracy that tunes on all examples are to reach.
const nearOracle = 0.9

// stepsTo is the smallest number of steps on all examples after which the mean over a split's tasks is near the oracle's; 0 where none is.
func stepsTo(tunes []TuneResult, split, start string) int {
	steps := 0
	for _, t := range tunes {
		if t.Split == split && t.Shots == 0 && t.Means[start] >= nearOracle*t.Oracle && (steps == 0 || t.Steps < steps) {
			steps = t.Steps
		}
	}
	return steps
}
