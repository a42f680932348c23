package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hubProcess is `d2nwg hub serve` in a process of its own.
type hubProcess struct {
	*exec.Cmd
	url string
}

// startHub serves a folder on a free port, with a user alice who writes, the same as a reader, and bob who writes.
func startHub(t testing.TB, dir string) *hubProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "hub", "serve", dir, "--addr", "127.0.0.1:0", "--json",
		"--token", "alice:hf_test:write", "--token", "alice:hf_read:read", "--token", "bob:hf_other:write")
	cmd.Args[0] = "d2nwg" // TestMain runs the program under this name
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var ready hubListening
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&ready); err != nil {
		t.Fatalf("the hub didn't start: %v", err)
	}
	return &hubProcess{cmd, ready.URL}
}

// TestOfficialClients lets the official JavaScript clients use the program's hub; what they do and expect is in
// internal/tools/hub/official.mjs. An interrupt ends the hub in order.
func TestOfficialClients(t *testing.T) {
	root := filepath.Join("..", "..")
	clients := filepath.Join(root, ".deps", "hub")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node: the official clients of model hubs need it")
	}
	if _, err := os.Stat(filepath.Join(clients, "node_modules", "@huggingface", "hub")); err != nil {
		t.Skipf("no official clients of model hubs in %s: make deps brings them there", clients)
	}
	script, err := os.Open(filepath.Join(root, "internal", "tools", "hub", "official.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	hub := startHub(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--input-type=module", "-", hub.url)
	cmd.Dir, cmd.Stdin = clients, script
	cmd.Env = append(os.Environ(), "HF_ENDPOINT=", "HF_TOKEN=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), " checks held, 0 failed") {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	if err := hub.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := hub.Wait(); err != nil {
		t.Errorf("the hub ended with %v", err)
	}
}
