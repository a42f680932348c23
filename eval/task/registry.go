package task

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/internal/jinja"
)

// ErrUnknown is wrapped by the error of a name that is no task, group or tag.
var ErrUnknown = errors.New("no task, group or tag has this name")

// ignored are folders without task files.
var ignored = []string{"__pycache__", ".ipynb_checkpoints", ".git"}

// Registry knows the tasks, groups and tags of folders of YAML files by name. It is safe for concurrent reading.
type Registry struct {
	tasks  map[string]string // name → file
	groups map[string]string
	tags   map[string][]string // tag → tasks, sorted
	// Broken lists the files that couldn't be read as task files; other YAML may lie among them.
	Broken []error
}

// Index reads the names in folders, later ones winning. A folder that isn't there is an error, a file that is no task
// file is listed in Broken.
func Index(folders ...string) (*Registry, error) {
	r := &Registry{tasks: map[string]string{}, groups: map[string]string{}, tags: map[string][]string{}}
	for _, folder := range folders {
		part := &Registry{tasks: map[string]string{}, groups: map[string]string{}, tags: r.tags}
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && slices.Contains(ignored, entry.Name()):
				return fs.SkipDir
			case !entry.IsDir() && strings.HasSuffix(path, ".yaml"):
				if err := part.add(path); err != nil {
					r.Broken = append(r.Broken, err)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("the task files of %s: %w", folder, err)
		}
		for name, path := range part.tasks {
			r.tasks[name] = path
			delete(r.groups, name)
		}
		for name, path := range part.groups {
			r.groups[name] = path
			delete(r.tasks, name)
		}
	}
	for tag, names := range r.tags {
		slices.Sort(names)
		r.tags[tag] = slices.Compact(names)
	}
	return r, nil
}

// add registers a file; of two with one name in a folder the first counts.
func (r *Registry) add(path string) error {
	d, err := readYAML(path)
	if err != nil {
		return err
	}
	f := &fields{d: d, where: path}
	if _, isClass := d.Get("class"); !isClass && f.get("group") != nil {
		if name, ok := f.get("group").(string); ok && r.groups[name] == "" && r.tasks[name] == "" {
			r.groups[name] = path
		}
		return nil
	}
	name := f.text("task", "")
	if f.err != nil {
		return f.err
	}
	if name == "" {
		return fmt.Errorf("%s: it has neither the key task nor the key group", path)
	}
	if r.tasks[name] == "" && r.groups[name] == "" {
		r.tasks[name] = path
		for _, tag := range f.names("tag") {
			r.tags[tag] = append(r.tags[tag], name)
		}
	}
	return f.err
}

// Tasks, Groups and Tags list the names, sorted.
func (r *Registry) Tasks() []string  { return sorted(r.tasks) }
func (r *Registry) Groups() []string { return sorted(r.groups) }
func (r *Registry) Tags() []string   { return sorted(r.tags) }

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Tag lists the tasks of a tag in order; nil where it is none.
func (r *Registry) Tag(name string) []string { return r.tags[name] }

// Task reads a task by its name or by its file's path. The error wraps ErrHelper where it needs Python.
func (r *Registry) Task(name string) (*Config, error) { return r.task(name, nil) }

func (r *Registry) task(name string, overrides Doc) (*Config, error) {
	path, ok := r.tasks[name]
	if !ok {
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			return nil, fmt.Errorf("%q: %w", name, ErrUnknown)
		}
		path = name
	}
	d, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	if overrides != nil {
		d.Merge(overrides)
	}
	return readConfig(d, path)
}

// readConfig makes a Config that requests can be built from.
func readConfig(d Doc, path string) (*Config, error) {
	c, err := parseConfig(d, path)
	if err != nil {
		return nil, err
	}
	if c.Task == "" {
		return nil, fmt.Errorf("%s: it has no key task", path)
	}
	return c, c.checkHelpers()
}

// checkHelpers refuses a task whose requests need a helper that isn't known.
func (c *Config) checkHelpers() error {
	requests, _ := c.Functions()
	for _, fn := range requests {
		if !known(fn) {
			return fmt.Errorf("%s: %w: its helper %s isn't one of those written in Go", c.Source, ErrHelper, fn.Name)
		}
	}
	return nil
}

// Group reads a group by its name.
func (r *Registry) Group(name string) (*Group, error) {
	path, ok := r.groups[name]
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, ErrUnknown)
	}
	d, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	return parseGroup(d, name, path)
}

// groupKeys are the keys of a group file; others go down to its tasks.
var groupKeys = []string{"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"}

func parseGroup(d Doc, name, path string) (*Group, error) {
	f := &fields{d: d, where: path}
	g := &Group{Name: name, Alias: f.text("group_alias", ""), Metadata: metadata(f), Source: path,
		Overrides: args(d, groupKeys...)}
	members, _ := f.get("task").(*jinja.List)
	if members == nil && f.get("task") != nil {
		members = &jinja.List{Items: []Value{f.get("task")}}
	}
	for _, item := range listItems(members) {
		m, err := g.member(item, path)
		if err != nil {
			return nil, err
		}
		g.Members = append(g.Members, m)
	}
	aggregates, _ := f.get("aggregate_metric_list").(*jinja.List)
	if one, ok := f.get("aggregate_metric_list").(Doc); ok {
		aggregates = &jinja.List{Items: []Value{one}}
	}
	for _, item := range listItems(aggregates) {
		d, ok := item.(Doc)
		if !ok {
			f.fail("aggregate_metric_list", "a list of mappings", item)
			break
		}
		sub := &fields{d: d, where: path + ": aggregate_metric_list"}
		if fn, ok := sub.get("metric").(Function); ok {
			return nil, fmt.Errorf("%s: %w: it aggregates the metric %s", path, ErrHelper, fn.Name)
		}
		a := Aggregate{Metric: sub.text("metric", ""), Filters: sub.names("filter_list"), WeightBySize: true}
		if flag, given := d.Get("weight_by_size"); given {
			a.WeightBySize = jinja.Truth(flag)
		}
		switch how := sub.get("aggregation").(type) {
		case nil:
		case string:
			if how != "mean" {
				sub.fail("aggregation", "mean", how)
			}
		case Function:
			sub.err = fmt.Errorf("%s: %w: its aggregation is %s", path, ErrHelper, how.Name)
		}
		f.keep(sub)
		g.Aggregate = append(g.Aggregate, a)
	}
	return g, f.err
}

func listItems(list *jinja.List) []Value {
	if list == nil {
		return nil
	}
	return list.Items
}

// member reads an entry of a group's list: a name, or a mapping of a task or group with what it overrides.
func (g *Group) member(item Value, path string) (Member, error) {
	switch item := item.(type) {
	case string:
		return Member{Name: item, Overrides: g.Overrides}, nil
	case Doc:
		overrides := g.Overrides.Copy()
		if name, ok := item.Get("group"); ok {
			s, ok := name.(string)
			if !ok {
				break
			}
			overrides.Merge(args(item, "group"))
			inline, err := parseGroup(item, g.Name+"::"+s, path)
			if err != nil {
				return Member{}, err
			}
			return Member{Name: s, Overrides: overrides, Inline: inline}, nil
		}
		if name, ok := item.Get("task"); ok {
			if s, ok := name.(string); ok {
				overrides.Merge(item)
				return Member{Name: s, Overrides: overrides, Group: g}, nil
			}
		}
	}
	return Member{}, fmt.Errorf("%s: an entry of the group %s is neither a name nor a mapping with the key task or group", path, g.Name)
}
