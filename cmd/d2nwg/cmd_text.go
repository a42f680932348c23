package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"d2nwg/llm/chat"
	"d2nwg/llm/tokenizer"

	"github.com/urfave/cli/v2"
)

func textCommand() *cli.Command {
	dir := &cli.StringFlag{Name: "tokenizer", Usage: "folder or address with tokenizer.json, chat_template.jinja, tokenizer_config.json …"}
	return &cli.Command{
		Name:      "text",
		Usage:     "turn text into token ids and back, and conversations into text",
		UsageText: "d2nwg text encode|decode|chat --tokenizer DIR [flags] < in.jsonl > out.jsonl",
		Description: describe(`Exactly as Hugging Face's tokenizers and transformers do. Reads JSON Lines from stdin and answers each on a
line of its own as it comes.`,
			`echo '{"text":"Hello"}' | d2nwg text encode --tokenizer models/mine`, "ids and offsets",
			`echo '{"ids":[9906]}' | d2nwg text decode --tokenizer models/mine`, "and back"),
		Subcommands: []*cli.Command{
			{
				Name:      "encode",
				Usage:     `{"text"} → {"ids","offsets"}`,
				UsageText: "d2nwg text encode --tokenizer DIR [--special] [--max-length N] < in.jsonl",
				Description: describe(`Writes {"ids":[…n],"offsets":[s0,e0,s1,e1,…]}: the tokens of the text, and where each comes from in code points.`,
					`echo '{"text":"Hello"}' | d2nwg text encode --tokenizer models/mine --special`, "with <|begin_of_text|> in front"),
				Flags: []cli.Flag{
					dir,
					&cli.BoolFlag{Name: "special", DisableDefaultText: true, Usage: "add the tokens that the tokenizer puts around a text"},
					&cli.IntFlag{Name: "max-length", Usage: "cut to this many tokens, added ones counted (0: don't)"},
					&cli.StringFlag{Name: "truncation-side", Value: "right", Usage: "where to cut: left or right"},
				},
				Action: action(runTextEncode),
			},
			{
				Name:      "decode",
				Usage:     `{"ids"} → {"text","text_skip"}`,
				UsageText: "d2nwg text decode --tokenizer DIR < in.jsonl",
				Description: describe(`Writes {"text","text_skip"}: the text of the ids, and the same without special tokens.`,
					`echo '{"ids":[128000,9906]}' | d2nwg text decode --tokenizer models/mine`, "one sequence"),
				Flags:  []cli.Flag{dir},
				Action: action(runTextDecode),
			},
			{
				Name:      "chat",
				Usage:     `{"messages","tools","add_generation_prompt"} | {"template","data"} → {"text"}`,
				UsageText: "d2nwg text chat [--tokenizer DIR] [--date YYYY-MM-DD] < in.jsonl",
				Description: describe(`Renders conversations with the folder's chat template, or "template" with the variables in "data". Other keys
beside "messages" are variables of the template. Writes {"text"}, or {"error"} where the template refuses; then
the exit code is 3.`,
					`echo '{"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true}' | d2nwg text chat --tokenizer models/mine`,
					"one question", "d2nwg text chat --tokenizer models/mine --date 2024-07-26 < talks.jsonl", "with a pinned date"),
				Flags: []cli.Flag{
					dir,
					&cli.StringFlag{Name: "date", Usage: "the date that templates see (default: today)"},
				},
				Action: action(runTextChat),
			},
		},
	}
}

// textTokenizer opens the tokenizer that a text command names.
func textTokenizer(s *session) (tokenizer.Tokenizer, error) {
	if _, err := s.args(); err != nil {
		return nil, err
	}
	if s.String("tokenizer") == "" {
		return nil, usagef("--tokenizer DIR is needed")
	}
	dir, _, err := s.bring(s.String("tokenizer"), tokenizerFiles)
	if err != nil {
		return nil, err
	}
	return tokenizer.Open(dir)
}

