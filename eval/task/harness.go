package task

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoHarness is wrapped by the error where no installed harness or checkout is found.
var ErrNoHarness = errors.New("the task files of lm-evaluation-harness aren't there")

// FindHarness finds the folder of the harness' task files: in a folder that was given (a checkout, or a folder in it),
// else in that of LM_EVAL_PATH, else beside the Python that the shell would run. The files are read where they lie.
func FindHarness(given string) (string, error) {
	if given != "" {
		return tasksBelow(given, "--harness")
	}
	if path := os.Getenv("LM_EVAL_PATH"); path != "" {
		return tasksBelow(path, "LM_EVAL_PATH")
	}
	for _, prefix := range pythonPrefixes() {
		found, err := filepath.Glob(filepath.Join(prefix, "lib", "python3*", "*-packages", "lm_eval", "tasks"))
		if err == nil && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%w: install it (pip install lm_eval), or clone it and name the checkout with --harness or LM_EVAL_PATH", ErrNoHarness)
}

// tasksBelow finds the task files in a checkout, in its lm_eval or in the folder itself.
func tasksBelow(path, origin string) (string, error) {
	for _, below := range []string{filepath.Join("lm_eval", "tasks"), "tasks", "."} {
		folder := filepath.Join(path, below)
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return folder, nil
		}
	}
	return "", fmt.Errorf("%w: %s names %s, which is no folder", ErrNoHarness, origin, path)
}

// pythonPrefixes lists where Python packages may be installed, the first choice first.
func pythonPrefixes() []string {
	var prefixes []string
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		prefixes = append(prefixes, env)
	}
	for _, name := range []string{"python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		prefixes = append(prefixes, filepath.Dir(filepath.Dir(path)))
		if real, err := filepath.EvalSymlinks(path); err == nil {
			prefixes = append(prefixes, filepath.Dir(filepath.Dir(real)))
		}
	}
	return prefixes
}
