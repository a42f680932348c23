package zoo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/eval/traindata"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/llm/train"
	"d2nwg/safetensors"
)

// multitaskRows are the rows of a step, so that the one adapter sees as many questions as a batch of the zoo's.
const multitaskRows = 64

// openMultitask reads the adapter that was trained on all training tasks at once, or trains and saves it: rank, steps and learning rate are
// those of the zoo's adapters.
func (m *measurer) openMultitask(ctx context.Context) error {
	dir := m.opt.Multitask
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := m.trainMultitask(ctx, dir); err != nil {
			return err
		}
	}
	v, _, err := lora.Load(m.base, dir)
	if err != nil {
		return fmt.Errorf("the multitask adapter: %w", err)
	}
	m.multitask = v
	return nil
}

func (m *measurer) trainMultitask(ctx context.Context, dir string) error {
	all := &eval.Dataset{Name: m.z.Dir, Questions: map[stats.Split][]eval.Question{}}
	for _, t := range m.z.Tasks {
		if !m.z.Learns(t) {
			continue
		}
		set, err := dataset(m.z.Dir, t)
		if err != nil {
			return err
		}
		all.Questions[stats.Train] = append(all.Questions[stats.Train], set.Questions[stats.Train]...)
	}
	q, err := traindata.NewQuestions(m.tok, all, multitaskRows, m.opt.Tune.Length, pipeline.Seed(m.z.Training.Seed, "multitask", 0))
	if err != nil {
		return err
	}
	t := m.z.Training
	variants, _, err := train.Adapters(ctx, m.base, []train.Data{q}, train.LowRankOptions{Rank: m.z.Rank}, train.Options{
		Steps: t.Steps, Warmup: t.Warmup, LearningRate: t.LearningRate, MinLearningRate: t.LearningRate / 10, Clip: 1,
		Seed: m.z.SharedSeed, Backend: m.opt.Trainer, Progress: m.opt.Progress, StateDir: dir + ".state",
	})
	if err != nil {
		return err
	}
	if err := variants[0].SaveAs(dir, "All training tasks at once.", llm.SaveOptions{DType: safetensors.BF16}); err != nil {
		return err
	}
	return os.RemoveAll(dir + ".state")
}
