package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"d2nwg/llm"
	"d2nwg/llm/chat"
	"d2nwg/llm/engine"
	"d2nwg/llm/sample"
	"d2nwg/llm/tokenizer"

	"github.com/urfave/cli/v2"
)

// talker is a model that one can talk to.
type talker struct {
	model    *engine.Model
	tok      tokenizer.Tokenizer
	template *chat.Template // nil: texts are continued as they stand
	system   string
	now      time.Time
	options  sample.Options
	ending   sample.Ending
	answered int // numbers the streams of random numbers
}

// message is a turn of a talk.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatAnswer is what is written for an answer.
type chatAnswer struct {
	Text         string `json:"text"`
	Tokens       int    `json:"tokens"`
	FinishReason string `json:"finish_reason"`
}

func newChatAnswer(a sample.Answer) chatAnswer { return chatAnswer{a.Text, len(a.IDs), a.Reason} }

// openTalker loads the checkpoint at a path or an address and reads how it wants to be talked to.
func openTalker(s *session, address string) (*talker, func(), error) {
	now, err := templateDate(s)
	if err != nil {
		return nil, nil, err
	}
	dir, _, err := s.resolve(address, true)
	if err != nil {
		return nil, nil, err
	}
	config, err := llm.ReadConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	t := &talker{system: s.String("system"), now: now}
	if t.tok, err = tokenizer.Open(dir); err != nil {
		return nil, nil, err
	}
	if !s.Bool("raw") {
		t.template, err = chat.Open(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	if t.template == nil && t.system != "" {
		return nil, nil, usagef("--system needs a chat template, which %s lacks", dir)
	}
	defaults, err := sample.ReadDefaults(dir, config)
	if err != nil {
		return nil, nil, err
	}
	if t.options, err = chatOptions(s.Context, defaults); err != nil {
		return nil, nil, err
	}
	if err := t.end(s.Context, defaults); err != nil {
		return nil, nil, err
	}
	var closeModel func()
	if t.model, closeModel, err = openModel(s, dir); err != nil {
		return nil, nil, err
	}
	if len(defaults.Ignored) > 0 {
		names := strings.Join(defaults.Ignored, ", ")
		s.UI.Warnf("settings of %s/%s that d2nwg doesn't follow: %s", dir, sample.DefaultsName, names)
	}
	if t.template == nil && !s.Bool("raw") {
		s.UI.Notef("%s has no chat template: texts are continued as they stand", dir)
	}
	return t, closeModel, nil
}

// chatOptions puts the flags over a checkpoint's defaults.
func chatOptions(c *cli.Context, d sample.Defaults) (sample.Options, error) {
	o, draw := d.Options, d.Sample
	for name, value := range map[string]*float64{
		"temperature": &o.Temperature, "top-p": &o.TopP, "min-p": &o.MinP, "repetition-penalty": &o.RepetitionPenalty,
	} {
		if c.IsSet(name) {
			*value = c.Float64(name)
			draw = draw || name != "repetition-penalty"
		}
	}
	if c.IsSet("top-k") {
		o.TopK, draw = c.Int("top-k"), true
	}
	if err := o.Check(); err != nil {
		return o, usagef("%v", err)
	}
	if !draw {
		o.Temperature = 0
	}
	o.Seed = c.Uint64("seed")
	return o, nil
}

// end sets where answers end.
func (t *talker) end(c *cli.Context, d sample.Defaults) error {
	t.ending = sample.Ending{Tokens: d.EOS, Keep: c.Bool("keep-stop"), MaxNew: 512}
	if d.MaxNew > 0 {
		t.ending.MaxNew = d.MaxNew
	}
	if c.IsSet("max-tokens") {
		t.ending.MaxNew = c.Int("max-tokens")
	}
	if id, ok := t.tok.EOS(); ok && t.template != nil {
		t.ending.Tokens = append(t.ending.Tokens, id) // what ends a turn need not be what ends a text
	}
	stops := d.Stops
	if c.IsSet("stop") {
		stops = c.StringSlice("stop")
	}
	for _, stop := range stops {
		if c.IsSet("stop") {
			stop = strings.ReplaceAll(stop, `\n`, "\n")
		}
		if stop == "" {
			return usagef("--stop needs a text")
		}
		// The text of an answer is without special tokens, so a stop string that spells one is the token.
		ids, err := t.tok.Encode(stop, false)
		if err == nil && len(ids) == 1 && t.tok.Decode(ids, true) == "" {
			t.ending.Tokens = append(t.ending.Tokens, ids[0])
			continue
		}
		t.ending.Strings = append(t.ending.Strings, stop)
	}
	return nil
}

// ask turns a question, or a text to continue, into tokens.
func (t *talker) ask(text string) ([]int, error) {
	if t.template == nil {
		ids, err := t.tok.Encode(text, true)
		return t.checked(ids, err)
	}
	return t.talk([]message{{"user", text}})
}

// talk turns a talk into tokens, with what begins an answer.
func (t *talker) talk(messages []message) ([]int, error) {
	if t.system != "" {
		messages = append([]message{{"system", t.system}}, messages...)
	}
	data, err := json.Marshal(messages)
	if err != nil {
		return nil, err
	}
	return t.render(chat.Input{Messages: data})
}

// render turns a talk for the template into tokens. The text holds the special tokens that it needs.
func (t *talker) render(in chat.Input) ([]int, error) {
	in.AddGenerationPrompt, in.Now = true, t.now
	text, err := t.template.Render(in)
	if err != nil {
		return nil, err
	}
	ids, err := t.tok.Encode(text, false)
	return t.checked(ids, err)
}

func (t *talker) checked(ids []int, err error) ([]int, error) {
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, errors.New("the prompt is empty")
	}
	if most := t.model.Config().MaxPositions; len(ids) > most {
		return nil, fmt.Errorf("the prompt has %d tokens, the model holds %d: %w", len(ids), most, engine.ErrTooLong)
	}
	return ids, nil
}

// answer continues a prompt and hands the text over as it comes.
func (t *talker) answer(ctx context.Context, prompt []int, piece func(string)) (sample.Answer, error) {
	reqs := []sample.Request{{Prompt: prompt, Sequence: t.answered}}
	t.answered++
	answers, err := sample.Run(ctx, t.model, t.tok, reqs, t.options, t.ending, func(_ int, text string) { piece(text) })
	return answers[0], err
}

// answerWriter writes an answer as it comes and keeps the first error.
type answerWriter struct {
	w        io.Writer
	harmless bool // to a terminal: a model's text may hold escape sequences
	silent   bool
	err      error
}

func (a *answerWriter) write(text string) {
	if a.silent || a.err != nil {
		return
	}
	if a.harmless {
		text = strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, text)
	}
	_, a.err = io.WriteString(a.w, text)
}