func runTextEncode(ctx context.Context, s *session) error {
	side := s.String("truncation-side")
	if side != "left" && side != "right" || s.Int("max-length") < 0 {
		return usagef("--truncation-side is left or right, --max-length 0 or more")
	}
	tok, err := textTokenizer(s)
	if err != nil {
		return err
	}
	return s.answerLines(ctx, func(line []byte) (any, error) {
		var in struct {
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(line, &in); err != nil {
			return nil, fmt.Errorf(`not an object {"text":"…"}: %w`, err)
		}
		if in.Text == nil {
			return nil, errors.New(`not an object {"text":"…"}`)
		}
		e, err := tok.EncodeOffsets(*in.Text, s.Bool("special"))
		if err != nil {
			return nil, err
		}
		if n := s.Int("max-length"); n > 0 {
			e = e.Truncated(n, side == "left")
		}
		return struct {
			IDs     []int `json:"ids"`
			Offsets []int `json:"offsets"`
		}{e.IDs, e.Offsets}, nil
	})
}

func runTextDecode(ctx context.Context, s *session) error {
	tok, err := textTokenizer(s)
	if err != nil {
		return err
	}
	return s.answerLines(ctx, func(line []byte) (any, error) {
		var in struct {
			IDs *[]int `json:"ids"`
		}
		if err := json.Unmarshal(line, &in); err != nil {
			return nil, fmt.Errorf(`not an object {"ids":[…]}: %w`, err)
		}
		if in.IDs == nil {
			return nil, errors.New(`not an object {"ids":[…]}`)
		}
		return struct {
			Text string `json:"text"`
			Skip string `json:"text_skip"`
		}{tok.Decode(*in.IDs, false), tok.Decode(*in.IDs, true)}, nil
	})
}

func runTextChat(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	now, err := templateDate(s)
	if err != nil {
		return err
	}
	var folder *chat.Template
	if address := s.String("tokenizer"); address != "" {
		dir, _, err := s.bring(address, tokenizerFiles)
		if err != nil {
			return err
		}
		if folder, err = chat.Open(dir); err != nil {
			return err
		}
	}
	refused, total := 0, 0
	err = s.answerLines(ctx, func(line []byte) (any, error) {
		text, err := renderLine(folder, line, now)
		if errors.Is(err, errNotChat) {
			return nil, err
		}
		total++
		if err != nil {
			refused++
			return map[string]string{"error": err.Error()}, nil
		}
		return map[string]string{"text": text}, nil
	})
	if err == nil && refused > 0 {
		err = fmt.Errorf("%d of %d conversations were refused by their template: %w", refused, total, errPartial)
	}
	return err
}

// templateDate reads --date.
func templateDate(s *session) (time.Time, error) {
	date := s.String("date")
	if date == "" {
		return time.Now(), nil
	}
	now, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return now, usagef("--date %q isn't a date such as 2024-07-26", date)
	}
	return now, nil
}

var errNotChat = errors.New(`not an object {"messages":[…]} or {"template":"…","data":{…}}`)

// renderLine renders one line of input, with the folder's template unless the line brings its own.
func renderLine(folder *chat.Template, line []byte, now time.Time) (string, error) {
	var in struct {
		Template            *string         `json:"template"`
		Data                json.RawMessage `json:"data"`
		Messages            json.RawMessage `json:"messages"`
		Tools               json.RawMessage `json:"tools"`
		Documents           json.RawMessage `json:"documents"`
		AddGenerationPrompt bool            `json:"add_generation_prompt"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return "", fmt.Errorf("%w: %w", errNotChat, err)
	}
	switch {
	case in.Template != nil && in.Data != nil:
		t, err := chat.Parse(*in.Template)
		if err != nil {
			return "", err
		}
		return t.RenderJSON(in.Data, now)
	case in.Messages == nil:
		return "", errNotChat
	case folder == nil:
		return "", fmt.Errorf("%w: --tokenizer DIR is needed for the template", errNotChat)
	}
	extra, err := otherKeys(line, "template", "data", "messages", "tools", "documents", "add_generation_prompt")
	if err != nil {
		return "", err
	}
	return folder.Render(chat.Input{
		Messages: in.Messages, Tools: in.Tools, Documents: in.Documents, AddGenerationPrompt: in.AddGenerationPrompt,
		Extra: extra, Now: now,
	})
}

// otherKeys returns the object without some of its keys, nil where none is left.
func otherKeys(object []byte, without ...string) (json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return nil, err
	}
	for _, key := range without {
		delete(all, key)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return json.Marshal(all)
}
