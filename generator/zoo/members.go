package zoo

import (
	"cmp"
	"os"
	"slices"

	"d2nwg/llm"
)

// Task is the task of a name, nil where there is none.
func (z *Zoo) Task(name string) *Task {
	i := slices.IndexFunc(z.Tasks, func(t Task) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &z.Tasks[i]
}

// First is a task's first member, or else its first oracle, nil where there is none.
func (z *Zoo) First(task string) *Member {
	return z.find(func(m Member) bool { return m.Task == task })
}

// At is the member, or the oracle, in a folder below the zoo, nil where there is none.
func (z *Zoo) At(dir string) *Member {
	return z.find(func(m Member) bool { return m.Dir == dir })
}

func (z *Zoo) find(which func(Member) bool) *Member {
	for _, list := range [][]Member{z.Members, z.Oracles} {
		if i := slices.IndexFunc(list, which); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// Put takes a member in, in place of one in the same folder. Members stand in the order of the tasks, those of other tasks
// behind them. Save makes it last.
func (z *Zoo) Put(m Member) {
	list := &z.Members
	if !slices.Contains(z.Splits, m.Split) {
		list = &z.Oracles
	}
	*list = append(slices.DeleteFunc(*list, func(o Member) bool { return o.Dir == m.Dir }), m)
	order := map[string]int{}
	for i, t := range z.Tasks {
		order[t.Name] = i + 1
	}
	place := func(m Member) int {
		if i := order[m.Task]; i > 0 {
			return i
		}
		return len(z.Tasks) + 1
	}
	slices.SortStableFunc(*list, func(a, b Member) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Task, b.Task), cmp.Compare(a.From, b.From), cmp.Compare(a.Seed, b.Seed))
	})
}

// Clear takes all trained adapters out of the manifest, so that others can be trained, and returns them; imported ones stay.
func (z *Zoo) Clear() []Member {
	z.Rank, z.SharedSeed, z.Modules, z.Training, z.Splits = 0, 0, nil, Training{}, []string{TrainSplit}
	return z.drop(func(m Member) bool { return m.From == "" })
}

// Refresh makes the manifest follow the index: members get their tasks' present descriptions; trained adapters of tasks that are
// gone, or went to the other side of what is learned from, are taken out and returned.
func (z *Zoo) Refresh() []Member {
	tasks := map[string]Task{}
	for _, t := range z.Tasks {
		tasks[t.Name] = t
	}
	gone := z.drop(func(m Member) bool {
		t, ok := tasks[m.Task]
		return m.From == "" && (!ok || slices.Contains(z.Splits, m.Split) != z.Learns(t))
	})
	for _, list := range [][]Member{z.Members, z.Oracles} {
		for i := range list {
			if t, ok := tasks[list[i].Task]; ok {
				list[i].Descriptions = t.Descriptions
				if list[i].From == "" {
					list[i].Split = t.Split
				}
			}
		}
	}
	return gone
}

// drop takes members out of the manifest, and returns them.
func (z *Zoo) drop(which func(Member) bool) []Member {
	var gone []Member
	for _, list := range []*[]Member{&z.Members, &z.Oracles} {
		*list = slices.DeleteFunc(*list, func(m Member) bool {
			if which(m) {
				gone = append(gone, m)
				return true
			}
			return false
		})
	}
	return gone
}

// Remove saves the manifest and deletes the folders of members that it doesn't name any more.
func (z *Zoo) Remove(gone []Member) error {
	if len(gone) == 0 {
		return nil
	}
	if err := z.Save(); err != nil {
		return err
	}
	for _, m := range gone {
		if err := os.RemoveAll(z.path(m)); err != nil {
			return err
		}
	}
	return nil
}

// Measure reads a member's adapter and notes its hash and its size.
func (z *Zoo) Measure(m *Member) (*llm.Variant, error) {
	v, err := z.Variant(*m)
	if err != nil {
		return nil, err
	}
	if m.Hash, err = v.Hash(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(z.path(*m))
	if err != nil {
		return nil, err
	}
	m.Bytes = 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		m.Bytes += info.Size()
	}
	return v, nil
}
