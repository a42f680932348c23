package evaluation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/eval/task"
	"d2nwg/eval/taskrun"
)

// LoadOptions say which tasks are loaded, from where.
type LoadOptions struct {
	Names        []string // of tasks, groups and tags, or paths of task files
	IncludePaths []string // folders of task files, later ones win over the harness'
	Harness      string   // the harness' checkout or installation; "" = LM_EVAL_PATH, or beside Python
	Data         []string // folders of data sets; or NAME=PLACE, the folder or file of one
	Fetch        Fetch    // brings what no folder of Data holds; nil = nothing does
	Build        task.Options
	Samples      map[string][]int // documents to take, by task; nil = all
}

// Set is what tasks ask of a model.
type Set struct {
	Tasks  []*taskrun.Task
	Groups []taskrun.Group
}

// Load reads the task files and their data and builds all requests.
func Load(o LoadOptions) (*Set, error) {
	registry, missing, err := index(o)
	if err != nil {
		return nil, err
	}
	chosen, err := registry.Open(task.NewSession(nil), o.resolve, o.Names...)
	if errors.Is(err, task.ErrUnknown) && missing != nil {
		return nil, fmt.Errorf("%w; %w", err, missing)
	}
	if err != nil {
		return nil, err
	}
	set := &Set{}
	for _, t := range chosen.Tasks {
		made, err := o.build(t)
		if err != nil {
			return nil, err
		}
		set.Tasks = append(set.Tasks, made)
	}
	for _, g := range chosen.Groups {
		if o.Build.Profile == task.V1 { // the first leaderboard took plain means
			for i := range g.Aggregate {
				g.Aggregate[i].WeightBySize = false
			}
		}
		set.Groups = append(set.Groups, taskrun.Group{Group: g, Children: chosen.Children[g.Name], Tasks: leaves(chosen, g.Name, 0)})
	}
	return set, nil
}

func (o LoadOptions) build(t *task.Task) (*taskrun.Task, error) {
	options := o.Build
	if o.Samples != nil {
		samples, ok := o.Samples[t.Config.Task]
		if !ok {
			return nil, fmt.Errorf("--samples names no documents of the task %s", t.Config.Task)
		}
		options.Samples = samples
	}
	made := &taskrun.Task{Config: t.Config, Documents: len(t.Docs), Files: t.Files, Shots: t.Config.Shots(options), MultipleTargets: t.MultipleTargets > 0}
	if err := taskrun.CheckTask(made); err != nil { // before the work of building
		return nil, err
	}
	var err error
	if made.Instances, err = t.Build(options); err != nil {
		return nil, err
	}
	if len(made.Instances) == 0 {
		return nil, fmt.Errorf("task %s: no document is chosen", t.Config.Task)
	}
	return made, nil
}

// leaves are the tasks under a group, in order.
func leaves(s *task.Selection, group string, depth int) (names []string) {
	for _, name := range s.Children[group] {
		if _, isGroup := s.Children[name]; isGroup && depth < len(s.Groups) {
			names = append(names, leaves(s, name, depth+1)...)
		} else if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// index reads the names of all task files there are. A harness that isn't found is an error of its own, which counts
// only if a name is unknown without it.
func index(o LoadOptions) (r *task.Registry, missing, err error) {
	var folders []string
	dir, err := task.FindHarness(o.Harness)
	switch {
	case err == nil:
		folders = append(folders, dir)
	case errors.Is(err, task.ErrNoHarness) && o.Harness == "" && os.Getenv("LM_EVAL_PATH") == "":
		missing = err
	default:
		return nil, nil, err
	}
	r, err = task.Index(append(folders, o.IncludePaths...)...)
	return r, missing, err
}

// Fetch brings a configuration of a data set, a hub's, to this machine. Its error says what is missing.
type Fetch func(path, name string) (dir string, err error)

// resolve finds a data set where Data says, at its own path where that is a local one, or on a hub.
func (o LoadOptions) resolve(path, name string) (task.Source, error) {
	var tried, folders []string
	for _, where := range o.Data {
		if of, place, ok := strings.Cut(where, "="); ok && !isFolder(where) {
			if of == path {
				return task.Folder(place, name)
			}
			continue
		}
		folders = append(folders, where)
		tried = append(tried, filepath.Join(where, path, name), filepath.Join(where, path), filepath.Join(where, filepath.Base(path), name), filepath.Join(where, filepath.Base(path)))
	}
	for _, dir := range append(tried, path) {
		if isFolder(dir) {
			return task.Folder(dir, name)
		}
	}
	if o.Fetch != nil && onHub(path) {
		dir, err := o.Fetch(path, name)
		if err != nil {
			return task.Source{}, fmt.Errorf("no folder of --data holds it as %s/<split>.jsonl, nor does the hub give it: %w", filepath.Join(path, name), err)
		}
		return task.Folder(dir, name)
	}
	if len(folders) == 0 {
		return task.Source{}, fmt.Errorf("no folder of data sets is named: put its files below a folder as %s/<split>.jsonl and pass --data FOLDER: %w", filepath.Join(path, name), fs.ErrNotExist)
	}
	return task.Source{}, fmt.Errorf("%s holds no folder %s: %w", strings.Join(folders, ", "), filepath.Join(path, name), fs.ErrNotExist)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// onHub tells whether a dataset_path can be the name of a hub's data set, org/name, or an address.
func onHub(path string) bool {
	return strings.HasPrefix(path, "hf://") || strings.Count(path, "/") == 1 && !strings.HasPrefix(path, ".") && !strings.HasPrefix(path, "/")
}
