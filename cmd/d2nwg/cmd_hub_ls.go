package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/cmd/internal/ui"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func hubLsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list the files of a repository",
		UsageText: "d2nwg hub ls [--recursive] ADDRESS",
		Description: describe("Lists files and folders at a revision, with sizes and, for large files, the start of their sha256.",
			"d2nwg hub ls hf://org/name@main", "the top level",
			"d2nwg hub ls hf://datasets/org/name/data --recursive --json", "all below a folder of a data set, as JSON"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, DisableDefaultText: true, Usage: "also what is in folders"},
		},
		Action: action(runHubLs),
	}
}

func runHubLs(ctx context.Context, s *session) error {
	args, err := s.args("ADDRESS")
	if err != nil {
		return err
	}
	a, h, err := s.openHub(args[0])
	if err != nil {
		return err
	}
	entries, err := h.List(ctx, a, s.Bool("recursive"))
	if err != nil {
		return err
	}
	if entries == nil {
		entries = []hub.Entry{} // an empty list, not null
	}
	return s.UI.Result(entries, func(w io.Writer) {
		t := ui.NewTable("file", "size", "sha256")
		for _, e := range entries {
			if e.Dir {
				t.Row(oneLine(e.Path)+"/", "-", "")
				continue
			}
			t.Row(oneLine(e.Path), ui.Bytes(e.Size), fmt.Sprintf("%.16s", e.SHA256))
		}
		t.Write(w)
	})
}
