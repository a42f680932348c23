package main

import (
	"fmt"
	"slices"
	"strings"

	"d2nwg/cmd/internal/suggest"

	"github.com/urfave/cli/v2"
)

// normalize rewrites a command line into the order urfave/cli reads:
//
//	d2nwg [global flags] command… [flags] -- [arguments]
//
// urfave/cli v2 stops reading flags at the first argument and then ignores the rest in silence, so
// `inspect DIR --json` would print no JSON. Everything after `--` is left alone. Unknown flags, unknown
// commands, missing values and missing required flags are usage errors here, before any work starts.
func normalize(app *cli.App, args []string) ([]string, error) {
	l := &line{globals: app.Flags, commands: app.Commands, path: "d2nwg"}
	if len(args) > 1 && args[1] == "help" {
		args = append(slices.Concat(args[:1], args[2:]), "--help")
	}
	for i := 1; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			l.positionals = append(l.positionals, args[i+1:]...)
			i = len(args)
		case arg != "-" && strings.HasPrefix(arg, "-"):
			used, err := l.flag(args[i:])
			if err != nil {
				return nil, err
			}
			i += used - 1
		default:
			if err := l.word(arg); err != nil {
				return nil, err
			}
		}
	}
	if err := l.complete(); err != nil {
		return nil, err
	}
	return slices.Concat(args[:1], l.globalArgs, l.words, l.flagArgs, []string{"--"}, l.positionals), nil
}

// line is a command line while it is being sorted.
type line struct {
	globals  []cli.Flag
	commands []*cli.Command // what the next word may name; empty once a command without subcommands is reached
	command  *cli.Command   // the innermost command so far
	path     string         // its full name, for messages

	globalArgs, words, flagArgs, positionals []string
	given                                    []string // names of the flags met
}

// word takes an argument that is no flag: a command's name, or else a positional argument.
func (l *line) word(arg string) error {
	if len(l.commands) == 0 {
		l.positionals = append(l.positionals, arg)
		return nil
	}
	var names []string
	for _, c := range l.commands {
		if c.HasName(arg) {
			l.command, l.commands = c, c.Subcommands
			l.path += " " + c.Name
			l.words = append(l.words, arg)
			return nil
		}
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if l.command != nil && l.command.ArgsUsage != "" { // a command with subcommands that takes arguments itself
		l.commands = nil
		return l.word(arg)
	}
	return usagef("%s has no command %q%s; see %s --help", l.path, arg, didYouMean(suggest.Nearest(arg, names)), l.path)
}

// flag takes the flag args[0], with its value if that is the next argument, and returns how many
// arguments it used.
func (l *line) flag(args []string) (used int, err error) {
	name, _, joined := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	f, global := l.lookup(name)
	if f == nil {
		return 0, usagef("%s has no flag %s%s; see %s --help", l.path, dashed(name), didYouMean(l.nearestFlag(name)), l.path)
	}
	used = 1
	if takesValue(f) && !joined {
		if len(args) < 2 {
			return 0, usagef("the flag %s needs a value", dashed(name))
		}
		next := args[1]
		if other, _ := l.lookup(strings.TrimLeft(next, "-")); next == "--" || strings.HasPrefix(next, "--") && other != nil {
			return 0, usagef("the flag %s needs a value, found %s", dashed(name), next)
		}
		used = 2
	}
	if global {
		l.globalArgs = append(l.globalArgs, args[:used]...)
	} else {
		l.flagArgs = append(l.flagArgs, args[:used]...)
	}
	l.given = append(l.given, f.Names()...)
	return used, nil
}

// lookup finds a flag of the command or a global one by any of its names.
func (l *line) lookup(name string) (f cli.Flag, global bool) {
	if name == "" {
		return nil, false
	}
	if slices.Contains(cli.HelpFlag.Names(), name) {
		return cli.HelpFlag, false
	}
	if l.command != nil {
		for _, f := range l.command.Flags {
			if slices.Contains(f.Names(), name) {
				return f, false
			}
		}
	}
	for _, f := range l.globals {
		if slices.Contains(f.Names(), name) {
			return f, true
		}
	}
	return nil, false
}

// nearestFlag is the known flag closest to a misspelt one, or "".
func (l *line) nearestFlag(name string) string {
	var names []string
	add := func(flags []cli.Flag) {
		for _, f := range flags {
			names = append(names, f.Names()...)
		}
	}
	add(l.globals)
	if l.command != nil {
		add(l.command.Flags)
	}
	near := suggest.Nearest(name, names)
	if near == "" {
		return ""
	}
	return dashed(near)
}

// complete refuses a command line that lacks a required flag. (urfave/cli would print the whole help.)
func (l *line) complete() error {
	if l.command == nil || slices.ContainsFunc(l.given, func(g string) bool { return slices.Contains(cli.HelpFlag.Names(), g) }) {
		return nil
	}
	for _, f := range l.command.Flags {
		required, ok := f.(cli.RequiredFlag)
		if ok && required.IsRequired() && !slices.Contains(l.given, f.Names()[0]) {
			return usagef("%s needs the flag %s; see %s --help", l.path, dashed(f.Names()[0]), l.path)
		}
	}
	return nil
}

// takesValue tells a flag with a value from a boolean one.
func takesValue(f cli.Flag) bool {
	doc, ok := f.(cli.DocGenerationFlag)
	return ok && doc.TakesValue()
}

// dashed writes a flag's name as the user types it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func didYouMean(word string) string {
	if word == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %s", word)
}

// wantsJSON tells whether the command line asks for JSON, even when it cannot be parsed otherwise.
func wantsJSON(args []string) bool {
	for _, arg := range args[min(1, len(args)):] {
		switch arg {
		case "--":
			return false
		case "--json", "-json", "--json=true", "-json=true":
			return true
		}
	}
	return false
}

// positional returns the command's arguments after checking their number against the names.
func positional(c *cli.Context, names ...string) ([]string, error) {
	got := c.Args().Slice()
	if len(got) == len(names) {
		return got, nil
	}
	if len(got) > len(names) {
		return nil, usagef("%s: unexpected argument %q; see %s --help", c.Command.HelpName, got[len(names)], c.Command.HelpName)
	}
	return nil, usagef("%s needs %s; see %s --help", c.Command.HelpName, strings.Join(names[len(got):], " and "), c.Command.HelpName)
}
