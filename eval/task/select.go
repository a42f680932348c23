package task

import (
	"errors"
	"fmt"
	"slices"
)

const maxGroups = 50 // groups within groups

// Selection is what names stand for: tasks ready to build requests, and groups over them.
type Selection struct {
	Tasks  []*Task  // in the harness' order
	Groups []*Group // outer ones first
	// Children lists a group's tasks and groups by name, in order, with tags replaced by their tasks.
	Children map[string][]string
}

// Open opens the tasks that names of tasks, groups and tags stand for, in the harness' order, which decides what
// helpers draw from the shared generator. A task that needs a Python helper is an error that names it (ErrHelper).
func (r *Registry) Open(s *Session, resolve Resolver, names ...string) (*Selection, error) {
	o := &opener{r: r, s: s, sel: &Selection{Children: map[string][]string{}}}
	o.load = func(c *Config) (*Dataset, error) { return Load(c, resolve) }
	if len(names) == 0 {
		return nil, errors.New("no task is named")
	}
	for _, name := range names {
		if _, err := o.member(Member{Name: name}, 0); err != nil {
			return nil, err
		}
	}
	return o.sel, nil
}

type opener struct {
	r    *Registry
	s    *Session
	load func(*Config) (*Dataset, error)
	sel  *Selection
}

// member opens a task, group or tag and returns the names it stands for.
func (o *opener) member(m Member, depth int) ([]string, error) {
	if depth > maxGroups {
		return nil, fmt.Errorf("the group %s: groups nest more than %d deep; does one contain itself?", m.Name, maxGroups)
	}
	if _, ok := o.r.groups[m.Name]; ok {
		g, err := o.r.Group(m.Name)
		if err != nil {
			return nil, err
		}
		return []string{g.Name}, o.group(g, m.Overrides, depth)
	}
	if m.Inline != nil {
		return []string{m.Inline.Name}, o.group(m.Inline, nil, depth)
	}
	if tasks := o.r.Tag(m.Name); tasks != nil && o.r.tasks[m.Name] == "" {
		for _, name := range tasks {
			if err := o.task(name, m.Overrides); err != nil {
				return nil, err
			}
		}
		return tasks, nil
	}
	if m.Group != nil && o.r.tasks[m.Name] == "" {
		d := m.Overrides.Copy()
		d.Put("task", m.Group.Name+"::"+m.Name)
		c, err := readConfig(d, m.Group.Source)
		if err != nil {
			return nil, err
		}
		return []string{c.Task}, o.open(c)
	}
	return []string{m.Name}, o.task(m.Name, m.Overrides)
}

func (o *opener) group(g *Group, overrides Doc, depth int) error {
	o.sel.Groups = append(o.sel.Groups, g)
	var names []string
	for _, m := range g.Members {
		if overrides != nil {
			merged := m.Overrides.Copy()
			merged.Merge(args(overrides, "task"))
			m.Overrides = merged
		}
		children, err := o.member(m, depth+1)
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		names = append(names, children...)
	}
	for _, name := range names { // after all were made
		if o.sel.Children[name] == nil && !slices.ContainsFunc(o.sel.Groups, func(g *Group) bool { return g.Name == name }) {
			o.s.addedToGroup()
		}
	}
	o.sel.Children[g.Name] = names
	return nil
}

func (o *opener) task(name string, overrides Doc) error {
	if overrides != nil {
		overrides = args(overrides, "task")
	}
	c, err := o.r.task(name, overrides)
	if err != nil {
		return err
	}
	return o.open(c)
}

func (o *opener) open(c *Config) error {
	for _, t := range o.sel.Tasks {
		if t.Config.Task == c.Task {
			return fmt.Errorf("the task %s is named twice", c.Task)
		}
	}
	data, err := o.load(c)
	if err != nil {
		return err
	}
	t, err := o.s.Open(c, data)
	if err != nil {
		return err
	}
	o.sel.Tasks = append(o.sel.Tasks, t)
	return nil
}
