package zoo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/eval"
	"d2nwg/generator/explore"
	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
)

// AddOptions say what is added to a built zoo.
type AddOptions struct {
	Dir     string
	Base    string // folder
	Adapter string // folder: a PEFT adapter or a saved variant
	From    string // what the user calls it
	Task    zoo.Task
	Data    string // JSONL file of the task's questions; "" where the zoo has the task
}

// Add imports an adapter, and its task where the zoo doesn't have it, and scores it.
func Add(ctx context.Context, opt AddOptions) (*zoo.Member, error) {
	base, err := llm.Open(opt.Base)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	z, err := zoo.Open(opt.Dir, base)
	if err != nil {
		return nil, err
	}
	v, _, err := lora.Load(base, opt.Adapter)
	if err != nil {
		return nil, err
	}
	task, err := addTask(z, opt)
	if err != nil {
		return nil, err
	}
	m := &zoo.Member{Task: task.Name, Split: task.Split, From: opt.From}
	for slices.ContainsFunc(z.Manifest.Members, func(o zoo.Member) bool { return o.Task == m.Task && o.Seed == m.Seed }) {
		m.Seed++
	}
	m.Dir = zoo.MemberDir(m.Task, m.Seed)
	dir := filepath.Join(z.Dir, filepath.FromSlash(m.Dir))
	if err := v.SaveAs(dir, task.Wordings()[0], llm.SaveOptions{Force: true}); err != nil {
		return nil, err
	}
	if m.Hash, err = explore.HashVariant(v); err != nil {
		return nil, err
	}
	if m.Data, err = zoo.FileHash(task.File(z.Dir)); err != nil {
		return nil, err
	}
	for _, l := range v.LowRank {
		m.Bytes += 4 * int64(len(l.A)+len(l.B))
	}
	if err := scoreAdded(ctx, z, base, opt.Base, v, task, m); err != nil {
		return nil, err
	}
	z.Manifest.Members = append(z.Manifest.Members, *m)
	return m, z.Save()
}

// addTask finds the adapter's task in the zoo, or adds it with its data.
func addTask(z *zoo.Zoo, opt AddOptions) (zoo.Task, error) {
	if i := slices.IndexFunc(z.Tasks, func(t zoo.Task) bool { return t.Name == opt.Task.Name }); i >= 0 {
		if opt.Data != "" {
			return zoo.Task{}, fmt.Errorf("the zoo has the task %s already; leave --data out, or choose another --name", opt.Task.Name)
		}
		return z.Tasks[i], nil
	}
	if opt.Data == "" {
		return zoo.Task{}, fmt.Errorf("the zoo has no task %s; pass its questions with --data and its words with --description", opt.Task.Name)
	}
	if err := opt.Task.CheckName(); err != nil {
		return zoo.Task{}, err
	}
	if err := copyFile(opt.Task.File(z.Dir), opt.Data); err != nil {
		return zoo.Task{}, err
	}
	z.Tasks = append(z.Tasks, opt.Task)
	if err := zoo.WriteIndex(z.Dir, z.Tasks); err != nil {
		return zoo.Task{}, err
	}
	_, err := zoo.ReadTasks(z.Dir) // as every later command will
	return opt.Task, err
}

// copyFile copies a file to a place where there is none.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// scoreAdded fills in the member's scores.
func scoreAdded(ctx context.Context, z *zoo.Zoo, base *llm.Checkpoint, dir string, v *llm.Variant, task zoo.Task, m *zoo.Member) error {
	b := &Builder{base: base}
	var err error
	if b.tok, err = tokenizer.Open(dir); err != nil {
		return err
	}
	if b.model, err = engine.New(base, engine.Options{}); err != nil {
		return err
	}
	set, err := eval.ReadQuestions(task.File(z.Dir), stats.DefaultShares)
	if err != nil {
		return err
	}
	m.Accuracy, m.Base, m.N, err = b.score(ctx, v, set)
	return err
}
