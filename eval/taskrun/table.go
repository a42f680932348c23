package taskrun

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// Table writes results for people as the harness does: a table of tasks and, where there are groups, one of groups.
func Table(results task.Doc) string {
	out := table(results, "results", "Tasks")
	if _, ok := results.Get("groups"); ok {
		out += "\n" + table(results, "groups", "Groups")
	}
	return out
}

// table lists one of the two kinds, members below their groups.
func table(results task.Doc, column, title string) string {
	rows := [][]string{{title, "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"}}
	of := sub(results, column)
	depth, order := hierarchy(sub(results, "group_subtasks"), of)
	for _, name := range order {
		d := sub(of, name)
		alias, _ := d.Get("alias")
		label := pythonText(alias)
		if depth[name] > 0 {
			label = strings.Repeat(" ", depth[name]) + "- " + label
		}
		rows = append(rows, lines(results, name, label, d)...)
	}
	return markdown(rows)
}

// lines are a task's rows, one a metric and filter, sorted.
func lines(results task.Doc, name, label string, d *jinja.Dict) (rows [][]string) {
	version := "N/A"
	if v, ok := sub(results, "versions").Get(name); ok {
		version = versionText(v)
	}
	shots := " "
	if n, ok := sub(results, "n-shot").Get(name); ok {
		shots = pythonText(n)
	}
	better := sub(sub(results, "higher_is_better"), name)
	var keys []string
	for key := range d.All() {
		if k := key.(string); strings.Contains(k, ",") && !strings.Contains(k, "_stderr,") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		metric, filter, _ := strings.Cut(key, ",")
		arrow := map[task.Value]string{true: "↑", false: "↓"}[mustGet(better, metric)]
		value, spread := mustGet(d, key), ""
		if e, ok := d.Get(metric + "_stderr," + filter); ok {
			spread = fourDigits(e)
		}
		rows = append(rows, []string{label, version, filter, shots, metric, arrow, fourDigits(value), "±", spread})
		label, version = "", ""
	}
	return rows
}

// hierarchy tells how deep each name lies below groups, and the order of the names that there are.
func hierarchy(members, available *jinja.Dict) (depth map[string]int, order []string) {
	depth = map[string]int{}
	child := map[string]bool{}
	children := map[string][]string{}
	for group, names := range members.All() {
		for _, name := range names.(*jinja.List).Items {
			child[name.(string)] = true
			children[group.(string)] = append(children[group.(string)], name.(string))
		}
		slices.Sort(children[group.(string)])
	}
	var visit func(name string, level int)
	visit = func(name string, level int) {
		if level > members.Len() {
			return // a group within itself
		}
		depth[name] = level
		if _, ok := available.Get(name); ok {
			order = append(order, name)
		}
		for _, c := range children[name] {
			visit(c, level+1)
		}
	}
	for _, group := range names(members) {
		if !child[group] {
			visit(group, 0)
		}
	}
	for _, name := range names(available) {
		if _, seen := depth[name]; !seen {
			order = append(order, name)
		}
	}
	return depth, order
}

func names(d *jinja.Dict) (all []string) {
	for key := range d.All() {
		all = append(all, key.(string))
	}
	slices.Sort(all)
	return all
}

func mustGet(d *jinja.Dict, key string) task.Value {
	v, _ := d.Get(key)
	return v
}

// sub is a dict within a dict, empty where there is none.
func sub(d *jinja.Dict, key string) *jinja.Dict {
	v, _ := d.Get(key)
	if inner, ok := v.(*jinja.Dict); ok {
		return inner
	}
	return jinja.NewDict()
}

func fourDigits(v task.Value) string {
	switch v := v.(type) {
	case float64:
		return fmt.Sprintf("%.4f", v)
	case string:
		return strings.Repeat(" ", 3) + v
	}
	return pythonText(v)
}

func versionText(v task.Value) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return pythonText(v)
}

// numeric are the columns that stand to the right.
var numeric = map[string]bool{"Version": true, "n-shot": true, "Value": true, "Stderr": true}

func markdown(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for c := range widths {
		widths[c] = 3
		for _, row := range rows {
			widths[c] = max(widths[c], utf8.RuneCountInString(row[c]))
		}
	}
	right := make([]bool, len(widths))
	for c, title := range rows[0] {
		right[c] = numeric[title]
		for _, row := range rows[1:] {
			right[c] = right[c] && (row[c] == "" || isNumber(row[c]))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		for c, cell := range row {
			pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
			switch {
			case i == 0:
				half := len(pad) / 2
				b.WriteString("|" + pad[:half] + cell + pad[half:])
			case right[c], numeric[rows[0][c]] && isNumber(cell):
				b.WriteString("|" + pad + cell)
			default:
				b.WriteString("|" + cell + pad)
			}
		}
		b.WriteString("|\n")
		if i == 0 {
			for c, w := range widths {
				if right[c] {
					b.WriteString("|" + strings.Repeat("-", w-1) + ":")
				} else {
					b.WriteString("|" + strings.Repeat("-", w))
				}
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
