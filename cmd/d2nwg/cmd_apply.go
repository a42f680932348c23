package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/llm"

	"github.com/urfave/cli/v2"
)

func applyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "rebuild a checkpoint from its base and a patch, bit for bit",
		UsageText: "d2nwg apply BASE PATCH --out DIR",
		Description: describe(`A patch (d2nwg push --patch) holds the changed tensors and the sha256 of every file that they are put into and
that comes out. All of them are verified; OUT appears whole or not at all. What was replaced stands in OUT/rollback,
for d2nwg rollback.`,
			"d2nwg apply models/Llama-3.2-1B hf://me/Llama-better --out models/better", "BASE and PATCH are folders or addresses",
			"d2nwg rollback models/better --out models/original", "and back again"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Required: true, Usage: "the checkpoint folder to make"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "overwrite a checkpoint folder"},
		},
		Action: action(runApply),
	}
}

// rebuilt is the result of apply and rollback.
type rebuilt struct {
	Dir     string            `json:"dir"`
	SHA256  string            `json:"sha256"`  // of the weights
	Tensors int               `json:"tensors"` // replaced
	Files   map[string]string `json:"files"`   // every file with its sha256
}

func runApply(_ context.Context, s *session) error {
	args, err := s.args("BASE", "PATCH")
	if err != nil {
		return err
	}
	base, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer base.Close()
	patch, _, err := s.resolve(args[1], true)
	if err != nil {
		return err
	}
	out := s.String("out")
	if err := llm.Apply(base, patch, out, llm.ApplyOptions{Force: s.Bool("force"), Progress: s.UI.Progress()}); err != nil {
		return err
	}
	info, err := llm.ReadPatch(patch)
	if err != nil {
		return err
	}
	return s.reportRebuilt(out, info)
}

// reportRebuilt says what a patch made.
func (s *session) reportRebuilt(out string, info llm.PatchInfo) error {
	c, err := llm.Open(out)
	if err != nil {
		return err
	}
	defer c.Close()
	result := rebuilt{Dir: out, Tensors: len(info.Tensors), Files: info.Result}
	if result.SHA256, err = c.Hash(); err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d tensors replaced, all %d files verified\nsha256 %s\n", result.Dir, result.Tensors, len(result.Files), result.SHA256)
	})
}
