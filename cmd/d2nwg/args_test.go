package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/safetensors"

	"github.com/urfave/cli/v2"
)

// testApp has a command with every kind of flag, and a nested one.
func testApp() *cli.App {
	return &cli.App{
		Name: "d2nwg", Flags: globalFlags(),
		Commands: []*cli.Command{
			{
				Name: "eval",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "out", Aliases: []string{"o"}}, &cli.IntFlag{Name: "seed"},
					&cli.BoolFlag{Name: "force"}, &cli.StringSliceFlag{Name: "mix"},
				},
			},
			{Name: "runs", Subcommands: []*cli.Command{{Name: "show", Flags: []cli.Flag{&cli.StringFlag{Name: "root", Required: true}}}}},
		},
	}
}

func TestNormalizePutsFlagsBeforeArguments(t *testing.T) {
	for line, want := range map[string]string{
		"eval DIR --json":                      "--json eval -- DIR",
		"eval --json DIR":                      "--json eval -- DIR",
		"--json eval DIR":                      "--json eval -- DIR",
		"eval DIR --seed 3 --force -o x":       "eval --seed 3 --force -o x -- DIR",
		"eval A --seed=3 B -q":                 "-q eval --seed=3 -- A B",
		"eval --force DIR":                     "eval --force -- DIR", // a boolean takes no value
		"eval --out DIR":                       "eval --out DIR --",
		"eval --seed -5 DIR":                   "eval --seed -5 -- DIR",
		"eval - --force":                       "eval --force -- -",
		"eval DIR -- --json --nope":            "eval -- DIR --json --nope",
		"eval -- eval":                         "eval -- eval",
		"eval --mix a --mix b D":               "eval --mix a --mix b -- D",
		"eval --json=false D":                  "--json=false eval -- D",
		"eval -json D":                         "-json eval -- D",
		"runs show R --root x":                 "runs show --root x -- R",
		"runs --json show --root x eval":       "--json runs show --root x -- eval",
		"help runs show":                       "runs show --help --",
		"eval DIR --help":                      "eval --help -- DIR",
		"runs show --help":                     "runs show --help --", // required flags do not stand before help
		"":                                     "--",
		"eval --out --weird-but-unknown-value": "eval --out --weird-but-unknown-value --",
	} {
		got, err := normalize(testApp(), append([]string{"d2nwg"}, strings.Fields(line)...))
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if joined := strings.Join(got[1:], " "); joined != want {
			t.Errorf("%q became %q, want %q", line, joined, want)
		}
	}
}

func TestNormalizeRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"eval DIR --sede 3":     "no flag --sede, did you mean --seed",
		"eval --forse DIR":      "did you mean --force",
		"eval -z":               "no flag -z",
		"eval --xyzzy":          "no flag --xyzzy; see",
		"evil DIR":              `no command "evil", did you mean eval`,
		"runs shaw":             `d2nwg runs has no command "shaw", did you mean show`,
		"eval DIR --out":        "--out needs a value",
		"eval --out --json DIR": "--out needs a value, found --json",
		"eval --out -- DIR":     "--out needs a value, found --",
		"--seed 3 eval":         "d2nwg has no flag --seed",
		"runs show R":           "needs the flag --root",
		"eval ---":              "no flag",
		"help evil":             "did you mean eval",
	} {
		got, err := normalize(testApp(), append([]string{"d2nwg"}, strings.Fields(line)...))
		if err == nil {
			t.Errorf("%q became %q, want an error", line, got)
			continue
		}
		if !strings.Contains(err.Error(), want) || exitCode(err) != codeUsage {
			t.Errorf("%q: %v (code %d), want %q", line, err, exitCode(err), want)
		}
	}
}

