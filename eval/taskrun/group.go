package taskrun

import (
	"maps"
	"slices"
	"strings"

	"d2nwg/eval/metric"
	"d2nwg/eval/task"
)

// A Group is a group of tasks with its members as they were found.
type Group struct {
	*task.Group
	Children []string // names of tasks and groups directly under it
	Tasks    []string // names of all tasks under it, in order
}

// GroupResult is what a group's tasks scored together.
type GroupResult struct {
	Group   Group
	Metrics []Aggregate
	Counts  map[string]int // documents behind each metric
	Size    int            // documents of all tasks
}

// aggregateGroups pools the tasks of each group that asks for it, inner groups first.
func aggregateGroups(groups []Group, tasks []*TaskResult) []*GroupResult {
	byName := map[string]*TaskResult{}
	for _, t := range tasks {
		byName[t.Task.Name()] = t
	}
	var out []*GroupResult
	for _, g := range innerFirst(groups) {
		r := &GroupResult{Group: g, Counts: map[string]int{}}
		var members []*TaskResult
		for _, name := range g.Tasks {
			if t := byName[name]; t != nil {
				members = append(members, t)
				r.Size += len(t.Task.Instances)
			}
		}
		for _, a := range g.Aggregate {
			for _, filter := range filtersOf(a, members) {
				r.pool(a, filter, members)
			}
		}
		out = append(out, r)
	}
	return out
}

func innerFirst(groups []Group) []Group {
	byName, seen := map[string]Group{}, map[string]bool{}
	for _, g := range groups {
		byName[g.Name] = g
	}
	var out []Group
	var visit func(g Group)
	visit = func(g Group) {
		if seen[g.Name] {
			return
		}
		seen[g.Name] = true
		for _, name := range g.Children {
			if child, ok := byName[name]; ok {
				visit(child)
			}
		}
		out = append(out, g)
	}
	for _, g := range groups {
		visit(g)
	}
	return out
}

// filtersOf are the filters a group pools a metric over: those it names, or all that its tasks have.
func filtersOf(a task.Aggregate, members []*TaskResult) []string {
	if a.Filters != nil {
		return a.Filters
	}
	found := map[string]bool{}
	for _, t := range members {
		for _, m := range t.Metrics {
			if m.Metric == a.Metric {
				found[m.Filter] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (r *GroupResult) pool(a task.Aggregate, filter string, members []*TaskResult) {
	var values, errors []float64
	var sizes []int
	all := true // have a standard error
	for _, t := range members {
		for _, m := range t.Metrics {
			if m.Metric == a.Metric && m.Filter == filter {
				values, errors, sizes = append(values, m.Value), append(errors, m.StdErr), append(sizes, len(t.Task.Instances))
				all = all && m.HasStdErr
			}
		}
	}
	if len(values) == 0 {
		return
	}
	out := Aggregate{Metric: a.Metric, Filter: filter, Value: metric.GroupMean(values, sizes, a.WeightBySize)}
	if all {
		out.StdErr, out.HasStdErr = metric.PooledStdErr(errors, sizes), true
	}
	r.Metrics = append(r.Metrics, out)
	r.Counts[out.Key()] = 0
	for _, n := range sizes {
		r.Counts[out.Key()] += n
	}
}

// Board reads the second leaderboard's raw scores off the results.
func (e *Evaluation) Board() metric.Board {
	b := metric.Board{}
	put := func(name string, metrics []Aggregate) {
		if !strings.HasPrefix(name, "leaderboard_") {
			return
		}
		for _, m := range metrics {
			switch {
			case name == "leaderboard_ifeval" && m.Metric == "prompt_level_strict_acc":
				b[metric.IFEvalPrompt] = m.Value
			case name == "leaderboard_ifeval" && m.Metric == "inst_level_strict_acc":
				b[metric.IFEvalInst] = m.Value
			case m.Metric == "acc_norm", name == "leaderboard_mmlu_pro" && m.Metric == "acc", name == "leaderboard_math_hard" && m.Metric == "exact_match":
				b[name] = m.Value
			}
		}
	}
	for _, t := range e.Tasks {
		put(t.Task.Name(), t.Metrics)
	}
	for _, g := range e.Groups {
		put(g.Group.Name, g.Metrics)
	}
	return b
}
