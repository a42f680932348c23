package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"d2nwg/hub/server"

	"github.com/urfave/cli/v2"
)

func hubCommand() *cli.Command {
	return &cli.Command{
		Name:      "hub",
		Usage:     "look at repositories of models and data sets, log in, serve a hub of your own",
		UsageText: "d2nwg hub COMMAND [flags] [arguments]",
		Description: describe("Commands for hubs: places that keep repositories of models and data sets.",
			"d2nwg hub ls hf://org/name", "what a repository holds",
			"d2nwg hub serve ~/hub --token alice:SECRET:write", "a hub of your own, for the official clients too"),
		Subcommands: []*cli.Command{
			hubLsCommand(),
			hubInfoCommand(),
			hubRmCommand(),
			hubLoginCommand(),
			hubLogoutCommand(),
			hubWhoamiCommand(),
			hubServeCommand(),
		},
	}
}

func hubServeCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a folder as a hub",
		UsageText: "d2nwg hub serve DIR [--addr HOST:PORT] [--token NAME:TOKEN:ROLE]...",
		Description: describe(`Speaks the Hugging Face Hub's protocol: with HF_ENDPOINT set to the printed address, the official
clients read and write models and data sets here. It is plain HTTP: beyond this machine, put a proxy
with TLS in front of it. Everything is kept in DIR, which is made if it
is missing and is in order after a crash at any moment. An interrupt ends it, after the requests
under way.
Roles: read (NAME's private and granted repositories), write (everything below NAME, pull requests
elsewhere), admin (everything everywhere). Without a token, public repositories can be read.`,
			"d2nwg hub serve ~/hub --token alice:hf_secret:write", "on 127.0.0.1:8080",
			"d2nwg hub serve ~/hub --addr 127.0.0.1:0 --json", "on a free port, printed as JSON"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:8080", Usage: "the address to listen on; port 0 is any free one"},
			&cli.StringSliceFlag{Name: "token", Usage: "NAME:TOKEN:ROLE lets TOKEN act for the user NAME (repeatable)"},
		},
		Action: action(runHubServe),
	}
}

// hubGrace is how long requests under way may take to finish once the server is told to stop.
const hubGrace = 10 * time.Second

// hubListening is what serve prints when it is ready.
type hubListening struct {
	URL string `json:"url"`
	Dir string `json:"dir"`
}

func runHubServe(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	o := server.Options{Log: func(line string) { fmt.Fprintf(s.App.ErrWriter, "d2nwg: %s\n", oneLine(line)) }}
	for _, text := range s.StringSlice("token") {
		token, err := server.ParseToken(text)
		if err != nil {
			return usagef("--token: %v", err)
		}
		o.Tokens = append(o.Tokens, token)
	}
	hub, err := server.Open(args[0], o)
	if err != nil {
		return err
	}
	defer hub.Close()
	l, err := net.Listen("tcp", s.String("addr"))
	if err != nil {
		return err
	}
	ready := hubListening{URL: "http://" + l.Addr().String(), Dir: args[0]}
	err = s.UI.Result(ready, func(w io.Writer) {
		fmt.Fprintf(w, "serving %s on %s\n", ready.Dir, ready.URL)
	})
	if err != nil {
		l.Close()
		return err
	}
	return hub.Serve(ctx, l, hubGrace) // an interrupt is how a server ends, no failure
}
