// Package zoo is a folder of tasks, and of adapters trained on them: what a generator of adapters learns from.
//
//	index.json            [{"name", "split", "description" or "descriptions", maybe "unseen", "cheap", "impossible"}]
//	NAME.jsonl            {"prompt", "answer"} a line
//	adapters/NAME-sSEED/  a trained adapter, as llm.Variant.SaveAs writes it: where factors A are shared, B alone
//	oracles/NAME-sSEED/   the same for tasks held out, to measure against; nothing learns from them
//	manifest.json         what the adapters were trained on and what they score
//	.zoo/                 the journal of the building, and what it continues from
//
// The first two are the user's, and all that a folder of tasks needs; the others are added by building.
package zoo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"d2nwg/safetensors"
)

// IndexName is the file that lists a folder's tasks.
const IndexName = "index.json"

// TrainSplit is the split of tasks that a generator learns from, unless a zoo names others.
const TrainSplit = "train"

// A Task is one entry of index.json.
type Task struct {
	Name         string   `json:"name"`
	Split        string   `json:"split"`                // "train", or else a kind of held-out tasks
	Descriptions []string `json:"descriptions"`         // one or more wordings of the same
	Unseen       string   `json:"unseen,omitempty"`     // a wording that a generator doesn't see in training
	Cheap        float64  `json:"cheap,omitempty"`      // share of the commonest answer, where that is large
	Impossible   string   `json:"impossible,omitempty"` // why no description can tell this task
}

// UnmarshalJSON takes one "description", several "descriptions" or both. A task without a split is one to train on.
func (t *Task) UnmarshalJSON(data []byte) error {
	type plain Task
	raw := struct {
		*plain
		Description string `json:"description"`
	}{plain: (*plain)(t)}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	if raw.Description != "" && !slices.Contains(t.Descriptions, raw.Description) {
		t.Descriptions = slices.Insert(t.Descriptions, 0, raw.Description)
	}
	if t.Split == "" {
		t.Split = TrainSplit
	}
	return nil
}

// File is where the task's questions stand in the folder dir.
func (t Task) File(dir string) string { return filepath.Join(dir, t.Name+".jsonl") }

// maxJSON bounds the bytes of index.json and manifest.json.
const maxJSON = 256 << 20

// ReadTasks reads a folder's index and looks for the files of questions. The error names the entry at fault.
func ReadTasks(dir string) ([]Task, error) {
	path := filepath.Join(dir, IndexName)
	var entries []json.RawMessage
	if err := readJSON(path, &entries); err != nil {
		return nil, err
	}
	tasks := make([]Task, len(entries))
	seen := map[string]int{}
	for i, entry := range entries {
		t := &tasks[i]
		if err := json.Unmarshal(entry, t); err != nil {
			return nil, badf("%s: task %d: %v", path, i+1, err)
		}
		if err := t.check(); err != nil {
			return nil, badf("%s: task %d: %v", path, i+1, err)
		}
		if first, twice := seen[t.Name]; twice {
			return nil, badf("%s: tasks %d and %d have the same name %q", path, first, i+1, t.Name)
		}
		seen[t.Name] = i + 1
		info, err := os.Stat(t.File(dir))
		if err != nil {
			return nil, fmt.Errorf("%s: the questions of task %q are missing: %w", path, t.Name, err)
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return nil, badf("%s, the questions of task %q, is empty or no file", t.File(dir), t.Name)
		}
	}
	return tasks, nil
}

// check refuses an entry that a zoo can't hold.
func (t *Task) check() error {
	if err := CheckName(t.Name); err != nil {
		return err
	}
	if len(t.Descriptions) == 0 {
		return fmt.Errorf(`%q has no description; add "description" or "descriptions"`, t.Name)
	}
	for _, d := range t.Descriptions {
		if strings.TrimSpace(d) == "" {
			return fmt.Errorf("%q has an empty description", t.Name)
		}
	}
	if !(t.Cheap >= 0 && t.Cheap <= 1) {
		return fmt.Errorf(`%q has the share "cheap" %v, which is not between 0 and 1`, t.Name, t.Cheap)
	}
	return nil
}

// maxName leaves room for a seed and the suffixes of temporary files.
const maxName = 200

// CheckName refuses a task's name that isn't a file's name on every system.
func CheckName(name string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(`/\:*?"<>|`, r) }
	switch {
	case name == "":
		return errors.New(`"name" is missing or empty`)
	case len(name) > maxName:
		return fmt.Errorf("the name %.40q… has %d bytes, a file's name here can have %d", name, len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, bad):
		return fmt.Errorf(`the name %q can't be a file's; leave out /\:*?"<>| and what isn't printed`, name)
	case name[0] == '.' || name[0] == '-' || strings.TrimSpace(name) != name || name[len(name)-1] == '.':
		return fmt.Errorf("the name %q can't be a file's; it begins or ends with a dot, a dash or a space", name)
	}
	return nil
}

// AppendTasks writes index.json, whole or not at all, with more tasks than it has; the others stay as they stand there. A folder
// without an index gets one.
func AppendTasks(dir string, tasks ...Task) error {
	path := filepath.Join(dir, IndexName)
	all := []any{}
	var entries []json.RawMessage
	if err := readJSON(path, &entries); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		all = append(all, e)
	}
	for _, t := range tasks {
		all = append(all, t)
	}
	return writeJSON(path, all)
}

// badf returns an error that wraps safetensors.ErrFormat.
func badf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", safetensors.ErrFormat, fmt.Sprintf(format, args...))
}
