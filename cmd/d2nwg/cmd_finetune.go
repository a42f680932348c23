package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"d2nwg/cmd/internal/finetune"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/internal/compute"

	"github.com/urfave/cli/v2"
)

func finetuneCommand() *cli.Command {
	return &cli.Command{
		Name:      "finetune",
		Usage:     "train a LoRA adapter of a checkpoint, or all of its weights",
		UsageText: "d2nwg finetune BASE (--data FILE.jsonl | --task NAME... | --text FILE) --out DIR [flags]",
		ArgsUsage: "BASE",
		Description: describe("Trains on questions, one {\"prompt\":…,\"answer\":…} a line, taken as they stand, on procedural tasks or on text, and\n"+
			"writes a PEFT adapter, or with --full a checkpoint. A share of the data is held out by hash: its loss says when to\n"+
			"stop, and the parameters with the lowest are kept. Interrupted, the same command continues; OUT.state holds the\n"+
			"complete recipe, metrics.jsonl, the losses' plot and what the run continues from.",
			"d2nwg finetune models/m --data questions.jsonl --out adapters/mine", "an adapter of rank 8 on every linear module",
			"d2nwg finetune bundled --task sort --out adapters/sort --rank 4 --steps 300 --lr 0.005", "a procedural task in bare prompts",
			"d2nwg finetune models/m --data more.jsonl --init adapters/mine --out adapters/more", "on from another adapter, of its shape",
			"d2nwg finetune models/m --data q.jsonl --shared-a 1 --modules q_proj,v_proj --layers 2,3 --out a", "B alone, on a frozen A that others share",
			"d2nwg finetune models/m --full --text corpus.txt --rows 4 --length 256 --out models/tuned", "every weight, on text",
			"d2nwg finetune models/m --data q.jsonl --out a --dry-run", "what it would train"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "recipe", Usage: "recipe file (OUT.state/recipe.yaml of another run has every key); flags override it"},
			&cli.StringFlag{Name: "data", Usage: "JSONL file of {\"prompt\",\"answer\"}, or its address"},
			&cli.StringSliceFlag{Name: "task", Usage: "procedural training task (see 'd2nwg tasks'); repeatable, or joined by '+'"},
			&cli.StringFlag{Name: "text", Usage: "text file (.gz too), or its address"},
			&cli.StringFlag{Name: "form", Usage: "prompts of tasks: bare (x>) or described (each task's description first) (default: bare)"},
			&cli.StringFlag{Name: "out", Required: true, Usage: "the folder to make; the run's state stands in OUT.state"},
			&cli.BoolFlag{Name: "full", DisableDefaultText: true, Usage: "train every weight and write a checkpoint"},
			&cli.StringFlag{Name: "init", Usage: "adapter to start from, a folder or an address; zero: none"},
			&cli.IntFlag{Name: "rank", DefaultText: "that of --init, or 8", Usage: "rank of the adapter"},
			&cli.Float64Flag{Name: "alpha", DefaultText: "the rank", Usage: "scale of the update times the rank, as in LoRA"},
			&cli.StringFlag{Name: "modules", DefaultText: "those of --init, or all", Usage: "modules joined by commas: q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"},
			&cli.StringFlag{Name: "layers", DefaultText: "those of --init, or all", Usage: "layers joined by commas: 2,3"},
			&cli.Uint64Flag{Name: "shared-a", DefaultText: "A is trained", Usage: "seed of a frozen factor A to train B on"},
			&cli.IntFlag{Name: "steps", DefaultText: "200", Usage: "optimizer steps, at most"},
			&cli.Float64Flag{Name: "lr", DefaultText: "0.002, or 0.0003 with --full", Usage: "peak learning rate"},
			&cli.IntFlag{Name: "rows", Aliases: []string{"batch"}, DefaultText: "8", Usage: "rows of a batch"},
			&cli.IntFlag{Name: "length", DefaultText: "128", Usage: "tokens of a row, which holds as many questions as fit"},
			&cli.Float64Flag{Name: "eval-split", DefaultText: "0.1", Usage: "share of the data to hold out; 0: none, and no early stopping"},
			&cli.StringFlag{Name: "validate", Usage: "held-out questions or text in a file of their own"},
			&cli.IntFlag{Name: "patience", DefaultText: "5", Usage: "stop after so many measurements without a lower held-out loss; 0: never"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the data's order and the initial factors; same seed, same bytes"},
			&cli.StringFlag{Name: "backend", DefaultText: "auto", Usage: "training backend: auto, go, onnx or xla"},
			&cli.StringSliceFlag{Name: "set", Usage: "any other key of the recipe, as key=value (repeatable): train.warmup=50"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "start anew where OUT exists"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "print what would be trained, and stop"},
		},
		Action: action(runFinetune),
	}
}

