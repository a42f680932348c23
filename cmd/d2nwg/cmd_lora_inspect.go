package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/llm"
	"d2nwg/llm/lora"

	"github.com/urfave/cli/v2"
)

func loraInspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show what an adapter changes, and how much",
		UsageText: "d2nwg lora inspect DIR [--base BASE] [--tensors] [--json]",
		Description: describe(`Reads a PEFT adapter whole and shows its options and, for each module, rank, alpha, the scale that follows from
them, and the norm of the update ΔW. With --base it is held against the checkpoint, and norms are also told relative
to the base's weights.`,
			"d2nwg lora inspect adapters/a", "one line for the layers of each module",
			"d2nwg lora inspect hf://org/adapter --base hf://org/base --tensors", "every tensor, with relative norms",
			"d2nwg lora inspect adapters/a --json | jq '.tensors[].norm'", "for scripts"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Usage: "the checkpoint that the adapter belongs to (folder or address)"},
			&cli.BoolFlag{Name: "tensors", DisableDefaultText: true, Usage: "list every tensor instead of one line for each module"},
		},
		Action: action(runLoraInspect),
	}
}

// adapterInspection is the result of lora inspect.
type adapterInspection struct {
	Base     string        `json:"base_model,omitempty"`
	TaskType string        `json:"task_type,omitempty"`
	Rank     int           `json:"rank"`  // where no tensor has its own
	Alpha    float64       `json:"alpha"` // the same
	RSLoRA   bool          `json:"use_rslora"`
	DoRA     bool          `json:"use_dora"`
	Tensors  []lora.Module `json:"tensors"`
	Missing  []string      `json:"missing,omitempty"` // targets on the base that the adapter has nothing for
}

func runLoraInspect(_ context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	dir, _, err := s.resolve(args[0], true)
	if err != nil {
		return err
	}
	a, err := lora.Read(dir)
	if err != nil {
		return err
	}
	c := a.Config
	in := adapterInspection{Base: c.Base, TaskType: c.TaskType, Rank: c.Rank, Alpha: c.Alpha, RSLoRA: c.RSLoRA, DoRA: c.DoRA}
	var base *llm.Checkpoint
	if s.String("base") != "" {
		if base, err = s.openCheckpoint(s.String("base")); err != nil {
			return err
		}
		defer base.Close()
		if in.Missing, err = a.Missing(base); err != nil {
			return err
		}
	}
	if in.Tensors, err = a.Describe(base); err != nil {
		return err
	}
	return s.UI.Result(in, func(w io.Writer) { in.write(w, s.Bool("tensors")) })
}

func (in adapterInspection) write(w io.Writer, all bool) {
	if in.Base != "" {
		fmt.Fprintf(w, "base     %s\n", oneLine(in.Base))
	}
	var options []string
	if in.RSLoRA {
		options = append(options, ", rsLoRA")
	}
	if in.DoRA {
		options = append(options, ", DoRA")
	}
	fmt.Fprintf(w, "rank     %d, alpha %g%s\n", in.Rank, in.Alpha, strings.Join(options, ""))
	if len(in.Missing) > 0 {
		fmt.Fprintf(w, "missing  %d of the modules that it targets, the first %s: they stay as they are\n", len(in.Missing), in.Missing[0])
	}
	fmt.Fprintln(w)
	if !all {
		in.writeModules(w)
		return
	}
	t := ui.NewTable("tensor", "kind", "shape", "rank", "alpha", "scale", "‖ΔW‖", "‖ΔW‖/‖W‖")
	for _, m := range in.Tensors {
		t.Row(append([]any{m.Tensor, m.Kind, shape(m.Shape)}, append(scaling(m), number(m.Norm), number(m.Relative))...)...)
	}
	t.Write(w)
}

// scaling is rank, alpha and scale; nothing of a tensor stored whole.
func scaling(m lora.Module) []any {
	if m.Rank == 0 {
		return []any{"", "", ""}
	}
	return []any{m.Rank, m.Alpha, m.Scale}
}

func number(x *float64) any {
	if x == nil {
		return ""
	}
	return *x
}

// writeModules prints one line for the tensors that share module, kind and scale: the norm of all of them, and the
// largest relative one.
func (in adapterInspection) writeModules(w io.Writer) {
	type line struct {
		module, kind string
		scale        [3]any
	}
	type sum struct {
		count             int
		squares, relative float64
		normed, related   bool
	}
	var order []line
	sums := map[line]*sum{}
	for _, m := range in.Tensors {
		module, _, _ := llm.ParseName(m.Tensor)
		key := line{module, m.Kind, [3]any(scaling(m))}
		if sums[key] == nil {
			order, sums[key] = append(order, key), &sum{}
		}
		s := sums[key]
		s.count++
		if m.Norm != nil {
			s.squares, s.normed = s.squares+*m.Norm**m.Norm, true
		}
		if m.Relative != nil {
			s.relative, s.related = max(s.relative, *m.Relative), true
		}
	}
	t := ui.NewTable("module", "count", "kind", "rank", "alpha", "scale", "‖ΔW‖ of all", "largest ‖ΔW‖/‖W‖")
	for _, key := range order {
		s := sums[key]
		var norm, relative any = "", ""
		if s.normed {
			norm = math.Sqrt(s.squares)
		}
		if s.related {
			relative = s.relative
		}
		t.Row(key.module, s.count, key.kind, key.scale[0], key.scale[1], key.scale[2], norm, relative)
	}
	t.Write(w)
}
