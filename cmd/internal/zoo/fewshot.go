package zoo

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/eval/traindata"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/train"
)

// SourceZero is the start of a fine-tune from nothing.
const SourceZero = "zero"

// starts are where a short fine-tune on few examples begins.
var starts = []string{SourceZero, SourceMean, SourceNearest, SourceGenerated}

// FewShotOptions say how adapters are tuned on few examples.
type FewShotOptions struct {
	Shots        []int // numbers of examples
	Steps        int
	LearningRate float64
	Rows, Length int
	Group        int // fine-tunes in one batch
}

// FewShotRow is a held-out task's accuracy after fine-tunes on few examples, by start.
type FewShotRow struct {
	Task   string             `json:"task"`
	Split  string             `json:"split"`
	Shots  int                `json:"shots"`
	Scores map[string]float64 `json:"scores"`
}

// FewShotResult sums a split up.
type FewShotResult struct {
	Split string             `json:"split"`
	Shots int                `json:"shots"`
	Tasks int                `json:"tasks"`
	Means map[string]float64 `json:"means"`
	// Gain is generated against the best of the other starts on this split, resampling tasks.
	Best string          `json:"best_other"`
	Gain *stats.Interval `json:"gain,omitempty"`
}

// fewShot fine-tunes every held-out task from every start on few examples of its train cut.
func (m *measurer) fewShot(ctx context.Context, opt FewShotOptions) ([]FewShotRow, error) {
	var rows []FewShotRow
	for _, shots := range opt.Shots {
		var chosen []int
		for i, t := range m.tasks {
			if !m.z.Learns(t) {
				chosen = append(chosen, i)
			}
		}
		each := max(1, opt.Group/len(starts))
		for part := range slices.Chunk(chosen, each) {
			key := fmt.Sprintf("%d %s %+v", shots, m.tasks[part[0]].Name, opt)
			done, err := journal.Do(m.journal, "few", key, func() ([]FewShotRow, error) { return m.tune(ctx, part, shots, opt) })
			if err != nil {
				return nil, err
			}
			rows = append(rows, done...)
			m.opt.Progress.Report(progress.Event{Stage: fmt.Sprintf("%d examples", shots), Done: int64(len(rows)), Total: int64(len(chosen) * len(opt.Shots))})
		}
	}
	return rows, nil
}

// tune runs the fine-tunes of some tasks, all starts of each, in one batch.
func (m *measurer) tune(ctx context.Context, tasks []int, shots int, opt FewShotOptions) ([]FewShotRow, error) {
	var data []train.Data
	var inits []map[string]llm.LowRank
	var sets []*eval.Dataset
	for _, i := range tasks {
		set, err := dataset(m.z.Dir, m.tasks[i])
		if err != nil {
			return nil, err
		}
		set.Limit(stats.Test, m.opt.Items)
		set.Limit(stats.Train, shots)
		q, err := traindata.NewQuestions(m.tok, set, opt.Rows, opt.Length, pipeline.Seed(m.opt.Seed, "few "+m.tasks[i].Name, shots))
		if err != nil {
			return nil, err
		}
		from, err := m.candidates(ctx, i, set)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
		for _, start := range starts {
			data = append(data, q)
			var init map[string]llm.LowRank
			if v := from[start]; v != nil {
				init = v.LowRank
			}
			inits = append(inits, init)
		}
	}
	variants, _, err := train.Adapters(ctx, m.base, data, train.LowRankOptions{Rank: m.g.Rank(), Init: inits}, train.Options{
		Steps: opt.Steps, Warmup: min(3, opt.Steps), LearningRate: opt.LearningRate, MinLearningRate: opt.LearningRate / 10, Clip: 1,
		Seed: m.g.Seed(), Backend: m.opt.Trainer,
	})
	if err != nil {
		return nil, err
	}
	var rows []FewShotRow
	for k, i := range tasks {
		row := FewShotRow{Task: m.tasks[i].Name, Split: Row{Split: m.tasks[i].Split, Cheap: m.tasks[i].Cheap}.group(), Shots: shots, Scores: map[string]float64{}}
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

// sumFewShot groups rows by split and number of examples.
func sumFewShot(rows []FewShotRow, seed uint64) ([]FewShotResult, error) {
	type key struct {
		split string
		shots int
	}
	groups := map[key][]FewShotRow{}
	var keys []key
	for _, r := range rows {
		k := key{r.Split, r.Shots}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r)
	}
	var out []FewShotResult
	for _, k := range keys {
		some := groups[k]
		res := FewShotResult{Split: k.split, Shots: k.shots, Tasks: len(some), Means: map[string]float64{}}
		for _, r := range some {
			for start, x := range r.Scores {
				res.Means[start] += x / float64(len(some))
			}
		}
		for _, start := range starts {
			if start != SourceGenerated && (res.Best == "" || res.Means[start] > res.Means[res.Best]) {
				res.Best = start
			}
		}
		if len(some) >= 2 {
			var a, b []float64
			for _, r := range some {
				a, b = append(a, r.Scores[SourceGenerated]), append(b, r.Scores[res.Best])
			}
			iv, err := stats.PairedBootstrap(a, b, nil, tableResamples, seed, tableAlpha)
			if err != nil {
				return nil, err
			}
			res.Gain = &iv
		}
		out = append(out, res)
	}
	return out, nil
}