func runFinetune(ctx context.Context, s *session) error {
	args, err := s.args("BASE")
	if err != nil {
		return err
	}
	r, err := recipe.LoadWith[recipe.Finetune](s.String("recipe"), append(finetuneSets(s), "base="+strconv.Quote(args[0])))
	if err != nil {
		return err
	}
	job, err := finetune.Open(r, finetune.Options{
		Out: s.String("out"), Force: s.Bool("force"), Resolve: s.resolve, Progress: s.UI.Progress(), Warn: s.UI.Warnf,
		Backend: func(ctx context.Context, name string) (*compute.Backend, error) { return openBackend(ctx, s, name) },
	})
	if err != nil {
		return err
	}
	defer job.Close()
	if s.Bool("dry-run") {
		plan := job.Plan()
		return s.UI.Result(plan, func(w io.Writer) { fmt.Fprint(w, plan) })
	}
	result, err := job.Run(ctx)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%v", err)
	}
	if err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(result, func(w io.Writer) { writeFinetune(w, result) })
}

// finetuneSets turns the flags of a command line into settings of recipe keys.
func finetuneSets(s *session) []string {
	var sets []string
	for flag, key := range map[string]string{
		"data": "data.questions", "text": "data.text", "form": "data.form", "init": "init", "validate": "stop.file", "backend": "backend",
	} {
		if s.IsSet(flag) {
			sets = append(sets, key+"="+strconv.Quote(s.String(flag)))
		}
	}
	for flag, key := range map[string]string{
		"full": "full", "rank": "lora.rank", "alpha": "lora.alpha", "shared-a": "lora.shared_a", "steps": "train.steps", "lr": "train.learning_rate",
		"rows": "data.rows", "length": "data.length", "eval-split": "stop.split", "patience": "stop.patience", "seed": "seed",
	} {
		if s.IsSet(flag) {
			sets = append(sets, fmt.Sprintf("%s=%v", key, s.Value(flag)))
		}
	}
	for flag, list := range map[string]struct {
		key    string
		values []string
	}{
		"modules": {"lora.modules", strings.Split(s.String("modules"), ",")},
		"layers":  {"lora.layers", strings.Split(s.String("layers"), ",")},
		"task":    {"data.tasks", strings.Split(strings.Join(s.StringSlice("task"), "+"), "+")},
	} {
		if !s.IsSet(flag) {
			continue
		}
		for i, v := range list.values {
			if flag != "layers" {
				list.values[i] = strconv.Quote(strings.TrimSpace(v))
			}
		}
		sets = append(sets, list.key+"=["+strings.Join(list.values, ",")+"]")
	}
	return append(sets, s.StringSlice("set")...)
}

func writeFinetune(w io.Writer, r *finetune.Result) {
	fmt.Fprintf(w, "%s: %s with %d trained parameters; %d steps, last loss %.4f nats per token\n", r.Dir, r.Kind, r.Trained, r.Steps, r.Loss)
	if h := r.Held; h != nil {
		fmt.Fprintf(w, "held out, %d items: loss %.4f → %.4f after step %d, %s %.4f → %.4f\n",
			h.Items, h.LossBefore, h.Loss, r.Best, strings.ReplaceAll(h.Metric, "_", " "), h.Before, h.After)
	}
}
