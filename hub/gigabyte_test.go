package hub

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
	"d2nwg/internal/progress"
)

// TestKilledOnBothSides sends a file up and down and kills the processes of both the server and the client on the way.
// The suite uses some megabytes; for a gigabyte:
//
//	D2NWG_HUB_BYTES=1073741824 go test ./hub -run KilledOnBothSides -v -timeout 10m
func TestKilledOnBothSides(t *testing.T) {
	if what := os.Getenv("HUB_TEST_SIDE"); what != "" {
		killedSide(t, what)
		return
	}
	size := int64(24 << 20)
	if s := os.Getenv("D2NWG_HUB_BYTES"); s != "" {
		if _, err := fmt.Sscan(s, &size); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "model.safetensors")
	sum := bigFile(t, file, size)
	s := &killableServer{t: t, dir: filepath.Join(dir, "hub"), addr: freeAddress(t)}
	s.start()
	defer s.kill()
	h, _ := clientOf(t, "http://"+s.addr, true)
	h.pause = 100 * time.Millisecond

	side := func(what string, after int64) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledOnBothSides$")
		cmd.Env = append(os.Environ(), "HUB_TEST_SIDE="+what, "HUB_TEST_FILE="+file, "HUB_TEST_URL=http://"+s.addr, "HUB_TEST_CACHE="+h.cache, fmt.Sprintf("HUB_TEST_KILL=%d", after))
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: the client was not killed", what)
		}
	}
	interrupt := func(at int64) progress.Func { // kills the server and brings it back
		var once sync.Once
		return func(e progress.Event) {
			if e.Done >= at {
				once.Do(func() { s.kill(); s.start() })
			}
		}
	}

	begin := time.Now()
	side("push", size/3)
	h.report = interrupt(size / 2)
	pushed, err := h.Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "model.safetensors", Source: file}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB up, client killed at a third and server at half of it: %.1f s, of which %d MB were sent after the client's death", size>>20, time.Since(begin).Seconds(), pushed.Uploaded>>20)
	if pushed.Uploaded > size*5/6 {
		t.Errorf("%d of %d bytes were sent again", pushed.Uploaded, size)
	}
	commits, err := h.Commits(t.Context(), fakeRepo, 0)
	if err != nil || len(commits) != 2 {
		t.Errorf("%d commits, %v", len(commits), err)
	}

	begin = time.Now()
	side("pull", size/3)
	h.report = interrupt(size / 2)
	pulled, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB down, killed in the same way: %.1f s, of which %d MB were fetched after the client's death", size>>20, time.Since(begin).Seconds(), pulled.Fetched>>20)
	if pulled.Fetched > size*3/4 {
		t.Errorf("%d of %d bytes were fetched again", pulled.Fetched, size)
	}
	if got := sumOf(t, filepath.Join(pulled.Dir, "model.safetensors")); got != sum {
		t.Errorf("the file came back with sha256 %s, expected %s", got, sum)
	}
}

// killedSide serves, or pushes or pulls and kills itself on the way.
func killedSide(t *testing.T, what string) {
	if what == "serve" {
		hub, err := server.Open(os.Getenv("HUB_TEST_FILE"), server.Options{MultipartOver: 4 << 20, PartSize: 4 << 20, Tokens: []server.Token{{Name: "alice", Secret: hubtest.AliceToken, Role: server.Write}}})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", os.Getenv("HUB_TEST_URL"))
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(hub.Serve(t.Context(), l, time.Second))
	}
	h, err := newHF(Options{Endpoint: os.Getenv("HUB_TEST_URL"), Token: hubtest.AliceToken, Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.cache = os.Getenv("HUB_TEST_CACHE")
	var at int64
	fmt.Sscan(os.Getenv("HUB_TEST_KILL"), &at)
	h.report = func(e progress.Event) {
		if e.Done >= at {
			self, _ := os.FindProcess(os.Getpid())
			self.Kill()
			select {}
		}
	}
	if what == "push" {
		h.Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "model.safetensors", Source: os.Getenv("HUB_TEST_FILE")}}})
	} else {
		h.Pull(t.Context(), fakeRepo, PullOptions{})
	}
}

// killableServer is our server in a process of its own, always at the same address.
type killableServer struct {
	t         *testing.T
	dir, addr string
	cmd       *exec.Cmd
}

func (s *killableServer) start() {
	s.cmd = exec.Command(os.Args[0], "-test.run=^TestKilledOnBothSides$")
	s.cmd.Env = append(os.Environ(), "HUB_TEST_SIDE=serve", "HUB_TEST_URL="+s.addr, "HUB_TEST_FILE="+s.dir)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Error(err)
	}
	for range 500 {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Error("the server doesn't answer")
}

func (s *killableServer) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// bigFile writes a file whose every megabyte is different, and returns its sha256.
func bigFile(t *testing.T, path string, size int64) string {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := like(1<<20, 5)
	for at := int64(0); at < size; at += int64(len(chunk)) {
		copy(chunk, fmt.Sprintf("%020d", at))
		if _, err := f.Write(chunk[:min(int64(len(chunk)), size-at)]); err != nil {
			t.Fatal(err)
		}
	}
	return sumOf(t, path)
}

func sumOf(t *testing.T, path string) string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := Entry{SHA256: "x"}.hash()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
