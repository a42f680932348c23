// Package evaluation brings together what an evaluation of a checkpoint on tasks needs: the model with its tokenizer and
// chat template, the task files, their data, and the journal of answers.
package evaluation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"d2nwg/eval/lm"
	"d2nwg/eval/task"
	"d2nwg/llm"
	"d2nwg/llm/chat"
	"d2nwg/llm/engine"
	"d2nwg/llm/lora"
	"d2nwg/llm/sample"
	"d2nwg/llm/tokenizer"
)

// ModelOptions say what is opened.
type ModelOptions struct {
	Dir       string
	Adapter   string // a saved variant or a PEFT adapter to evaluate instead; "" = none
	Engine    engine.Options
	Profile   task.Profile
	MaxLength int // 0 = what the model takes
	Workers   int
}

// Model is an open checkpoint. Close it.
type Model struct {
	LM         *lm.LM
	Key        string // identifies its answers: weights, arithmetic
	SHA        string // of the weights
	Parameters int64
	checkpoint *llm.Checkpoint
}

// OpenModel opens a checkpoint with its tokenizer.
func OpenModel(o ModelOptions) (*Model, error) {
	c, err := llm.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	m, err := newModel(c, o)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return m, nil
}

func newModel(c *llm.Checkpoint, o ModelOptions) (*Model, error) {
	tok, err := tokenizer.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	e, err := engine.New(c, o.Engine)
	if err != nil {
		return nil, err
	}
	m := &Model{checkpoint: c}
	if m.SHA, err = c.Hash(); err != nil {
		return nil, err
	}
	if o.Adapter != "" {
		v, _, err := lora.Load(c, o.Adapter)
		if err != nil {
			return nil, err
		}
		if e, err = e.With(v); err != nil {
			return nil, err
		}
		if m.SHA, err = v.Hash(); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Tensors() {
		m.Parameters += t.Elements()
	}
	options, err := TokenOptions(o.Dir, e.Config(), o.Profile)
	if err != nil {
		return nil, err
	}
	options.MaxLength, options.Workers = o.MaxLength, o.Workers
	if m.LM, err = lm.New(lm.Model{Model: e}, tok, options); err != nil {
		return nil, err
	}
	m.Key = fmt.Sprint(m.SHA, " ", o.Engine.Arithmetic)
	return m, nil
}

// TokenOptions are a profile's rules for tokens: the tokenizer's own beginning token is added since 0.4.9.2 only, and
// the first leaderboard began an empty context with the end token.
func TokenOptions(dir string, config llm.Config, p task.Profile) (lm.Options, error) {
	defaults, err := sample.ReadDefaults(dir, config)
	if err != nil {
		return lm.Options{}, err
	}
	o := lm.Options{EOS: defaults.EOS, Seed: 1234, PrefixEOS: p == task.V1}
	if p == task.V1 || p == task.V2 {
		none := false
		o.Special = &none
	}
	return o, nil
}

// Close closes the checkpoint.
func (m *Model) Close() error { return m.checkpoint.Close() }

// ChatTemplate opens a checkpoint's chat template as tasks use it, and its source. now is what templates are told.
func ChatTemplate(dir string, now time.Time) (task.ChatTemplate, string, error) {
	t, err := chat.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s has no chat template; leave --apply_chat_template out: %w", dir, err)
	}
	if err != nil {
		return nil, "", err
	}
	render := func(messages []task.Message, prompt bool) (string, error) {
		list := make([]map[string]string, len(messages))
		for i, m := range messages {
			list[i] = map[string]string{"role": m.Role, "content": m.Content}
		}
		data, err := json.Marshal(list)
		if err != nil {
			return "", err
		}
		return t.Render(chat.Input{Messages: data, AddGenerationPrompt: prompt, Now: now})
	}
	return render, t.Source(), nil
}
