package zoo

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval/traindata"
	"d2nwg/generator/adapters"
	"d2nwg/generator/zoo"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/files"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
)

// LearnOptions say how a generator of adapters is trained.
type LearnOptions struct {
	Dir      string // the zoo
	Base     string // folder
	Out      string
	Config   adapters.Config
	Start    string // file of adapters.Start, "" for the bundled one where that fits the zoo, or NoStart
	Tasks    int    // most training tasks to learn from, evenly chosen; 0 = all
	Force    bool
	Backend  *compute.Backend
	Progress progress.Func
}

// learnedExamples is how many examples of a task the set encoder sees.
const learnedExamples = 64

// Learn trains a generator on a zoo and saves it. Killed at any moment, the same call continues.
func Learn(ctx context.Context, opt LearnOptions) (*adapters.Summary, error) {
	if _, err := os.Stat(filepath.Join(opt.Out, adapters.FileName)); err == nil && !opt.Force {
		return nil, fmt.Errorf("%s holds a generator already; choose another folder, or --force to replace it: %w", opt.Out, fs.ErrExist)
	}
	base, err := llm.Open(opt.Base)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	tok, err := tokenizer.Open(opt.Base)
	if err != nil {
		return nil, err
	}
	z, err := zoo.Open(opt.Dir, base)
	if err != nil {
		return nil, err
	}
	start, path, err := opt.start(z)
	if err != nil {
		return nil, err
	}
	if start != nil {
		start.Shape(&opt.Config)
	}
	set, err := trainingSet(z, base, tok, opt)
	if err != nil {
		return nil, err
	}
	set.Start = start
	key, err := learnKey(z, path, opt)
	if err != nil {
		return nil, err
	}
	state := opt.Out + ".state"
	g, err := adapters.Train(ctx, opt.Config, *set, adapters.TrainOptions{Backend: opt.Backend, Progress: opt.Progress, State: func(stage string) *optim.Checkpoints {
		return &optim.Checkpoints{Path: filepath.Join(state, stage+".state.safetensors"), Key: key, Every: 200}
	}})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if err := g.Save(opt.Out, z.Base); err != nil {
		return nil, err
	}
	summary := g.Summary()
	return &summary, os.RemoveAll(state)
}

// learnKey binds a training state to what is learned.
func learnKey(z *zoo.Zoo, start string, opt LearnOptions) (string, error) {
	cfg := opt.Config
	cfg.Guidance, cfg.SampleSteps, cfg.Temperature = 0, 0, 0
	data, err := json.Marshal([]any{z.Manifest, z.Tasks, cfg, opt.Tasks})
	if start != "" && err == nil {
		var hash string
		hash, err = files.Hash(start)
		data = append(data, hash...)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), err
}

// NoStart begins a generator from nothing.
const NoStart = "none"

// start reads what the generator begins with, and says from which file; nil where it begins from nothing.
func (opt LearnOptions) start(z *zoo.Zoo) (s *adapters.Start, path string, err error) {
	through := opt.Config.Functional > 0 // without the loss through the base a start says nothing of the zoo's adapters
	switch {
	case opt.Start == NoStart, opt.Start == "" && !through:
		return nil, "", nil
	case !through:
		return nil, "", fmt.Errorf("%s is of no use where nothing is learned through the base; leave the start out, or the preset %s", opt.Start, opt.Config.Preset)
	}
	if path = opt.Start; path == "" {
		if path, err = bundled.CachedStart(); err != nil {
			return nil, "", err
		}
	}
	if s, err = adapters.OpenStart(path); err != nil {
		return nil, "", err
	}
	switch {
	case s.Base == z.Base && s.Seed == z.SharedSeed && s.Rank == z.Rank:
		return s, path, nil
	case opt.Start == "":
		return nil, "", nil
	case s.Base != z.Base:
		return nil, "", fmt.Errorf("%s is a start for another base than that of the zoo %s", path, z.Dir)
	}
	return nil, "", fmt.Errorf("%s is a start for adapters of rank %d on the factors A of seed %d; build the zoo with --rank %d --shared-a %d", path, s.Rank, s.Seed, s.Rank, s.Seed)
}

// trainingSet lays out the zoo's training tasks. Held-out tasks and their adapters are not among them.
func trainingSet(z *zoo.Zoo, base *llm.Checkpoint, tok tokenizer.Tokenizer, opt LearnOptions) (*adapters.Set, error) {
	model, err := engine.New(base, engine.Options{})
	if err != nil {
		return nil, err
	}
	set := &adapters.Set{Base: base, Rank: z.Rank, Seed: z.SharedSeed, Module: z.Modules, States: StateLen(model)}
	var data []*traindata.Questions
	cfg := opt.Config
	for _, t := range evenly(z.Tasks, opt.Tasks, z.Learns) {
		questions, err := dataset(z.Dir, t)
		if err != nil {
			return nil, err
		}
		some := questions.Questions[stats.Train]
		task := adapters.Task{Name: t.Name, Descriptions: t.Descriptions}
		if task.States, err = States(model, tok, some[:min(len(some), learnedExamples)]); err != nil {
			return nil, fmt.Errorf("%s: %w", t.File(z.Dir), err)
		}
		for _, m := range z.Members {
			if m.Task != t.Name {
				continue
			}
			v, err := z.Variant(m)
			if err != nil {
				return nil, fmt.Errorf("adapter %s: %w", m.Dir, err)
			}
			if !z.Shared(v) {
				continue // of factors A of its own: only its task is learned from
			}
			b := map[string][]float32{}
			for name, l := range v.LowRank {
				b[name] = l.B
			}
			task.Weights = append(task.Weights, b)
		}
		q, err := traindata.NewQuestions(tok, questions, cfg.Rows, cfg.Length, pipeline.Seed(cfg.Seed, "questions of "+t.Name, 0))
		if err != nil {
			return nil, err
		}
		set.Tasks, data = append(set.Tasks, task), append(data, q)
	}
	if len(set.Tasks) == 0 {
		return nil, errors.New("the zoo has no training tasks")
	}
	set.Batch = func(task, step int) (*pack.Batch, error) { return data[task].Batch(step) }
	return set, nil
}
