package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"d2nwg/llm"
	"d2nwg/llm/engine"

	"github.com/urfave/cli/v2"
)

func logitsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logits",
		Usage:     "compute logits and token log-probabilities of token ids",
		UsageText: "d2nwg logits [--adapter DIR] DIR < ids.jsonl",
		Description: describe(`Reads one object {"ids":[…n]} a line from stdin and writes, for each,
{"logits_last":[vocab],"token_logprobs":[n-1],"argmax":[n]} on one line: the logits after the last id, the
natural logarithm of the probability of each id but the first given those before it, and the most likely
next id at each position. Lines are answered as they come.`,
			`echo '{"ids":[1,403,407]}' | d2nwg logits models/stories260K`, "one sequence",
			"d2nwg logits models/stories260K < ids.jsonl > logits.jsonl", "many"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "adapter", Usage: "a saved variant of the checkpoint (folder with variant.json) to compute instead"},
		},
		Action: action(runLogits),
	}
}

// maxLine is the longest line of input: more ids than any model's context.
const maxLine = 64 << 20

func runLogits(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	model, closeModel, err := openModel(args[0], s.String("adapter"))
	if err != nil {
		return err
	}
	defer closeModel()

	out := bufio.NewWriterSize(s.UI.Out, 1<<16)
	defer out.Flush() // what was answered before an error is kept; an error of Flush is returned below
	lines := bufio.NewScanner(s.In)
	lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := logitsLine(out, model, lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("writing logits: %w", err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes", n+1, maxLine)
	} else if err != nil {
		return fmt.Errorf("reading ids: %w", err)
	}
	return nil
}

// openModel loads a checkpoint, or a saved variant of it, for scoring. The returned function releases it.
func openModel(dir, adapter string) (*engine.Model, func(), error) {
	c, err := llm.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	release := func() { c.Close() } // a read-only mapping: nothing is lost when unmapping fails
	model, err := engine.New(c)
	if err == nil && adapter != "" {
		var v *llm.Variant
		if v, _, err = llm.LoadVariant(c, adapter); err == nil {
			model, err = model.With(v)
		}
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return model, release, nil
}

// logitsLine answers one line of input.
func logitsLine(w io.Writer, model *engine.Model, line []byte) error {
	var request struct {
		IDs []int `json:"ids"`
	}
	if err := json.Unmarshal(line, &request); err != nil {
		return fmt.Errorf(`not an object {"ids":[…]}: %w`, err)
	}
	if len(request.IDs) == 0 {
		return errors.New(`"ids" is missing or empty`)
	}
	reading, err := model.Read(request.IDs)
	if err != nil {
		return err
	}
	if reading.TokenLogProbs == nil {
		reading.TokenLogProbs = []float64{} // one id: an empty list, not null
	}
	// encoding/json writes the shortest digits that read back to the same float32 and float64.
	answer, err := json.Marshal(struct {
		LogitsLast    []float32 `json:"logits_last"`
		TokenLogProbs []float64 `json:"token_logprobs"`
		Argmax        []int     `json:"argmax"`
	}{reading.LogitsLast, reading.TokenLogProbs, reading.Argmax})
	if err != nil {
		return fmt.Errorf("writing logits: %w", err)
	}
	_, err = w.Write(append(answer, '\n'))
	return err
}
