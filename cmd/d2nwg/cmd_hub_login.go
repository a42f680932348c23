package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func hubLoginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "store the token of a hub for this and the official clients",
		UsageText: "d2nwg hub login [< FILE]",
		Description: describe(`Reads a token from a prompt that doesn't show it, or from standard input, asks the hub whose it is, and
stores it in the file of the official clients (HF_TOKEN_PATH, or token in HF_HOME), readable by you only. Tokens are never taken
from the command line, which other users of a machine can see.`,
			"d2nwg hub login", "with a prompt",
			"d2nwg hub login < token.txt", "from a file"),
		Action: action(runHubLogin),
	}
}

func hubLogoutCommand() *cli.Command {
	return &cli.Command{
		Name:        "logout",
		Usage:       "delete the stored token",
		UsageText:   "d2nwg hub logout",
		Description: describe("Deletes the file that login wrote. HF_TOKEN, where it is set, still counts.", "d2nwg hub logout", "forget the token"),
		Action:      action(runHubLogout),
	}
}

func hubWhoamiCommand() *cli.Command {
	return &cli.Command{
		Name:      "whoami",
		Usage:     "say whom the token belongs to, and where it was found",
		UsageText: "d2nwg hub whoami [--json]",
		Description: describe("Asks the hub whose token it is. The token itself is not printed.",
			"d2nwg hub whoami", "name, organizations, role"),
		Action: action(runHubWhoami),
	}
}

// anyRepository is an address for what concerns no repository in particular.
var anyRepository = hub.Address{Scheme: "hf"}

// login is the result of login and whoami.
type login struct {
	hub.User
	Source string `json:"source"` // HF_TOKEN, or the token's file
}

func (l login) write(w io.Writer) {
	fmt.Fprintf(w, "%s (%s)\n", oneLine(l.Name), oneLine(l.Type))
	if len(l.Orgs) > 0 {
		fmt.Fprintf(w, "organizations  %s\n", oneLine(strings.Join(l.Orgs, ", ")))
	}
	fmt.Fprintf(w, "token          %s %s, from %s\n", oneLine(l.Token), oneLine(l.Role), l.Source)
}

func runHubLogin(ctx context.Context, s *session) error {
	if s.Args().Present() {
		return usagef("a token is never taken from the command line, where others can see it: type it at the prompt, or send it to standard input")
	}
	token, err := readToken(ctx, s)
	if err != nil {
		return err
	}
	o := s.hubOptions()
	o.Token = token
	h, err := hub.Open(anyRepository, o)
	if err != nil {
		return err
	}
	l := login{}
	if l.User, err = h.WhoAmI(ctx); err != nil {
		return err
	}
	if l.Source, err = hub.StoreToken(token); err != nil {
		return err
	}
	if os.Getenv("HF_TOKEN") != "" {
		s.UI.Warnf("HF_TOKEN is set and wins over the stored token")
	}
	return s.UI.Result(l, l.write)
}

// maxToken bounds what is read as a token.
const maxToken = 4096

// readToken reads a token from a prompt without echo, or the first line of standard input.
func readToken(ctx context.Context, s *session) (string, error) {
	if file, ok := s.App.Reader.(*os.File); ok && ui.IsTerminal(file) {
		fmt.Fprint(s.App.ErrWriter, "Token (it isn't shown): ")
		defer fmt.Fprintln(s.App.ErrWriter)
		return promptHidden(ctx, int(file.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(s.In, maxToken+1)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usagef("no token came on standard input")
	}
	return line, nil
}

// promptHidden reads a line without echo; the terminal echoes again afterwards, also when ctx ends first.
func promptHidden(ctx context.Context, terminal int) (string, error) {
	state, err := term.GetState(terminal)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(terminal)
		answered <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		if err := term.Restore(terminal, state); err != nil {
			return "", fmt.Errorf("the terminal may not echo any more, type stty echo: %w", err)
		}
		return "", ctx.Err()
	case a := <-answered:
		if a.err != nil && a.err != io.EOF {
			return "", fmt.Errorf("read the token: %w", a.err)
		}
		if token := strings.TrimSpace(string(a.line)); token != "" {
			return token, nil
		}
		return "", usagef("no token was given")
	}
}

func runHubLogout(_ context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	gone, err := hub.RemoveToken()
	if err != nil {
		return err
	}
	result := struct {
		Path    string `json:"path"`
		Removed bool   `json:"removed"`
	}{hub.TokenPath(), gone}
	return s.UI.Result(result, func(w io.Writer) {
		if !result.Removed {
			fmt.Fprintf(w, "there was no token in %s\n", result.Path)
			return
		}
		fmt.Fprintf(w, "deleted %s\n", result.Path)
	})
}

func runHubWhoami(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	h, err := hub.Open(anyRepository, s.hubOptions())
	if err != nil {
		return err
	}
	l := login{}
	if _, l.Source, err = hub.LookupToken(); err != nil {
		return err
	}
	if l.User, err = h.WhoAmI(ctx); err != nil {
		return err
	}
	return s.UI.Result(l, l.write)
}
