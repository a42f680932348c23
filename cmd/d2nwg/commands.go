package main

import (
	"context"
	"io"
	"strings"

	"d2nwg/cmd/internal/ui"

	"github.com/urfave/cli/v2"
)

// commands lists every command in the order the help shows them. Each is built in its own cmd_<name>.go.
func commands() []*cli.Command {
	return []*cli.Command{
		inspectCommand(),
		logitsCommand(),
		textCommand(),
		chatCommand(),
		evalCommand(),
		benchCommand(),
		spectrumCommand(),
		runsCommand(),
		tasksCommand(),
		improveCommand(),
		trainCommand(),
		sampleCommand(),
		pretrainCommand(),
		finetuneCommand(),
		relativesCommand(),
		zooCommand(),
		generateCommand(),
		pullCommand(),
		pushCommand(),
		loraCommand(),
		applyCommand(),
		rollbackCommand(),
		hubCommand(),
		recipeCommand(),
		randomCommand(),
		doctorCommand(),
		completionCommand(),
		versionCommand(),
	}
}

// session is what a command's body works with: its flags and arguments, its terminal and its input.
type session struct {
	*cli.Context
	UI *ui.UI
	In io.Reader
}

// args returns the command's arguments, one for each name, or a usage error.
func (s *session) args(names ...string) ([]string, error) { return positional(s.Context, names...) }

// action turns a command's body into what urfave/cli calls. Global flags are read wherever they stood.
func action(body func(ctx context.Context, s *session) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		s := &session{Context: c, In: &contextReader{c.Context, c.App.Reader}, UI: ui.New(ui.Options{
			Out: c.App.Writer, Err: c.App.ErrWriter,
			JSON: c.Bool("json"), Quiet: c.Bool("quiet"), Progress: c.Bool("progress"),
		})}
		defer s.UI.Close()
		return body(c.Context, s)
	}
}

// contextReader ends a blocked Read when its context does, so that an interrupt is heard while a command
// waits for input.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		n   int
		err error
	}
	buf := make([]byte, len(p)) // p belongs to the caller again once this Read has returned
	done := make(chan result, 1)
	go func() {
		n, err := c.r.Read(buf)
		done <- result{n, err}
	}()
	select {
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	case r := <-done:
		return copy(p, buf[:r.n]), r.err
	}
}

// describe joins a command's description and its examples, given as pairs of command line and remark.
func describe(text string, examples ...string) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(text))
	b.WriteString("\n\nExamples:")
	for i := 0; i+1 < len(examples); i += 2 {
		b.WriteString("\n  # " + examples[i+1] + "\n  " + examples[i])
	}
	return b.String()
}
