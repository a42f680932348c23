// Command d2nwg reads LLaMA checkpoints, learns the distribution of their layer weights, samples new
// weights, scores them against honest baselines and writes the ones that are verified to be better.
//
// Data go to standard output, progress and errors to standard error. The exit codes are in exit.go.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := withSignals(context.Background())
	defer stop()

	err := execute(ctx, args, stdin, stdout, stderr)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	if err != nil {
		reportError(stderr, err, wantsJSON(args))
	}
	return exitCode(err)
}

// execute parses the command line and runs the command it names.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	if len(args) > 1 && args[1] == completeWord {
		return complete(app, args[2:])
	}
	ordered, err := normalize(app, args)
	if err != nil {
		return err
	}
	return app.RunContext(ctx, ordered)
}

// newApp builds the root command. urfave/cli's own error printing, exiting and help command are off:
// errors come back to run, which reports each of them once.
func newApp() *cli.App {
	app := &cli.App{
		Name:            "d2nwg",
		HelpName:        "d2nwg",
		Usage:           "learn, sample and verify the weights of language models",
		UsageText:       "d2nwg COMMAND [flags] [arguments]",
		Description:     rootDescription,
		HideHelpCommand: true,
		HideVersion:     true,
		// A comma in a --set value or a path is part of it; flags that may stand several times are repeated.
		DisableSliceFlagSeparator: true,
		Flags: append(globalFlags(), &cli.BoolFlag{Name: "version", DisableDefaultText: true,
			Usage: "print the version and exit"}),
		Commands:       commands(),
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   asUsageError,
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return action(runVersion)(c)
			}
			return cli.ShowAppHelp(c)
		},
	}
	prepare(app.Commands)
	return app
}

const rootDescription = `Reads LLaMA checkpoints, learns the distribution of their layer weights, samples new
weights, scores them against baselines and writes the ones verified to be better.
Where a model, an adapter, a tokenizer or data is named, an address (hf://[datasets/]org/name[@revision][/path],
file:///folder) will do as well as a path; the model inside the program is called "bundled".
Data go to stdout, progress and errors to stderr. Flags may stand before or after arguments.

Exit codes: 0 ok, 1 failure, 2 usage, 3 partial, 4 no verified improvement,
10 missing input, 11 bad checkpoint, 130 interrupted.`

// globalFlags are understood by every command, wherever on the line they stand.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", DisableDefaultText: true,
			Usage: "print results (stdout) and errors (stderr) as JSON"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, DisableDefaultText: true,
			Usage: "no progress and no notes"},
		&cli.BoolFlag{Name: "progress", DisableDefaultText: true,
			Usage: "report progress even when stderr is not a terminal (as JSON lines under --json)"},
	}
}

// prepare sets on every command of a tree what all of them share.
func prepare(cmds []*cli.Command) {
	for _, c := range cmds {
		c.HideHelpCommand = true
		c.OnUsageError = asUsageError
		if len(c.Subcommands) > 0 && c.Action == nil {
			c.Action = cli.ShowSubcommandHelp
		}
		prepare(c.Subcommands)
	}
}

// asUsageError marks the flag package's errors (a malformed number, …) as usage errors.
func asUsageError(_ *cli.Context, err error, _ bool) error {
	return &usageError{err.Error()}
}
