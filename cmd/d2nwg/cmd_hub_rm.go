package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func hubRmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "delete a repository, a branch, or a file or folder in it",
		UsageText: "d2nwg hub rm ADDRESS --yes",
		Description: describe("What the address names is deleted: a path by a commit, a branch with its commits, a repository with everything in it.\n"+
			"Nothing is deleted without --yes.",
			"d2nwg hub rm hf://me/name/old.safetensors --yes", "one file, by a commit on the default branch",
			"d2nwg hub rm hf://me/name@draft --yes", "the branch draft",
			"d2nwg hub rm hf://me/name --yes", "the repository, for good"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", DisableDefaultText: true, Usage: "really delete"},
		},
		Action: action(runHubRm),
	}
}

// removed is the result of rm.
type removed struct {
	Address string `json:"address"`
	What    string `json:"what"` // repository, branch, file or folder
	Commit  string `json:"commit,omitempty"`
}

func runHubRm(ctx context.Context, s *session) error {
	args, err := s.args("ADDRESS")
	if err != nil {
		return err
	}
	a, h, err := s.openHub(args[0])
	if err != nil {
		return err
	}
	if !a.Remote() {
		return usagef("%s is a folder of this machine; delete it yourself", args[0])
	}
	r := removed{Address: a.String(), What: "repository"}
	switch {
	case a.Path != "":
		if r.What, err = pathKind(ctx, h, a); err != nil {
			return err
		}
	case a.Revision != "":
		r.What = "branch"
	}
	if !s.Bool("yes") {
		return usagef("this would delete the %s %s; add --yes to do it", r.What, r.Address)
	}
	switch r.What {
	case "repository":
		err = h.Delete(ctx, a)
	case "branch":
		err = h.DeleteBranch(ctx, a)
	default:
		r.Commit, err = removePath(ctx, h, a, r.What)
	}
	if err != nil {
		return err
	}
	return s.UI.Result(r, func(w io.Writer) { fmt.Fprintf(w, "deleted the %s %s\n", r.What, r.Address) })
}

// pathKind tells whether an address names a file or a folder.
func pathKind(ctx context.Context, h hub.Hub, a hub.Address) (string, error) {
	entries, err := h.List(ctx, a, false)
	if err != nil {
		return "", err
	}
	if len(entries) == 1 && entries[0].Path == a.Path && !entries[0].Dir {
		return "file", nil
	}
	return "folder", nil
}

func removePath(ctx context.Context, h hub.Hub, a hub.Address, what string) (commit string, err error) {
	name := a.Path
	if what == "folder" {
		name += "/"
	}
	repo := a
	repo.Path = ""
	done, err := h.Push(ctx, repo, hub.Commit{Message: "Delete " + name, Delete: []string{name}})
	return done.Commit, err
}
