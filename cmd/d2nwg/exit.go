package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"d2nwg/cmd/internal/publish"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval/task"
	"d2nwg/hub"
	"d2nwg/safetensors"
)

// The exit codes, as documented in `d2nwg --help`.
const (
	codeOK            = 0
	codeFailure       = 1
	codeUsage         = 2
	codePartial       = 3   // some of the work was done, the rest is named
	codeNoImprovement = 4   // the search ended in order, nothing was verified to be better
	codeMissing       = 10  // an input file or directory does not exist
	codeBadCheckpoint = 11  // an input file breaks its format
	codeInterrupted   = 130 // SIGINT or SIGTERM
)

// Errors that stand for an exit code; commands wrap them.
var (
	errPartial       = errors.New("partly done")
	errNoImprovement = errors.New("no verified improvement")
	errInterrupted   = errors.New("interrupted")
	errDiffers       = errors.New("the evaluations differ")
)

// usageError is a mistake on the command line or in a recipe.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// usagef makes a usage error.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// exitCode is the one table from errors to exit codes. A checkpoint whose index names a shard that is
// not there is a bad checkpoint, so the format comes before the missing file.
func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return codeOK
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return codeInterrupted
	case errors.As(err, &usage), errors.Is(err, recipe.ErrInvalid):
		return codeUsage
	case errors.Is(err, errPartial):
		return codePartial
	case errors.Is(err, errNoImprovement), errors.Is(err, publish.ErrUnverified):
		return codeNoImprovement
	case errors.Is(err, hub.ErrHostile): // whatever else a hostile hub's answer is about
		return codeFailure
	case errors.Is(err, hub.ErrAddress):
		return codeUsage
	case errors.Is(err, safetensors.ErrFormat):
		return codeBadCheckpoint
	case errors.Is(err, fs.ErrNotExist), isMissing(err), errors.Is(err, task.ErrNoHarness):
		return codeMissing
	}
	return codeFailure
}

// isMissing tells what a hub doesn't have, or what may not be fetched from it.
func isMissing(err error) bool {
	for _, kind := range []error{hub.ErrRepoNotFound, hub.ErrRevisionNotFound, hub.ErrEntryNotFound, hub.ErrOffline} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// reportError writes err on one line, as {"error":…,"code":…} when asJSON.
func reportError(w io.Writer, err error, asJSON bool) {
	message := oneLine(err.Error())
	if asJSON {
		line, _ := json.Marshal(struct { // strings and integers always marshal
			Error string `json:"error"`
			Code  int    `json:"code"`
		}{message, exitCode(err)})
		fmt.Fprintf(w, "%s\n", line)
		return
	}
	fmt.Fprintf(w, "d2nwg: %s\n", message)
}

// oneLine keeps an error on one line and harmless on a terminal: names inside a hostile file may carry
// line breaks or escape sequences.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
