package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"d2nwg/internal/progress"
)

// checkCache holds a repository's cache against the rules of the official layout, and returns the names in the snapshot.
func checkCache(t *testing.T, dir, revision, commit string) []string {
	t.Helper()
	ref, err := os.ReadFile(filepath.Join(dir, "refs", filepath.FromSlash(revision)))
	if err != nil || string(ref) != commit {
		t.Errorf("refs/%s holds %q (%v), expected the commit and nothing else", revision, ref, err)
	}
	var names []string
	snapshot := filepath.Join(dir, "snapshots", commit)
	filepath.WalkDir(snapshot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(snapshot, path)
		names = append(names, filepath.ToSlash(name))
		target, err := os.Readlink(path)
		if err != nil || filepath.IsAbs(target) {
			t.Errorf("%s is no relative link: %q, %v", name, target, err)
			return nil
		}
		blob := filepath.Join(filepath.Dir(path), target)
		if filepath.Dir(blob) != filepath.Join(dir, "blobs") {
			t.Errorf("%s leads to %s, not into blobs", name, blob)
		}
		data, err := os.ReadFile(blob)
		e := Entry{Size: int64(len(data))}
		if len(filepath.Base(blob)) == 64 {
			e.SHA256 = "x"
		}
		h := e.hash()
		h.Write(data)
		if sum := fmt.Sprintf("%x", h.Sum(nil)); err != nil || sum != filepath.Base(blob) {
			t.Errorf("%s: the blob is named %s and hashes to %s (%v)", name, filepath.Base(blob), sum, err)
		}
		return nil
	})
	blobs, _ := os.ReadDir(filepath.Join(dir, "blobs"))
	for _, b := range blobs {
		if n := len(b.Name()); n != 40 && n != 64 {
			t.Errorf("blobs/%s is left over", b.Name())
		}
	}
	return names
}

func someFiles() map[string][]byte {
	return map[string][]byte{
		"config.json":           []byte(`{"a":1}`),
		"same.json":             []byte(`{"a":1}`),
		"sub/dir/a b+ü.txt":     []byte("text"),
		"sub/empty":             {},
		"model.safetensors":     like(3<<20, 7),
		"big.safetensors":       like(5<<20+123, 8),
		"pytorch_model.bin":     []byte("pickle"),
		"optimizer/state.PT":    []byte("pickle"),
		"sub/model.safetensors": like(1000, 9),
	}
}

func TestPullFillsTheCacheAsOfficialClientsDo(t *testing.T) {
	f, cache := newFakeHub(t, someFiles()), t.TempDir()
	f.pageSize = 2
	h := f.client(t, cache)
	h.piece = 1 << 20 // so that the big files come in parts
	var last, total atomic.Int64
	h.report = func(e progress.Event) { last.Store(e.Done); total.Store(e.Total) }
	s, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "models--alice--m")
	want := []string{"big.safetensors", "config.json", "model.safetensors", "same.json", "sub/dir/a b+ü.txt", "sub/empty", "sub/model.safetensors"}
	if diff := cmp.Diff(want, checkCache(t, dir, "main", fakeCommit)); diff != "" {
		t.Errorf("the snapshot's files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, s.Files); diff != "" || s.Dir != filepath.Join(dir, "snapshots", fakeCommit) || s.Path != s.Dir {
		t.Errorf("the snapshot is %+v\n%s", s, diff)
	}
	if diff := cmp.Diff([]string{"optimizer/state.PT", "pytorch_model.bin"}, s.Refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if bytes := int64(8<<20 + 123 + 1000 + 7 + 4); s.Fetched != bytes || total.Load() != bytes {
		t.Errorf("%d bytes fetched and %d announced, expected %d", s.Fetched, total.Load(), bytes)
	}
	for name, data := range f.files {
		got, err := os.ReadFile(filepath.Join(s.Dir, name))
		if slices.Contains(want, name) && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("%s is not what the hub has: %v", name, err)
		}
	}
	for _, r := range f.requests {
		if r.Header.Get("Authorization") != "Bearer "+fakeToken {
			t.Errorf("%s came without the token", r.URL)
		}
	}
	for _, r := range f.outside {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("the token went to another server: %s", r.URL)
		}
	}
	again, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil || again.Fetched != 0 {
		t.Errorf("pulled again: %d bytes fetched, %v", again.Fetched, err)
	}
	h.offline = true
	before := len(f.requests)
	offline, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
	if diff := cmp.Diff(again, offline); err != nil || (diff != "" && len(offline.Files) != len(want)) || len(f.requests) != before {
		t.Errorf("offline: %v (-online +offline)\n%s", err, diff)
	}
	if _, err := h.Pull(t.Context(), fakeRepo.at("other"), PullOptions{}); !errors.Is(err, ErrOffline) {
		t.Errorf("an unknown revision offline: %v", err)
	}
	if _, err := h.Info(t.Context(), fakeRepo); !errors.Is(err, ErrOffline) {
		t.Errorf("info offline: %v", err)
	}
}

