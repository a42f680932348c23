package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// TestSignalsEndACommand interrupts the program itself while it waits for input, after it has answered one
// line: exit code 130, one line on standard error.
func TestSignalsEndACommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := llm.RandomCheckpoint(dir, tinyConfig(), safetensors.F32, 0, 1); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command(self, "logits", dir)
		cmd.Args[0] = "d2nwg" // TestMain runs the program under this name
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		io.WriteString(stdin, "{\"ids\":[1,2,3]}\n")
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "logits_last") {
			t.Errorf("first answer %q, %v", line, err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Error(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != codeInterrupted {
			t.Errorf("%v ended it with %v, want exit code %d", signal, err, codeInterrupted)
		}
		timer.Stop()
		if stderr.String() != "d2nwg: interrupted\n" {
			t.Errorf("standard error: %q", stderr.String())
		}
	}
}

func TestContextReader(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	data, err := io.ReadAll(&contextReader{ctx, strings.NewReader("some text")})
	if err != nil || string(data) != "some text" {
		t.Errorf("read %q, %v", data, err)
	}
	blocked, w := io.Pipe()
	defer w.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := (&contextReader{ctx, blocked}).Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a blocked read ended with %v", err)
	}
}
