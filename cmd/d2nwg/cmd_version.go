package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version of the program and of what it was built with",
		UsageText: "d2nwg version [--json]",
		Description: describe("The version and revision come from the build information Go records.",
			"d2nwg version", "one line",
			"d2nwg version --json", "the same as an object"),
		Action: action(runVersion),
	}
}

// version is what Go recorded when it built this program.
type version struct {
	Version    string `json:"version"`
	Revision   string `json:"revision,omitempty"`
	Modified   bool   `json:"modified,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Experiment string `json:"experiment,omitempty"` // GOEXPERIMENT, "simd" in a full-speed build
	CGO        bool   `json:"cgo"`
}

func buildVersion() version {
	v := version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "GOEXPERIMENT":
			v.Experiment = s.Value
		case "CGO_ENABLED":
			v.CGO = s.Value == "1"
		}
	}
	return v
}

func runVersion(_ context.Context, s *session) error {
	v := buildVersion()
	return s.UI.Result(v, func(w io.Writer) {
		fmt.Fprintf(w, "d2nwg %s", v.Version)
		if v.Revision != "" {
			fmt.Fprintf(w, " (%.12s)", v.Revision)
		}
		fmt.Fprintf(w, " %s %s\n", v.Go, v.Platform)
	})
}
