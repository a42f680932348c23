package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeWord is the hidden first argument with which the shell scripts ask for candidates.
const completeWord = "__complete"

// complete prints the candidates for the last of words, one "candidate<TAB>description" a line. No line
// means that the shell should offer files.
func complete(app *cli.App, words []string) error {
	app.Setup()
	if len(words) == 0 {
		words = []string{""}
	}
	l := &line{globals: app.Flags, commands: app.Commands, path: app.Name}
	last := words[len(words)-1]
	for i := 0; i < len(words)-1; i++ {
		word := words[i]
		if word == "--" {
			return nil
		}
		if strings.HasPrefix(word, "-") && word != "-" {
			name, _, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if f, _ := l.lookup(name); f != nil && takesValue(f) && !joined {
				i++ // its value; when that is the last word, the shell offers files
				if i == len(words)-1 {
					return nil
				}
			}
			continue
		}
		if err := l.word(word); err != nil {
			return nil // an unknown command has no candidates; running it will say so
		}
	}
	if strings.HasPrefix(last, "-") {
		completeFlags(app, l, last)
		return nil
	}
	for _, c := range l.commands {
		if !c.Hidden && strings.HasPrefix(c.Name, last) {
			fmt.Fprintf(app.Writer, "%s\t%s\n", c.Name, c.Usage)
		}
	}
	return nil
}

// completeFlags prints the flags of the command and the global ones that begin with prefix.
func completeFlags(app *cli.App, l *line, prefix string) {
	flags := []cli.Flag{}
	if l.command != nil {
		flags = append(flags, l.command.Flags...)
	}
	for _, f := range append(flags, l.globals...) {
		usage := ""
		if doc, ok := f.(cli.DocGenerationFlag); ok {
			usage = doc.GetUsage()
		}
		if visible, ok := f.(cli.VisibleFlag); ok && !visible.IsVisible() {
			continue
		}
		for _, name := range f.Names() {
			if strings.HasPrefix(dashed(name), prefix) {
				fmt.Fprintf(app.Writer, "%s\t%s\n", dashed(name), usage)
			}
		}
	}
}
