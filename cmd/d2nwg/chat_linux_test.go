package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// openTerminal returns the two ends of a new pseudo-terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// watched is an output that a test waits for.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) waitFor(t *testing.T, what string, enough func(text string) bool) {
	t.Helper()
	for range 3000 {
		if enough(w.String()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s came: %q", what, w.String())
}

// SIGINT stops an answer that would take minutes, and the talk goes on; at the prompt it ends the program.
func TestInterruptStopsAnAnswer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "endless")
	config := tinyConfig()
	config.MaxPositions, config.EOS = 1<<20, nil
	if err := llm.RandomCheckpoint(dir, config, safetensors.F32, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), tokenizer.NewASCII(), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	user, program := openTerminal(t)
	var stdout, stderr watched
	cmd := exec.Command(self, "chat", dir, "--max-tokens", "0")
	cmd.Args[0] = "d2nwg" // TestMain runs the program under this name
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() }).Stop()
	interrupt := func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	for i := 1; i <= 2; i++ {
		stderr.waitFor(t, "prompt", func(text string) bool { return strings.Count(text, "> ") == i })
		before := len(stdout.String())
		io.WriteString(user, "Hello\n")
		stdout.waitFor(t, "answer", func(text string) bool { return len(text) > before })
		interrupt()
	}
	stderr.waitFor(t, "prompt", func(text string) bool { return strings.Count(text, "> ") == 3 })
	interrupt()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != codeInterrupted {
		t.Errorf("it ended with %v, want exit code %d", err, codeInterrupted)
	}
	if text := stderr.String(); !strings.HasSuffix(text, "\nd2nwg: interrupted\n") {
		t.Errorf("standard error: %q", text)
	}
}