func TestPullChooses(t *testing.T) {
	for _, c := range []struct {
		path string
		o    PullOptions
		want []string
		err  error
	}{
		{o: PullOptions{Include: []string{"*.safetensors"}}, want: []string{"big.safetensors", "model.safetensors", "sub/model.safetensors"}},
		{o: PullOptions{Include: []string{"*.safetensors"}, Exclude: []string{"sub/", "b[a-i]g*"}}, want: []string{"model.safetensors"}},
		{o: PullOptions{Include: []string{"sub/"}}, want: []string{"sub/dir/a b+ü.txt", "sub/empty", "sub/model.safetensors"}},
		{o: PullOptions{Include: []string{"*/a b+?.txt"}}, want: []string{"sub/dir/a b+ü.txt"}},
		{o: PullOptions{Include: []string{"*.bin"}, AllowPickle: true}, want: []string{"pytorch_model.bin"}},
		{o: PullOptions{Include: []string{"pytorch_model.bin"}}, err: ErrPickle},
		{o: PullOptions{Include: []string{"nothing*"}}, err: ErrEntryNotFound},
		{path: "sub", want: []string{"sub/dir/a b+ü.txt", "sub/empty", "sub/model.safetensors"}},
		{path: "config.json", want: []string{"config.json"}},
		{path: "conf", err: ErrEntryNotFound},
		{path: "optimizer/state.PT", err: ErrPickle},
	} {
		f := newFakeHub(t, someFiles())
		a := fakeRepo
		a.Path = c.path
		s, err := f.client(t, t.TempDir()).Pull(t.Context(), a, c.o)
		if diff := cmp.Diff(c.want, s.Files); diff != "" || !errors.Is(err, c.err) {
			t.Errorf("%q %+v: %v (-want +got)\n%s", c.path, c.o, err, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	f, cache := newFakeHub(t, someFiles()), t.TempDir()
	o := Options{Endpoint: f.api.URL, Token: fakeToken, CacheDir: cache}
	path, err := Resolve(t.Context(), "hf://alice/m/sub", o, PullOptions{})
	if want := filepath.Join(cache, "models--alice--m", "snapshots", fakeCommit, "sub"); err != nil || path != want {
		t.Errorf("resolved to %s, %v", path, err)
	}
	for address, want := range map[string]string{"some/dir": "some/dir", "file:///some/dir%20x": "/some/dir x", "./a@b": "./a@b"} {
		if path, err := Resolve(t.Context(), address, o, PullOptions{}); err != nil || path != want {
			t.Errorf("%s resolves to %s, %v", address, path, err)
		}
	}
}

// cutting sends a content's part of what is asked for and then breaks the connection, until it has done so n times.
func cutting(n *atomic.Int64, after int) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, data []byte) {
		if n.Add(-1) < 0 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		http.ServeContent(&cutWriter{w, after}, r, "", time.Time{}, bytes.NewReader(data))
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(b)
}

func TestBrokenConnectionsAreContinued(t *testing.T) {
	for _, piece := range []int64{256 << 10, 64 << 20} {
		f := newFakeHub(t, map[string][]byte{"model.safetensors": like(5<<20+1, 3)})
		var n atomic.Int64
		n.Store(4)
		f.content = cutting(&n, 200<<10)
		h := f.client(t, t.TempDir())
		h.piece = piece
		s, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if piece > 5<<20 && s.Fetched != 5<<20+1 {
			t.Errorf("%d bytes were fetched, expected each once", s.Fetched)
		}
		checkCache(t, filepath.Dir(filepath.Dir(s.Dir)), "main", fakeCommit)
	}
}

// leave makes a cache in which a download of the file was interrupted after some bytes.
func leave(t *testing.T, cache string, e Entry, data []byte) {
	dir := filepath.Join(cache, "models--alice--m", "blobs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s.%d-01020304.incomplete", e.etag(), e.Size)
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPartsAreContinuedOnlyWhenTheyAreRight(t *testing.T) {
	data := like(3<<20, 5)
	e := nameOf("model.safetensors", data)
	wrong := slices.Clone(data[:2<<20])
	wrong[77] ^= 1
	other := e
	other.Size++
	noRanges := func(w http.ResponseWriter, _ *http.Request, data []byte) { w.Write(data) }
	for _, c := range []struct {
		name    string
		left    []byte
		as      Entry
		content func(http.ResponseWriter, *http.Request, []byte)
		fetched int64
	}{
		{"right", data[:2<<20], e, nil, 1 << 20},
		{"complete", data, e, nil, 0},
		{"wrong", wrong, e, nil, 4 << 20},
		{"too long", append(slices.Clone(data), 1), e, nil, 3 << 20},
		{"of another size", data[:2<<20], other, nil, 3 << 20},
		{"but the hub sends no parts", data[:2<<20], e, noRanges, 3 << 20},
	} {
		for _, piece := range []int64{100 << 10, 64 << 20} {
			f, cache := newFakeHub(t, map[string][]byte{"model.safetensors": data}), t.TempDir()
			f.content = c.content
			leave(t, cache, c.as, c.left)
			h := f.client(t, cache)
			h.piece = piece
			s, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
			if err != nil || s.Fetched != c.fetched {
				t.Errorf("%s, pieces of %d: %d bytes fetched, expected %d; %v", c.name, piece, s.Fetched, c.fetched, err)
				continue
			}
			if c.name != "of another size" {
				checkCache(t, filepath.Join(cache, "models--alice--m"), "main", fakeCommit)
			}
		}
	}
}

// TestKilledPullContinues kills a process in the middle of a download with SIGKILL, and continues in another.
func TestKilledPullContinues(t *testing.T) {
	if endpoint := os.Getenv("HUB_TEST_PULL"); endpoint != "" {
		h, err := newHF(Options{Endpoint: endpoint, CacheDir: os.Getenv("HUB_TEST_CACHE"), Token: fakeToken})
		if err != nil {
			t.Fatal(err)
		}
		h.piece = 128 << 10
		h.Pull(t.Context(), fakeRepo, PullOptions{})
		return
	}
	f, cache := newFakeHub(t, map[string][]byte{"model.safetensors": like(6<<20, 6)}), t.TempDir()
	slow := make(chan struct{}, 1)
	sent, killed := new(atomic.Int64), new(atomic.Bool)
	f.mu.Lock() // the detector of races sees no order in what another process does
	f.content = func(w http.ResponseWriter, r *http.Request, data []byte) {
		n := sent.Add(1)
		if n == 25 {
			slow <- struct{}{}
		}
		if n >= 25 && !killed.Load() {
			<-r.Context().Done()
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	f.mu.Unlock()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledPullContinues$")
	child.Env = append(os.Environ(), "HUB_TEST_PULL="+f.api.URL, "HUB_TEST_CACHE="+cache)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-slow
	pattern := filepath.Join(cache, "models--alice--m", "blobs", "*.incomplete")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left, _ := filepath.Glob(pattern); len(left) == 1 {
			if info, err := os.Stat(left[0]); err == nil && info.Size() >= 1<<20 {
				break
			}
		}
	}
	child.Process.Kill()
	child.Wait()
	killed.Store(true)
	s, err := f.client(t, cache).Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil || s.Fetched > 5<<20 || s.Fetched == 0 {
		t.Errorf("%d of %d bytes were fetched after the kill, %v", s.Fetched, 6<<20, err)
	}
	checkCache(t, filepath.Join(cache, "models--alice--m"), "main", fakeCommit)
}

func TestPullsAtTheSameTimeShareTheWork(t *testing.T) {
	f, cache := newFakeHub(t, someFiles()), t.TempDir()
	clients := make([]*hf, 4)
	for i := range clients {
		clients[i] = f.client(t, cache)
	}
	var fetched atomic.Int64
	err := forEach(t.Context(), 4, clients, func(ctx context.Context, h *hf) error {
		s, err := h.Pull(ctx, fakeRepo, PullOptions{})
		fetched.Add(s.Fetched)
		return err
	})
	if err != nil || fetched.Load() != 8<<20+123+1000+7+4 {
		t.Errorf("%d bytes were fetched by four, %v", fetched.Load(), err)
	}
	checkCache(t, filepath.Join(cache, "models--alice--m"), "main", fakeCommit)
}

func TestHubsMayBeBusyForAWhile(t *testing.T) {
	for _, c := range []struct {
		status int
		header map[string]string
		times  int64
		want   time.Duration
		err    error
	}{
		{503, nil, 3, 0, nil},
		{500, nil, 100, 0, ErrUnavailable},
		{408, nil, 1, 0, nil},
		{429, map[string]string{"Retry-After": "1"}, 1, time.Second, nil},
		{429, map[string]string{"RateLimit": `"api";r=0;t=1`}, 1, time.Second, nil},
		{429, map[string]string{"Retry-After": "86400"}, 1, 0, ErrRateLimited},
		{429, map[string]string{"RateLimit": `"api";r=0;t=999999999`}, 1, 0, ErrRateLimited},
	} {
		f := newFakeHub(t, map[string][]byte{"a": nil})
		var n atomic.Int64
		f.first = func(w http.ResponseWriter, _ *http.Request) bool {
			if n.Add(1) > c.times {
				return false
			}
			for name, value := range c.header {
				w.Header().Set(name, value)
			}
			http.Error(w, "busy", c.status)
			return true
		}
		begin := time.Now()
		_, err := f.client(t, t.TempDir()).Info(t.Context(), fakeRepo)
		if took := time.Since(begin); !errors.Is(err, c.err) || took < c.want || took > c.want+time.Second {
			t.Errorf("%d %v: after %v: %v", c.status, c.header, took, err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	f := newFakeHub(t, nil)
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(map[string]string{"error": "Access to alice/m is restricted. " + r.Header.Get("Authorization") + "\x1b[2J"})
		return true
	}
	_, err := f.client(t, t.TempDir()).Info(t.Context(), fakeRepo)
	want := "read hf://alice/m: access is gated (Access to alice/m is restricted. Bearer (hidden) [2J); accept the conditions on its page and use a token of that account"
	if err == nil || strings.ReplaceAll(err.Error(), "  ", " ") != want || !errors.Is(err, ErrGated) {
		t.Errorf("the error is %q", err)
	}
}
