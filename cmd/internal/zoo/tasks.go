package zoo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/eval"
	"d2nwg/generator/zoo"
	"d2nwg/internal/files"
	"d2nwg/internal/stats"
	"d2nwg/internal/textfile"
)

// dataset reads a task's questions, cut by the hash of the prompt: adapters and generators learn from the train split alone. Other keys
// than prompt and answer are passed over.
func dataset(dir string, t zoo.Task) (*eval.Dataset, error) {
	path := t.File(dir)
	all, err := textfile.Questions(path, textfile.AnyKeys)
	if err != nil {
		return nil, err
	}
	return eval.CutQuestions(path, all, stats.DefaultShares), nil
}

// A Folder is the files of a folder of tasks that is to be written: the index, and the questions by task.
type Folder struct {
	Tasks     []zoo.Task
	index     []byte
	questions func(t zoo.Task) ([]byte, error)
}

// Copied is the folder at a path.
func Copied(from string) (*Folder, error) {
	tasks, err := zoo.ReadTasks(from)
	if err != nil {
		return nil, err
	}
	index, err := os.ReadFile(filepath.Join(from, zoo.IndexName))
	return &Folder{tasks, index, func(t zoo.Task) ([]byte, error) { return os.ReadFile(t.File(from)) }}, err
}

// Write puts the files into dir, the index last: where that is, all are. An index that is there already has to be the same one,
// unless it is to be replaced.
func (f *Folder) Write(dir string, replace bool) error {
	path := filepath.Join(dir, zoo.IndexName)
	there, err := os.ReadFile(path)
	switch {
	case err == nil && !replace && bytes.Equal(there, f.index):
		return nil
	case err == nil && !replace:
		return fmt.Errorf("%s lists other tasks than those to be written; choose another folder, or --force to replace them: %w", path, fs.ErrExist)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, t := range f.Tasks {
		data, err := f.questions(t)
		if err != nil {
			return err
		}
		if err := files.Write(t.File(dir), data); err != nil {
			return err
		}
	}
	return files.Write(path, f.index)
}
