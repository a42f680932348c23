package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"d2nwg/cmd/internal/ui"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func hubInfoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "describe a repository: its commit, visibility, references and newest commits",
		UsageText: "d2nwg hub info [--commits N] ADDRESS",
		Description: describe("Shows what the hub says of a repository at a revision.",
			"d2nwg hub info hf://org/name", "the default branch",
			"d2nwg hub info hf://org/name@v1.0 --json | jq -r .commit", "the commit that a tag stands for"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "commits", Value: 5, Usage: "how many commits to show"},
		},
		Action: action(runHubInfo),
	}
}

// repository is the result of info.
type repository struct {
	hub.Info
	Refs    []hub.Ref        `json:"refs,omitempty"`
	Commits []hub.CommitInfo `json:"commits,omitempty"`
}

func runHubInfo(ctx context.Context, s *session) error {
	args, err := s.args("ADDRESS")
	if err != nil {
		return err
	}
	n := s.Int("commits")
	if n < 0 {
		return usagef("--commits is %d; it has to be 0 or more", n)
	}
	a, h, err := s.openHub(args[0])
	if err != nil {
		return err
	}
	if a.Path != "" {
		return usagef("%s names a path in a repository; d2nwg hub ls shows those", args[0])
	}
	var r repository
	if r.Info, err = h.Info(ctx, a); err != nil {
		return err
	}
	if a.Remote() {
		if r.Refs, err = h.Refs(ctx, a); err != nil {
			return err
		}
	}
	if a.Remote() && n > 0 {
		if r.Commits, err = h.Commits(ctx, a, n); err != nil {
			return err
		}
	}
	return s.UI.Result(r, r.write)
}

func (r repository) write(w io.Writer) {
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	if r.Gated != "" {
		visibility += ", gated (" + oneLine(r.Gated) + ")"
	}
	fmt.Fprintf(w, "%s, %s\n", oneLine(r.ID), visibility)
	if r.Commit != "" {
		fmt.Fprintf(w, "commit    %s\n", r.Commit)
	}
	fmt.Fprintf(w, "modified  %s\nfiles     %d\n", r.LastModified.UTC().Format(time.DateTime), len(r.Files))
	if len(r.Tags) > 0 {
		fmt.Fprintf(w, "tags      %s\n", oneLine(strings.Join(r.Tags, ", ")))
	}
	if len(r.Refs) > 0 {
		t := ui.NewTable("reference", "name", "commit")
		for _, x := range r.Refs {
			t.Row(oneLine(x.Kind), oneLine(x.Name), fmt.Sprintf("%.12s", x.Commit))
		}
		fmt.Fprintln(w)
		t.Write(w)
	}
	if len(r.Commits) > 0 {
		t := ui.NewTable("commit", "date", "title")
		for _, x := range r.Commits {
			t.Row(fmt.Sprintf("%.12s", x.ID), x.Date.UTC().Format(time.DateTime), oneLine(x.Title))
		}
		fmt.Fprintln(w)
		t.Write(w)
	}
}
