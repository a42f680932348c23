package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval/task"
	"d2nwg/hub"
	"d2nwg/llm"
	"d2nwg/llm/lora"

	"github.com/urfave/cli/v2"
)

// Wherever a command takes a model, an adapter, a tokenizer or data, it takes a path or an address (hf://…, file://…).
// This file is the one place where addresses become paths; packages below get paths, or resolve itself.

// hubOptions say how this command line reaches a hub.
func (s *session) hubOptions() hub.Options {
	return hub.Options{Progress: s.UI.Progress()}
}

// checkpointFiles and tokenizerFiles are what is read of a model's repository, which may hold the same weights in other
// formats too.
var (
	tokenizerFiles  = []string{"*.json", "*.jinja", "*.model", "*.txt"}
	checkpointFiles = append([]string{"*.safetensors", "*.md", "LICENSE*", "NOTICE*", "Notice*", "USE_POLICY*"}, tokenizerFiles...)
)

// onTop chooses files of these names, but none in folders below what the address names.
func onTop(a hub.Address, files []string) hub.PullOptions {
	prefix := ""
	if a.Path != "" {
		prefix = a.Path + "/"
	}
	var o hub.PullOptions
	for _, f := range files {
		o.Include = append(o.Include, prefix+f)
	}
	o.Exclude = []string{prefix + "*/*"}
	return o
}

// resolve turns a path or an address into a path on this machine. pinned is the address at its present commit. Of a
// model, only what a checkpoint or an adapter consists of is brought. "bundled" is the model inside the program, unless
// there is something of that name here.
func (s *session) resolve(address string, model bool) (path, pinned string, err error) {
	if _, lost := os.Stat(address); model && address == recipe.Bundled && lost != nil {
		path, err = bundled.CachedBase()
		return path, address, err
	}
	var files []string
	if model {
		files = checkpointFiles
	}
	return s.bring(address, files)
}

// bring is resolve for files of some names; nil for all.
func (s *session) bring(address string, files []string) (path, pinned string, err error) {
	a, err := hub.Parse(address)
	if err != nil {
		return "", "", err
	}
	if !a.Remote() {
		return a.Repo, address, nil
	}
	h, err := hub.Open(a, s.hubOptions())
	if err != nil {
		return "", "", err
	}
	var o hub.PullOptions
	if files != nil {
		o = onTop(a, files)
	}
	snapshot, err := h.Pull(s.context(), a, o)
	if err != nil {
		return "", "", err
	}
	a.Revision = snapshot.Commit
	return snapshot.Path, a.String(), nil
}

// context is the command line's.
func (s *session) context() context.Context { return s.Context.Context }

// openCheckpoint opens the checkpoint at a path or an address.
func (s *session) openCheckpoint(address string) (*llm.Checkpoint, error) {
	dir, _, err := s.resolve(address, true)
	if err != nil {
		return nil, err
	}
	return llm.Open(dir)
}

// adapterFlag names a variant to use instead of the checkpoint itself; verb says for what.
func adapterFlag(verb string) cli.Flag {
	return &cli.StringFlag{Name: "adapter", Usage: "a saved variant or a PEFT adapter of the checkpoint (folder or address) to " + verb + " instead"}
}

// loadAdapter loads the variant of c that --adapter names.
func (s *session) loadAdapter(c *llm.Checkpoint) (*llm.Variant, error) {
	return s.loadVariant(c, s.String("adapter"))
}

// loadVariant loads the saved variant or the PEFT adapter of c at a path or an address.
func (s *session) loadVariant(c *llm.Checkpoint, address string) (*llm.Variant, error) {
	dir, _, err := s.resolve(address, true)
	if err != nil {
		return nil, err
	}
	v, _, err := lora.Load(c, dir)
	return v, err
}

// dataPlaces turns the addresses of --data into paths: a folder of data sets, or NAME=PLACE of one.
func (s *session) dataPlaces(given []string) ([]string, error) {
	var out []string
	for _, where := range given {
		name, address, ok := strings.Cut(where, "=")
		if !ok || strings.Contains(name, "://") {
			name, address = "", where
		}
		path, _, err := s.resolve(address, false)
		if err != nil {
			return nil, err
		}
		if name != "" {
			path = name + "=" + path
		}
		out = append(out, path)
	}
	return out, nil
}

// dataset brings a configuration of a hub's data set: the files that its card names, or else all files of data.
func (s *session) dataset(path, name string) (string, error) {
	if !strings.HasPrefix(path, "hf://") {
		path = "hf://datasets/" + path
	}
	a, err := hub.Parse(path)
	if err != nil {
		return "", err
	}
	h, err := hub.Open(a, s.hubOptions())
	if err != nil {
		return "", err
	}
	card, err := h.Pull(s.context(), a, hub.PullOptions{Include: []string{task.CardName}})
	if err == nil {
		a.Revision = card.Commit
	} else if !errors.Is(err, hub.ErrEntryNotFound) {
		return "", err
	}
	include, err := cardInclude(card.Dir, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", a, err)
	}
	snapshot, err := h.Pull(s.context(), a, hub.PullOptions{Include: append(include, task.CardName)})
	return snapshot.Path, err
}

// cardInclude lists the patterns of the files to bring of the data set whose card is in dir.
func cardInclude(dir, name string) ([]string, error) {
	if dir == "" {
		return slices.Clone(task.DataFiles), nil
	}
	card, err := os.ReadFile(filepath.Join(dir, task.CardName))
	if err != nil {
		return nil, err
	}
	splits, err := task.CardPatterns(card, name)
	if err != nil {
		return nil, err
	}
	var include []string
	for _, patterns := range splits {
		include = append(include, patterns...)
	}
	if include == nil {
		return slices.Clone(task.DataFiles), nil
	}
	slices.Sort(include)
	return include, nil
}
