package zoo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/generator/zoo"
	"d2nwg/internal/files"
	"d2nwg/internal/textfile"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/safetensors"
)

// Import is an adapter to take into a zoo.
type Import struct {
	Path         string   // folder: a PEFT adapter or a saved variant
	From         string   // what the user calls it
	Name         string   // of its task, which may be one of the zoo's
	Descriptions []string // of a task that isn't the zoo's; nil = what a saved variant says
	Split        string   // of a task that isn't the zoo's
	Data         string   // file of questions that make it a task of the zoo; "" = none

	said string // the description that a saved variant has
}

// Add takes adapters into the zoo, which is made where there is none. All are read, and refused where they don't fit the base,
// before the first is written.
func (b *Builder) Add(ctx context.Context, imports []Import) ([]zoo.Member, error) {
	variants := make([]*llm.Variant, len(imports))
	for i := range imports {
		var err error
		if variants[i], err = b.load(&imports[i]); err != nil {
			return nil, err
		}
	}
	if err := b.beginAdd(); err != nil {
		return nil, err
	}
	for i := range imports {
		if err := b.assign(&imports[i]); err != nil {
			return nil, err
		}
	}
	var added []zoo.Member
	for i, x := range imports {
		m, err := b.add(ctx, x, variants[i])
		if err != nil {
			return nil, err
		}
		added = append(added, m)
	}
	return added, nil
}

func (b *Builder) beginAdd() (err error) {
	if b.journal, err = zoo.Lock(b.opt.Dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.opt.Dir, zoo.IndexName)); errors.Is(err, fs.ErrNotExist) {
		if err := zoo.AppendTasks(b.opt.Dir); err != nil {
			return err
		}
	}
	if b.zoo, err = zoo.Read(b.opt.Dir, b.base); err != nil {
		return err
	}
	b.model, err = engine.New(b.base, engine.Options{})
	return err
}

// load reads an adapter, and what is named with it.
func (b *Builder) load(x *Import) (*llm.Variant, error) {
	v, description, err := lora.Load(b.base, x.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.From, err)
	}
	x.said = description
	if err := zoo.CheckName(x.Name); err != nil {
		return nil, fmt.Errorf("%s: %w; choose another one by --name", x.From, err)
	}
	if x.Data != "" {
		_, err = textfile.Questions(x.Data, textfile.AnyKeys)
	}
	return v, err
}

// assign settles what an adapter's task is: one of the zoo's, or its own.
func (b *Builder) assign(x *Import) error {
	if t := b.zoo.Task(x.Name); t != nil {
		if x.Descriptions != nil || x.Data != "" || x.Split != "" && x.Split != t.Split {
			return fmt.Errorf("%s: the zoo has the task %s with descriptions, questions and a split of its own; leave these flags out, or choose another --name", x.From, t.Name)
		}
		x.Descriptions, x.Split = t.Descriptions, t.Split
		return nil
	}
	if x.Descriptions == nil && x.said != "" {
		x.Descriptions = []string{x.said}
	}
	if x.Split == "" {
		x.Split = zoo.TrainSplit
	}
	if len(x.Descriptions) == 0 {
		return fmt.Errorf("%s has no description; say by --description what it does", x.From)
	}
	return nil
}

// add stores one adapter and takes it into the manifest.
func (b *Builder) add(ctx context.Context, x Import, v *llm.Variant) (zoo.Member, error) {
	m := zoo.Member{Task: x.Name, Split: x.Split, Descriptions: x.Descriptions, From: x.From, P: 1}
	if err := b.place(&m); err != nil {
		return m, err
	}
	if x.Data != "" {
		if err := b.addTask(x); err != nil {
			return m, err
		}
	}
	dir := filepath.Join(b.opt.Dir, filepath.FromSlash(m.Dir))
	if err := v.SaveAs(dir, m.Descriptions[0], llm.SaveOptions{DType: exactType(v), Force: true}); err != nil {
		return m, fmt.Errorf("%s: %w", x.From, err)
	}
	saved, err := b.zoo.Measure(&m)
	if err != nil {
		return m, err
	}
	if t := b.zoo.Task(m.Task); t != nil {
		if m.Data, err = files.Hash(t.File(b.opt.Dir)); err != nil {
			return m, err
		}
		data, err := dataset(b.opt.Dir, *t)
		if err != nil {
			return m, err
		}
		if err := b.score(ctx, &m, saved, data); err != nil {
			return m, err
		}
	}
	b.zoo.Put(m)
	return m, b.zoo.Save()
}

// place gives an imported adapter its number among those of the task, and its folder.
func (b *Builder) place(m *zoo.Member) error {
	top := zoo.AdaptersDir
	if !slices.Contains(b.zoo.Splits, m.Split) {
		top = zoo.OraclesDir
	}
	m.Seed = 1
	for _, o := range slices.Concat(b.zoo.Members, b.zoo.Oracles) {
		switch {
		case o.Task != m.Task || o.From == "":
		case o.From == m.From && !b.opt.Force:
			return fmt.Errorf("%s is in %s already, in %s; replace it by --force: %w", m.From, b.opt.Dir, o.Dir, fs.ErrExist)
		case o.From == m.From:
			m.Seed, m.Dir = o.Seed, o.Dir
			return nil
		default:
			m.Seed = max(m.Seed, o.Seed+1)
		}
	}
	m.Dir = fmt.Sprintf("%s/%s-added%d", top, m.Task, m.Seed)
	return nil
}

// addTask makes a task of an adapter's questions.
func (b *Builder) addTask(x Import) error {
	t := zoo.Task{Name: x.Name, Split: x.Split, Descriptions: x.Descriptions}
	data, err := os.ReadFile(x.Data)
	if err != nil {
		return err
	}
	if err := files.Write(t.File(b.opt.Dir), data); err != nil {
		return err
	}
	b.zoo.Tasks = append(b.zoo.Tasks, t)
	return zoo.AppendTasks(b.opt.Dir, t)
}

// exactType is the smallest type of numbers that keeps an adapter's factors as they are.
func exactType(v *llm.Variant) safetensors.DType {
	for _, dt := range []safetensors.DType{safetensors.BF16, safetensors.F16} {
		if keeps(dt, v) {
			return dt
		}
	}
	return safetensors.F32
}

func keeps(dt safetensors.DType, v *llm.Variant) bool {
	for _, l := range v.LowRank {
		for _, values := range [][]float32{l.A, l.B} {
			rounded := slices.Clone(values)
			if err := safetensors.Round(dt, rounded); err != nil || !slices.Equal(rounded, values) {
				return false
			}
		}
	}
	return true
}
