// Package zoo is a folder of tasks, and of adapters trained on them: what a generator of adapters learns from.
//
//	index.json            [{"name", "split", "description" or "descriptions"}]
//	NAME.jsonl            {"prompt", "answer"} a line
//	adapters/NAME-sSEED/  a trained adapter, as llm.Variant.SaveAs writes it; of a shared A only B is stored
//	manifest.json         what the adapters were trained on and what they score
package zoo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"d2nwg/safetensors"
)

// Files of a zoo.
const (
	IndexName    = "index.json"
	ManifestName = "manifest.json"
	AdaptersDir  = "adapters"
)

// TrainSplit is the split of tasks that a generator may learn from.
const TrainSplit = "train"

// maxIndex bounds the bytes of index.json and manifest.json.
const maxIndex = 256 << 20

// Task is one entry of index.json.
type Task struct {
	Name         string   `json:"name"`
	Split        string   `json:"split"` // "train", or anything else for tasks held out
	Description  string   `json:"description,omitempty"`
	Descriptions []string `json:"descriptions,omitempty"` // paraphrases, instead of Description
	Unseen       string   `json:"unseen,omitempty"`       // a wording kept out of training
	Cheap        float64  `json:"cheap,omitempty"`        // share of the commonest answer, where that is large
	Impossible   string   `json:"impossible,omitempty"`   // why the description alone can't tell the task
}

// Training tells whether a generator may learn from the task.
func (t Task) Training() bool { return t.Split == TrainSplit }

// Wordings are the task's descriptions, one or more.
func (t Task) Wordings() []string {
	if t.Description == "" {
		return t.Descriptions
	}
	if slices.Contains(t.Descriptions, t.Description) {
		return t.Descriptions
	}
	return append([]string{t.Description}, t.Descriptions...)
}

// File is the task's data below dir.
func (t Task) File(dir string) string { return filepath.Join(dir, t.Name+".jsonl") }

// taskName keeps names usable as file names everywhere.
var taskName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$`)

// ReadTasks reads the index of a folder. The error names the entry at fault; the data files have to be there.
func ReadTasks(dir string) ([]Task, error) {
	path := filepath.Join(dir, IndexName)
	var tasks []Task
	if err := readJSON(path, &tasks); err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("%w: %s lists no tasks", safetensors.ErrFormat, path)
	}
	seen := map[string]bool{}
	for i := range tasks {
		t := &tasks[i]
		if t.Split == "" {
			t.Split = TrainSplit
		}
		if err := t.check(dir); err != nil {
			return nil, fmt.Errorf("%s: task %d: %w", path, i+1, err)
		}
		if folded := strings.ToLower(t.Name); seen[folded] {
			return nil, fmt.Errorf("%w: %s: the name %s stands there twice", safetensors.ErrFormat, path, t.Name)
		} else {
			seen[folded] = true
		}
	}
	return tasks, nil
}

// CheckName refuses a task whose name can't be a file's, or that has no words.
func (t Task) CheckName() error {
	if !taskName.MatchString(t.Name) {
		return fmt.Errorf("%w: the name %q can't be a file's; use letters, digits and ._+-", safetensors.ErrFormat, t.Name)
	}
	if len(t.Wordings()) == 0 {
		return fmt.Errorf("%w: %s has no description", safetensors.ErrFormat, t.Name)
	}
	for _, d := range t.Wordings() {
		if strings.TrimSpace(d) == "" {
			return fmt.Errorf("%w: %s has an empty description", safetensors.ErrFormat, t.Name)
		}
	}
	return nil
}

func (t Task) check(dir string) error {
	if err := t.CheckName(); err != nil {
		return err
	}
	info, err := os.Stat(t.File(dir))
	if err != nil {
		return fmt.Errorf("the data of %s: %w", t.Name, err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return fmt.Errorf("%w: %s is empty or no file", safetensors.ErrFormat, t.File(dir))
	}
	return nil
}

// WriteIndex writes index.json, whole or not at all.
func WriteIndex(dir string, tasks []Task) error {
	return writeJSON(filepath.Join(dir, IndexName), tasks)
}

func readJSON(path string, to any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxIndex {
		return fmt.Errorf("%w: %s has %d bytes, more than %d", safetensors.ErrFormat, path, info.Size(), maxIndex)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%w: %s: %v", safetensors.ErrFormat, path, err)
	}
	return nil
}

func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(append(data, '\n'))
	if err == nil {
		err = temp.Chmod(0o644)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreGone(os.Remove(temp.Name())))
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
