package main

import (
	"cmp"
	"context"
	"path/filepath"

	"d2nwg/hub"
	"d2nwg/llm"

	"github.com/urfave/cli/v2"
)

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "turn a checkpoint that a patch made back into its base, bit for bit",
		UsageText: "d2nwg rollback DIR [--out DIR2]",
		Description: describe(`Takes back d2nwg apply with what it kept in DIR/rollback, and verifies every file before and after. Without --out
DIR itself becomes the base again; then it must hold nothing but what apply wrote.`,
			"d2nwg rollback models/better", "in place",
			"d2nwg rollback models/better --out models/original", "into another folder"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "the checkpoint folder to make (default: DIR itself)"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "overwrite a checkpoint folder"},
		},
		Action: action(runRollback),
	}
}

func runRollback(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	a, err := hub.Parse(args[0])
	if err != nil {
		return err
	}
	if a.Remote() {
		return usagef("%s is no folder here: roll back what d2nwg apply wrote", args[0])
	}
	dir, out := a.Repo, s.String("out")
	info, unread := llm.ReadPatch(filepath.Join(dir, llm.RollbackDir)) // afterwards it may be gone
	if err := llm.Rollback(dir, out, llm.ApplyOptions{Force: s.Bool("force"), Progress: s.UI.Progress()}); err != nil {
		return err
	}
	if unread != nil {
		return unread
	}
	return s.reportRebuilt(cmp.Or(out, dir), info)
}
