package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"d2nwg/cmd/internal/ui"
)

// chatTerminal talks line by line. What the user sees beside the answers goes to standard error.
func chatTerminal(ctx context.Context, s *session, t *talker) error {
	in := bufio.NewReader(s.In)
	out := &answerWriter{w: s.UI.Out, harmless: ui.IsTerminal(s.App.Writer)}
	var talk []message
	for {
		io.WriteString(s.UI.Err, "> ")
		line, err := in.ReadString('\n')
		text := strings.TrimSpace(line)
		if err != nil && (text == "" || !errors.Is(err, io.EOF)) {
			io.WriteString(s.UI.Err, "\n")
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch text {
		case "":
			continue
		case "/exit":
			return nil
		case "/reset":
			talk = nil
			continue
		}
		talk = append(talk, message{"user", text})
		answer, err := t.turn(ctx, talk, out)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case out.err != nil:
			return fmt.Errorf("writing the answer: %w", out.err)
		case err != nil:
			s.UI.Warnf("%s", oneLine(err.Error()))
			talk = talk[:len(talk)-1]
			continue
		}
		talk = append(talk, message{"assistant", answer})
	}
}

// turn answers the last message of a talk as the tokens come. SIGINT stops the answer, a second one the program; what
// was written until then is the answer.
func (t *talker) turn(ctx context.Context, talk []message, out *answerWriter) (string, error) {
	prompt, err := t.talkOrText(talk)
	if err != nil {
		return "", err
	}
	answering, stop := context.WithCancel(ctx)
	defer stop()
	release := takeInterrupts(ctx, func() bool {
		first := answering.Err() == nil
		stop()
		return first
	})
	defer release()
	answer, err := t.answer(answering, prompt, out.write)
	out.write("\n")
	if answering.Err() != nil {
		err = nil
	}
	return answer.Text, err
}

// talkOrText gives the prompt for a talk; without a template only its last text counts.
func (t *talker) talkOrText(talk []message) ([]int, error) {
	if t.template == nil {
		return t.ask(talk[len(talk)-1].Content)
	}
	return t.talk(talk)
}
