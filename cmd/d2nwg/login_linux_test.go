package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

// TestLoginPrompt: at a terminal the token is asked for and not shown; the terminal echoes again afterwards, also when
// the prompt is interrupted.
func TestLoginPrompt(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, interrupt := range map[string]bool{"typed": false, "interrupted": true} {
		user, terminal := openTerminal(t)
		home := t.TempDir()
		cmd := exec.Command(program, "hub", "login", "--json")
		cmd.Args[0] = "d2nwg"
		link := filepath.Join(home, "d2nwg") // TestMain runs the command that the program is called by
		if err := os.Symlink(program, link); err != nil {
			t.Fatal(err)
		}
		cmd.Path = link
		cmd.Env = append(os.Environ(), "HF_ENDPOINT="+h.URL, "HF_HOME="+home, "HF_TOKEN=", "HF_TOKEN_PATH=")
		prompt := &watched{}
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &out, prompt
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown := &watched{}
		go func() { // what the terminal shows
			buf := make([]byte, 256)
			for {
				n, err := user.Read(buf)
				shown.Write(buf[:n])
				if err != nil {
					return
				}
			}
		}()
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(prompt.String(), "Token") || echoes(t, terminal); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no prompt without echo: %q", name, prompt.String())
			}
		}
		if interrupt {
			err = cmd.Process.Signal(os.Interrupt)
		} else {
			_, err = user.WriteString(hubtest.AliceToken + "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		if !echoes(t, terminal) {
			t.Errorf("%s: the terminal doesn't echo any more", name)
		}
		if all := shown.String() + prompt.String() + out.String(); strings.Contains(all, hubtest.AliceToken) {
			t.Errorf("%s: the token is shown: %q", name, all)
		}
		info, stored := os.Stat(filepath.Join(home, "token"))
		if interrupt {
			if code := cmd.ProcessState.ExitCode(); code != codeInterrupted || stored == nil {
				t.Errorf("interrupted: exit code %d, stored %v", code, info)
			}
			continue
		}
		if err != nil || stored != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("typed: %v, %v, mode %v: %s", err, stored, info, prompt.String())
		}
	}
}

// echoes tells whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}
