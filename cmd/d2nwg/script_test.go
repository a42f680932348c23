package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the program itself available to the scripts as the command d2nwg.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"d2nwg": main})
}

// TestScripts runs testdata/script/*.txtar: whole command lines, their output and exit codes. The scripts share a hub, on
// which alice may write; their token and cache are their own.
func TestScripts(t *testing.T) {
	hub := hubtest.Start(t, server.Options{})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":        scriptCode,
			"header":      scriptHeader,
			"safetensors": scriptSafetensors,
		},
		Condition: func(name string) (bool, error) { return name == "hubclient" && hubClients() != "", nil },
		Setup: func(e *testscript.Env) error {
			e.Setenv("HF_ENDPOINT", hub.URL)
			e.Setenv("HF_HOME", filepath.Join(e.WorkDir, "hf"))
			e.Setenv("HUB", hub.Dir)
			return nil
		},
	})
}

// scriptCode runs a command and checks its exit code: code 11 d2nwg inspect DIR. Its error, if any, must
// be one line, and standard output must be empty.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	want := args[0]
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
	if stderr := ts.ReadFile("stderr"); want != "0" && strings.Count(stderr, "\n") != 1 {
		ts.Fatalf("%d lines on standard error, want one", strings.Count(stderr, "\n"))
	}
	if stdout := ts.ReadFile("stdout"); want != "0" && stdout != "" {
		ts.Fatalf("an error came with output on standard output")
	}
}

// scriptHeader writes a safetensors file from a header in a text file, its declared length (or "auto") and
// the number of data bytes: header FILE HEADERFILE LENGTH DATABYTES.
func scriptHeader(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: header FILE HEADERFILE LENGTH DATABYTES")
	}
	header := []byte(strings.TrimRight(ts.ReadFile(args[1]), "\n"))
	length := uint64(len(header))
	if args[2] != "auto" {
		length = parseUint(ts, args[2])
	}
	data := binary.LittleEndian.AppendUint64(nil, length)
	data = append(data, header...)
	data = append(data, make([]byte, parseUint(ts, args[3]))...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func parseUint(ts *testscript.TestScript, s string) uint64 {
	var n uint64
	for _, c := range s {
		if c < '0' || c > '9' {
			ts.Fatalf("%q is no number", s)
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