// FuzzNormalize checks that nothing is lost: every word of an accepted line comes back, arguments in
// their order after "--", and a second pass changes nothing.
func FuzzNormalize(f *testing.F) {
	for _, line := range []string{"eval DIR --json", "eval --out x -- --json", "runs show --root x R", "help eval", "eval --seed=3 - -q"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := append([]string{"d2nwg"}, strings.Fields(line)...)
		once, err := normalize(testApp(), words)
		if err != nil {
			return
		}
		if len(words) > 1 && words[1] == "help" {
			return
		}
		before, after := slices.Sorted(slices.Values(words)), slices.Sorted(slices.Values(once))
		if slices.Contains(words, "--") {
			before = slices.DeleteFunc(before, func(s string) bool { return s == "--" })
			after = slices.DeleteFunc(after, func(s string) bool { return s == "--" })
		} else {
			after = slices.Delete(after, slices.Index(after, "--"), slices.Index(after, "--")+1)
		}
		if !slices.Equal(before, after) {
			t.Fatalf("%q became %q", words, once)
		}
		twice, err := normalize(testApp(), once)
		if err != nil || !slices.Equal(once, twice) {
			t.Fatalf("%q is not stable: %q, %v", once, twice, err)
		}
	})
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {usagef("x"), 2}, {fmt.Errorf("a: %w", usagef("x")), 2},
		{fmt.Errorf("r.yaml:3: %w: x", recipe.ErrInvalid), 2},
		{fmt.Errorf("%w: 3 of 4", errPartial), 3}, {fmt.Errorf("a: %w", errNoImprovement), 4},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, 10},
		{fmt.Errorf("x: %w", safetensors.ErrFormat), 11},
		{fmt.Errorf("%w: shard: %w", safetensors.ErrFormat, fs.ErrNotExist), 11},
		{errInterrupted, 130}, {fmt.Errorf("step 3: %w", context.Canceled), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorsAreOneHarmlessLine(t *testing.T) {
	err := errors.New("tensor \"a\n\x1b[2Jb\x07\u009b\": bad\r\n")
	var plain, asJSON bytes.Buffer
	reportError(&plain, err, false)
	if want := "d2nwg: tensor \"a ?[2Jb??\": bad\n"; plain.String() != want {
		t.Errorf("got %q, want %q", plain.String(), want)
	}
	reportError(&asJSON, usagef("no \"x\""), true)
	var got struct {
		Error string
		Code  int
	}
	if err := json.Unmarshal(asJSON.Bytes(), &got); err != nil || got.Error != `no "x"` || got.Code != 2 {
		t.Errorf("got %q (%v)", asJSON.String(), err)
	}
}

func TestWantsJSON(t *testing.T) {
	for line, want := range map[string]bool{
		"d2nwg x --json": true, "d2nwg --json": true, "d2nwg x -- --json": false, "d2nwg x": false, "--json": false, "": false,
	} {
		if got := wantsJSON(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// TestEveryCommandIsDocumented holds for commands added later, too.
func TestEveryCommandIsDocumented(t *testing.T) {
	var check func(path string, c *cli.Command)
	check = func(path string, c *cli.Command) {
		path += " " + c.Name
		if c.Usage == "" || !strings.HasPrefix(c.UsageText, path) {
			t.Errorf("%s: usage %q, usage text %q", path, c.Usage, c.UsageText)
		}
		if !strings.Contains(c.Description, "Examples:\n  # ") {
			t.Errorf("%s: no examples in its description", path)
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("%s: the flag %v has no usage", path, f.Names())
			}
			for _, g := range globalFlags() {
				for _, name := range g.Names() {
					if slices.Contains(f.Names(), name) {
						t.Errorf("%s: the flag %s hides the global one", path, dashed(name))
					}
				}
			}
		}
		for _, sub := range c.Subcommands {
			check(path, sub)
		}
	}
	for _, c := range commands() {
		check("d2nwg", c)
	}
}

// TestExamplesAreValid parses every example of the help as the program would.
func TestExamplesAreValid(t *testing.T) {
	examples := 0
	var check func(c *cli.Command)
	check = func(c *cli.Command) {
		for line := range strings.Lines(c.Description) {
			_, line, found := strings.Cut(line, "  d2nwg ")
			if !found || strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			words, _, _ := strings.Cut(line, "|")
			words, _, _ = strings.Cut(words, "<")
			words, _, _ = strings.Cut(words, ">")
			if _, err := normalize(newApp(), append([]string{"d2nwg"}, strings.Fields(words)...)); err != nil {
				t.Errorf("example %q: %v", line, err)
			}
			examples++
		}
		for _, sub := range c.Subcommands {
			check(sub)
		}
	}
	for _, c := range commands() {
		check(c)
	}
	if examples < 10 {
		t.Errorf("only %d examples were found", examples)
	}
}
