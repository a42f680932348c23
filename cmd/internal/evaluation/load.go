package evaluation

import (
	"d2nwg/eval/taskrun"
	"d2nwg/eval/task"
)

// LoadOptions say which tasks are loaded, from where.
type LoadOptions struct {
	Names        []string // of tasks, groups and tags, or paths of task files
	IncludePaths []string // folders of task files, later ones win over the harness'
	Harness      string   // the harness' checkout or installation; "" = LM_EVAL_PATH, or beside Python
	Data         string   // folder of data sets
	Build        task.Options
	Samples      map[string][]int // documents to take, by task; nil = all
}

// Set is what tasks ask of a model.
type Set struct {
	Tasks  []*taskrun.Task
	Groups []taskrun.Group
}

func Load(o LoadOptions) (*Set, error) { panic("wait") }
