package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/llm"

	"github.com/urfave/cli/v2"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show a checkpoint's architecture and tensors",
		UsageText: "d2nwg inspect [--tensors] [--json] DIR",
		Description: describe("Opens a LLaMA checkpoint folder, checks every file of it and shows what it holds. Reads headers only.",
			"d2nwg inspect models/llama-3.2-1b", "architecture, size, and the tensors by module",
			"d2nwg inspect models/llama-3.2-1b --tensors", "every tensor",
			"d2nwg inspect models/llama-3.2-1b --json | jq .parameters", "for scripts"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "tensors", DisableDefaultText: true, Usage: "list every tensor instead of one line for each module"},
			&cli.BoolFlag{Name: "hash", DisableDefaultText: true, Usage: "read all weights and add their sha256"},
		},
		Action: action(runInspect),
	}
}

// inspection is the result of inspect.
type inspection struct {
	Parameters int64        `json:"parameters"` // elements of all stored tensors
	Bytes      int64        `json:"bytes"`      // bytes of all stored tensors
	SHA256     string       `json:"sha256,omitempty"`
	Config     llm.Config   `json:"config"`
	Tensors    []tensorInfo `json:"tensors"`
}

type tensorInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	File  string `json:"file"`
}

func runInspect(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	c, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer c.Close()

	in := inspection{Config: c.Config, Tensors: []tensorInfo{}}
	for _, t := range c.Tensors() {
		in.Parameters += elements(t.Shape)
		in.Bytes += t.Size
		in.Tensors = append(in.Tensors, tensorInfo{t.Name, string(t.DType), append([]int{}, t.Shape...), t.File})
	}
	if s.Bool("hash") {
		if in.SHA256, err = c.Hash(); err != nil {
			return err
		}
	}
	return s.UI.Result(in, func(w io.Writer) { in.write(w, s.Bool("tensors")) })
}

func (in inspection) write(w io.Writer, all bool) {
	c := in.Config
	fmt.Fprintf(w, "parameters  %s\n", ui.Count(in.Parameters))
	fmt.Fprintf(w, "weights     %s\n", ui.Bytes(in.Bytes))
	if in.SHA256 != "" {
		fmt.Fprintf(w, "sha256      %s\n", in.SHA256)
	}
	fmt.Fprintf(w, "layers      %d, hidden %d, ffn %d\n", c.Layers, c.HiddenSize, c.IntermediateSize)
	fmt.Fprintf(w, "attention   %d heads of %d, %d key/value heads, %d positions\n", c.Heads, c.HeadDim, c.KVHeads, c.MaxPositions)
	fmt.Fprintf(w, "rope        theta %g%s\n", c.RopeTheta, ropeScaling(c.RopeScaling))
	fmt.Fprintf(w, "vocabulary  %s, head %s\n\n", ui.Count(int64(c.VocabSize)), tied(c.TieWordEmbeddings))

	if all {
		t := ui.NewTable("tensor", "dtype", "shape", "file")
		for _, x := range in.Tensors {
			t.Row(x.Name, x.DType, shape(x.Shape), x.File)
		}
		t.Write(w)
		return
	}
	in.writeModules(w)
}

// writeModules prints one line for the tensors that share module, dtype and shape.
func (in inspection) writeModules(w io.Writer) {
	type kind struct{ module, dtype, shape string }
	var order []kind
	count := map[kind]int{}
	for _, x := range in.Tensors {
		module, _, ok := llm.ParseName(x.Name)
		if !ok {
			module = x.Name
		}
		k := kind{module, x.DType, shape(x.Shape)}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
	}
	t := ui.NewTable("module", "count", "dtype", "shape")
	for _, k := range order {
		t.Row(k.module, count[k], k.dtype, k.shape)
	}
	t.Write(w)
}

func elements(shape []int) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= int64(d)
	}
	return n
}

// shape formats a shape as "(out, in)".
func shape(dims []int) string {
	return "(" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(dims)), ", "), "[]") + ")"
}

func ropeScaling(s *llm.RopeScaling) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(", %s scaling by %g", s.Type, s.Factor)
}

func tied(b bool) string {
	if b {
		return "tied to the embedding"
	}
	return "of its own"
}
