package main

import (
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/cmd/internal/zoo"
	zoos "d2nwg/generator/zoo"
	"d2nwg/hub"
	"d2nwg/internal/compute"
)

// text is a default as the help shows it.
func text(v any) string { return fmt.Sprint(v) }

func runZooBuild(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	opt := zoo.Options{
		Dir: args[0], From: s.String("from"), Procedural: s.Int("procedural"), Rank: s.Int("rank"), Seeds: s.Int("seeds"), Splits: s.StringSlice("splits"),
		Adapters: s.Int("adapters"), Oracles: s.Bool("oracles"), Group: s.Int("group"), Force: s.Bool("force"), Progress: s.UI.Progress(),
		Training: zoos.Training{
			Seed: s.Uint64("seed"), Steps: s.Int("steps"), LearningRate: s.Float64("lr"), Rows: s.Int("rows"), Length: s.Int("length"),
		},
		Backend: func(ctx context.Context) (*compute.Backend, error) { return openBackend(ctx, s, s.String("backend")) },
	}
	if s.IsSet("shared-a") {
		a := s.Uint64("shared-a")
		opt.SharedA = &a
	}
	if err := opt.Check(); err != nil {
		return usagef("%v", err)
	}
	if opt.Base, _, err = s.resolve(s.String("base"), true); err != nil {
		return err
	}
	if opt.From != "" {
		if opt.From, _, err = s.resolve(opt.From, false); err != nil {
			return err
		}
	}
	b, err := zoo.Open(opt)
	if err != nil {
		return err
	}
	defer b.Close()
	if s.Bool("dry-run") {
		p, err := b.Plan()
		if err != nil {
			return err
		}
		return s.UI.Result(p, func(w io.Writer) {
			fmt.Fprintf(w, "%d tasks, %d of them to learn from; %d adapters, %d of them to train, in %d batches of %d steps\n",
				p.Tasks, p.Learned, p.Adapters, p.Missing, p.Batches, p.Steps)
		})
	}
	sum, err := b.Build(ctx)
	if err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(sum, func(w io.Writer) { writeZoo(w, sum) })
}

func writeZoo(w io.Writer, sum *zoo.Summary) {
	fmt.Fprintf(w, "%d adapters, %.2f MB; accuracy %.3f on held questions, the base's %.3f\n", sum.Members, float64(sum.Bytes)/1e6, sum.Accuracy, sum.Base)
	if sum.Oracles > 0 {
		fmt.Fprintf(w, "%d adapters of held-out tasks: accuracy %.3f\n", sum.Oracles, sum.Oracle)
	}
	if sum.Trained > 0 {
		fmt.Fprintf(w, "%d trained in %.1f s, %.2f s each\n", sum.Trained, sum.Seconds, sum.Seconds/float64(sum.Trained))
	}
	if len(sum.Weak) > 0 {
		fmt.Fprintf(w, "below one half: %s\n", strings.Join(sum.Weak, " "))
	}
}

func runZooAdd(ctx context.Context, s *session) error {
	args := s.Args().Slice()
	if len(args) < 2 {
		return usagef("d2nwg zoo add needs DIR and at least one ADAPTER; see d2nwg zoo add --help")
	}
	one := s.IsSet("name") || s.IsSet("description") || s.IsSet("data")
	if one && len(args) > 2 {
		return usagef("--name, --description and --data are one adapter's; add %d adapters one by one", len(args)-1)
	}
	base, _, err := s.resolve(s.String("base"), true)
	if err != nil {
		return err
	}
	var all []zoo.Import
	for _, address := range args[1:] {
		x := zoo.Import{Name: s.String("name"), Descriptions: s.StringSlice("description"), Split: s.String("split")}
		if x.Path, x.From, err = s.resolve(address, true); err != nil {
			return err
		}
		if x.Name == "" {
			if x.Name, err = lastName(address); err != nil {
				return err
			}
		}
		if s.IsSet("data") {
			if x.Data, _, err = s.resolve(s.String("data"), false); err != nil {
				return err
			}
		}
		all = append(all, x)
	}
	b, err := zoo.Open(zoo.Options{Dir: args[0], Base: base, Seeds: 1, Group: 1, Force: s.Bool("force")})
	if err != nil {
		return err
	}
	defer b.Close()
	added, err := b.Add(ctx, all)
	if err != nil {
		return err
	}
	return s.UI.Result(added, func(w io.Writer) {
		for _, m := range added {
			fmt.Fprintf(w, "%s: task %s (%s)", m.Dir, m.Task, m.Split)
			if m.Held > 0 {
				fmt.Fprintf(w, ", accuracy %.3f of %d questions, the base's %.3f", m.Accuracy, m.Held, m.BaseAccuracy)
			}
			fmt.Fprintln(w)
		}
	})
}

// lastName is the last part of a path or an address.
func lastName(address string) (string, error) {
	a, err := hub.Parse(address)
	if err != nil {
		return "", err
	}
	if a.Path != "" {
		return path.Base(a.Path), nil
	}
	absolute, err := filepath.Abs(a.Repo)
	return filepath.Base(absolute), err
}

func runZooCheck(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	base, err := s.openCheckpoint(s.String("base"))
	if err != nil {
		return err
	}
	defer base.Close()
	r, err := zoos.Check(args[0], base, zoos.CheckOptions{Accuracy: s.Float64("accuracy"), Alpha: s.Float64("alpha")})
	if err != nil {
		return err
	}
	err = s.UI.Result(r, func(w io.Writer) {
		for _, f := range r.Findings {
			fmt.Fprintf(w, "%-9s  %s: %s; %s\n", f.Kind, f.What, oneLine(f.Text), f.Remedy)
		}
		fmt.Fprintf(w, "%d tasks, %d members, %d findings\n", r.Tasks, r.Members, len(r.Findings))
	})
	if err == nil && r.Broken > 0 {
		err = fmt.Errorf("%w: %s has %d broken parts", errPartial, args[0], r.Broken)
	}
	return err
}

func runZooList(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	base, err := s.openCheckpoint(s.String("base"))
	if err != nil {
		return err
	}
	defer base.Close()
	z, err := zoos.Read(args[0], base)
	if err != nil {
		return err
	}
	type listing struct {
		Tasks    []zoos.Task   `json:"tasks"`
		Manifest zoos.Manifest `json:"manifest"`
	}
	return s.UI.Result(listing{z.Tasks, z.Manifest}, func(w io.Writer) { writeMembers(w, z) })
}

// writeMembers lists the adapters, and the tasks that have none.
func writeMembers(w io.Writer, z *zoos.Zoo) {
	t := ui.NewTable("task", "split", "adapter", "held", "accuracy", "base", "bytes")
	has := map[string]bool{}
	for _, list := range [][]zoos.Member{z.Members, z.Oracles} {
		for _, m := range list {
			has[m.Task] = true
			t.Row(m.Task, m.Split, m.Dir, m.Held, m.Accuracy, m.BaseAccuracy, m.Bytes)
		}
	}
	for _, task := range z.Tasks {
		if !has[task.Name] {
			t.Row(task.Name, task.Split, "-", "-", "-", "-", "-")
		}
	}
	t.Write(w)
}
