package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
			adapterFlag("compute"),
			arithmeticFlag("f32"),
		},
		Action: action(runLogits),
	}
}

func runLogits(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	model, closeModel, err := openModel(s, args[0])
	if err != nil {
		return err
	}
	defer closeModel()

	return s.answerLines(ctx, func(line []byte) (any, error) { return logitsLine(model, line) })
}

// openModel loads a checkpoint, or the variant of it that --adapter names, to compute in --arithmetic. The
// returned function releases it.
func openModel(s *session, dir string) (*engine.Model, func(), error) {
	options, err := engineOptions(s)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.openCheckpoint(dir)
	if err != nil {
		return nil, nil, err
	}
	release := func() { c.Close() } // a read-only mapping: nothing is lost when unmapping fails
	model, err := engine.New(c, options)
	if err == nil && s.String("adapter") != "" {
		var v *llm.Variant
		if v, err = s.loadAdapter(c); err == nil {
			model, err = model.With(v)
		}
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return model, release, nil
}

// logitsAnswer answers one line. encoding/json writes the shortest digits that read back to the same numbers.
type logitsAnswer struct {
	LogitsLast    []float32 `json:"logits_last"`
	TokenLogProbs []float64 `json:"token_logprobs"`
	Argmax        []int     `json:"argmax"`
}

func logitsLine(model *engine.Model, line []byte) (any, error) {
	var request struct {
		IDs []int `json:"ids"`
	}
	if err := json.Unmarshal(line, &request); err != nil {
		return nil, fmt.Errorf(`not an object {"ids":[…]}: %w`, err)
	}
	if len(request.IDs) == 0 {
		return nil, errors.New(`"ids" is missing or empty`)
	}
	r, err := model.Read(request.IDs)
	if err != nil {
		return nil, err
	}
	if r.TokenLogProbs == nil {
		r.TokenLogProbs = []float64{} // one id: an empty list, not null
	}
	return logitsAnswer{r.LogitsLast, r.TokenLogProbs, r.Argmax}, nil
}
