package main

import (
	"context"
	"fmt"
	"io"

	"d2nwg/cmd/internal/ui"

	"github.com/urfave/cli/v2"
)

func chatCommand() *cli.Command {
	return &cli.Command{
		Name:      "chat",
		Usage:     "talk to a checkpoint, or let it answer JSON Lines",
		UsageText: "d2nwg chat [flags] DIR [--prompt TEXT | < in.jsonl > out.jsonl]",
		Description: describe(`On a terminal it answers line by line as the tokens come; Ctrl-C stops an answer,
/reset forgets the talk, /exit ends. Else it reads JSON Lines, {"messages":[{"role":…,"content":…}…]} or
{"prompt":"…"}, and writes {"text","tokens","finish_reason"} for each: the answer, its number of tokens,
and "stop" (the model ended it, or a --stop text came) or "length". A prompt is one message of the user,
put into the checkpoint's chat template. Without a template, or with --raw, it is a text that the model
continues.

Settings not given come from generation_config.json, with the defaults of transformers: without do_sample the most
likely token is taken, unless one of --temperature, --top-k, --top-p and --min-p is given. The same seed gives the same
answers, whatever the batch.`,
			"d2nwg chat models/mine", "talk",
			`d2nwg chat models/mine --system "Answer in French." --temperature 0.7 --top-p 0.9`, "with settings of your own",
			`d2nwg chat models/stories260K --prompt "Once upon a time" --raw --temperature 1 --seed 3`,
			"continue a text",
			`d2nwg chat models/mine --batch 16 --max-tokens 64 --stop "\n" < questions.jsonl > answers.jsonl`,
			"many at once"),
		Flags: []cli.Flag{
			arithmeticFlag("bf16"),
			adapterFlag("talk to"),
			&cli.StringFlag{Name: "prompt", Usage: "answer this and end"},
			&cli.BoolFlag{Name: "raw", DisableDefaultText: true,
				Usage: "continue prompts as they stand, without the chat template"},
			&cli.StringFlag{Name: "system", Usage: "what the model is told before a talk"},
			&cli.Float64Flag{Name: "temperature", DefaultText: "generation_config.json's, else 1",
				Usage: "divides the logits; 0 takes the most likely token"},
			&cli.IntFlag{Name: "top-k", DefaultText: "generation_config.json's, else 50",
				Usage: "draw from the k most likely tokens; 0 from all"},
			&cli.Float64Flag{Name: "top-p", DefaultText: "generation_config.json's, else 1",
				Usage: "draw from the fewest tokens whose probabilities add up to p"},
			&cli.Float64Flag{Name: "min-p", DefaultText: "generation_config.json's, else 0",
				Usage: "draw from tokens at least p times as likely as the likeliest"},
			&cli.Float64Flag{Name: "repetition-penalty", DefaultText: "generation_config.json's, else 1",
				Usage: "above 1 makes tokens that are there already less likely"},
			&cli.Uint64Flag{Name: "seed", Usage: "the seed of every draw"},
			&cli.IntFlag{Name: "max-tokens", DefaultText: "generation_config.json's, else 512",
				Usage: "most tokens of an answer; 0: as many as fit"},
			&cli.StringSliceFlag{Name: "stop",
				Usage: `end an answer before this text, in which \n is a new line; may be repeated`},
			&cli.BoolFlag{Name: "keep-stop", DisableDefaultText: true, Usage: "leave the --stop text in the answer"},
			&cli.IntFlag{Name: "batch", Value: 8, Usage: "most lines of input that are answered at once"},
			&cli.StringFlag{Name: "date", Usage: "the date that templates see (default: today)"},
		},
		Action: action(runChat),
	}
}

func runChat(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	switch {
	case s.Int("batch") < 1:
		return usagef("--batch is 1 or more")
	case s.Int("max-tokens") < 0:
		return usagef("--max-tokens is 0 or more")
	case s.Bool("raw") && s.String("system") != "":
		return usagef("--system is part of a chat template, which --raw leaves out")
	}
	t, closeTalker, err := openTalker(s, args[0])
	if err != nil {
		return err
	}
	defer closeTalker()
	switch {
	case s.IsSet("prompt"):
		return chatOnce(ctx, s, t)
	case ui.IsTerminal(s.App.Reader) && !s.UI.JSON:
		return chatTerminal(ctx, s, t)
	}
	return chatLines(ctx, s, t)
}

// chatOnce answers --prompt, as the tokens come.
func chatOnce(ctx context.Context, s *session, t *talker) error {
	prompt, err := t.ask(s.String("prompt"))
	if err != nil {
		return err
	}
	out := &answerWriter{w: s.UI.Out, harmless: ui.IsTerminal(s.App.Writer), silent: s.UI.JSON}
	answer, err := t.answer(ctx, prompt, out.write)
	if out.err != nil {
		return fmt.Errorf("writing the answer: %w", out.err)
	}
	if err != nil {
		return err
	}
	return s.UI.Result(newChatAnswer(answer), func(w io.Writer) { fmt.Fprintln(w) })
}
