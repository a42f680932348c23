package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"d2nwg/hub"
	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/safetensors"

	"github.com/urfave/cli/v2"
)

func loraCommand() *cli.Command {
	return &cli.Command{
		Name:      "lora",
		Usage:     "look at LoRA adapters, merge them, extract them from tuned checkpoints",
		UsageText: "d2nwg lora COMMAND [flags] [arguments]",
		Description: describe(`Commands for adapters in PEFT's format: a folder of adapter_config.json and adapter_model.safetensors. Wherever
another command takes --adapter, it takes such a folder too.`,
			"d2nwg lora inspect hf://org/adapter", "what it changes, and how much",
			"d2nwg lora merge models/base hf://org/adapter --out models/merged", "a checkpoint",
			"d2nwg lora extract models/base models/tuned --rank 16 --out adapters/tuned", "and an adapter of a checkpoint"),
		Subcommands: []*cli.Command{
			loraInspectCommand(),
			loraMergeCommand(),
			loraExtractCommand(),
			loraCanonCommand(),
		},
	}
}

func loraMergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "write the checkpoint that a base and an adapter make",
		UsageText: "d2nwg lora merge BASE ADAPTER --out DIR",
		Description: describe(`Writes BASE with ADAPTER, a PEFT adapter or a saved variant, in it: the weights that eval --adapter scores, bit for
bit. Tensors that it leaves alone are copied as they are. OUT appears whole or not at all.`,
			"d2nwg lora merge models/base adapters/a --out models/a", "folders",
			"d2nwg lora merge hf://org/base hf://org/adapter --out models/a", "or addresses"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Required: true, Usage: "the checkpoint folder to make"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "overwrite a checkpoint folder"},
		},
		Action: action(runLoraMerge),
	}
}

func runLoraMerge(_ context.Context, s *session) error {
	args, err := s.args("BASE", "ADAPTER")
	if err != nil {
		return err
	}
	base, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer base.Close()
	v, err := s.loadVariant(base, args[1])
	if err != nil {
		return err
	}
	out := s.String("out")
	if err := v.Write(out, llm.WriteOptions{Force: s.Bool("force"), Progress: s.UI.Progress()}); err != nil {
		return err
	}
	c, err := llm.Open(out)
	if err != nil {
		return err
	}
	defer c.Close()
	result := struct {
		Dir     string `json:"dir"`
		SHA256  string `json:"sha256"`  // of the weights
		Tensors int    `json:"tensors"` // that differ from the base's
	}{Dir: out, Tensors: len(v.Names())}
	if result.SHA256, err = c.Hash(); err != nil {
		return err
	}
	s.UI.Close()
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d tensors changed\nsha256 %s\n", result.Dir, result.Tensors, result.SHA256)
	})
}

// adapterOutputs are the flags of commands that write an adapter.
func adapterOutputs() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Required: true, Usage: "the adapter folder to make"},
		&cli.StringFlag{Name: "dtype", Value: "f32", Usage: "how its tensors are stored: f32, bf16 or f16"},
		&cli.StringFlag{Name: "base-model", Usage: "base_model_name_or_path, where others find the base (default: as the base is given here)"},
		&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "overwrite an adapter folder"},
	}
}

// adapterOptions reads adapterOutputs; base is how the base is called where --base-model doesn't say.
func (s *session) adapterOptions(base string) (lora.WriteOptions, error) {
	dtype := safetensors.DType(strings.ToUpper(s.String("dtype")))
	if dtype != safetensors.F32 && dtype != safetensors.BF16 && dtype != safetensors.F16 {
		return lora.WriteOptions{}, usagef("no dtype %q; use f32, bf16 or f16", s.String("dtype"))
	}
	options := lora.WriteOptions{Base: cmp.Or(s.String("base-model"), base), DType: dtype, Force: s.Bool("force")}
	// PEFT knows repositories by name and revision, not by our addresses.
	if a, err := hub.Parse(options.Base); err == nil && a.Remote() && a.Path == "" {
		options.Base, options.Revision = a.Repo, a.Revision
	}
	return options, nil
}

func loraCanonCommand() *cli.Command {
	return &cli.Command{
		Name:      "canon",
		Usage:     "write an adapter in canonical and plain form",
		UsageText: "d2nwg lora canon ADAPTER --out DIR [--base BASE]",
		Description: describe(`The same update has many factors: B·G and G⁻¹·A for any G. The canonical ones are balanced, orthogonal and sorted by
singular values, with fixed signs; the scale of alpha is folded in (lora_alpha = r), so that adapters can be compared
and loaded by programs that know plain LoRA only. With --base also DoRA, biases and saved variants (variant.json)
become plain adapters.`,
			"d2nwg lora canon hf://org/adapter --out adapters/canonical", "factors alone",
			"d2nwg lora canon runs/zoo/a --base models/base --out adapters/a", "a saved variant, or what needs its base"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "base", Usage: "the checkpoint that the adapter belongs to (folder or address)"},
		}, adapterOutputs()...),
		Action: action(runLoraCanon),
	}
}

func runLoraCanon(_ context.Context, s *session) error {
	args, err := s.args("ADAPTER")
	if err != nil {
		return err
	}
	dir, _, err := s.resolve(args[0], true)
	if err != nil {
		return err
	}
	result := struct {
		Dir     string `json:"dir"`
		Tensors int    `json:"tensors"` // that it changes
	}{Dir: s.String("out")}
	if s.String("base") != "" {
		result.Tensors, err = s.canonOnBase(dir)
	} else {
		result.Tensors, err = s.canonAlone(dir)
	}
	if err != nil {
		return err
	}
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d tensors in canonical form\n", result.Dir, result.Tensors)
	})
}

// canonOnBase makes the variant of a base that dir holds canonical.
func (s *session) canonOnBase(dir string) (tensors int, err error) {
	options, err := s.adapterOptions(s.String("base"))
	if err != nil {
		return 0, err
	}
	base, err := s.openCheckpoint(s.String("base"))
	if err != nil {
		return 0, err
	}
	defer base.Close()
	v, _, err := lora.Load(base, dir)
	if err != nil {
		return 0, err
	}
	if v, err = lora.CanonicalVariant(v); err != nil {
		return 0, err
	}
	return len(v.Names()), lora.Write(s.String("out"), v, options)
}

// canonAlone makes the adapter in dir canonical.
func (s *session) canonAlone(dir string) (tensors int, err error) {
	a, err := lora.Read(dir)
	if err != nil {
		return 0, err
	}
	options, err := s.adapterOptions(a.Config.Base)
	if err != nil {
		return 0, err
	}
	if s.String("base-model") == "" {
		options.Revision = a.Config.Revision
	}
	if a, err = a.Canonical(); err != nil {
		return 0, err
	}
	all, err := a.Describe(nil)
	if err != nil {
		return 0, err
	}
	return len(all), a.Write(s.String("out"), options)
}
