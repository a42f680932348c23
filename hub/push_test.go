package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

// lossy loses some answers after the server gave them, as a connection does that breaks at the wrong moment.
type lossy struct {
	transport http.RoundTripper

	mu    sync.Mutex
	loses func(*http.Request) bool
	count map[string]int // requests by the last part of the path's pattern
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.transport.RoundTrip(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range []string{"/preupload/", "/commit/", "/batch", "/resolve/", "/complete"} {
		if strings.Contains(r.URL.Path, what) {
			l.count[what]++
		}
	}
	if r.Method == "PUT" {
		l.count["PUT"]++
	}
	if err == nil && l.loses != nil && l.loses(r) {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return resp, err
}

// testHub starts our server with an empty repository of alice's, and gives her client.
func testHub(t testing.TB) (*hf, *lossy) {
	t.Helper()
	return clientOf(t, hubtest.Start(t, server.Options{MultipartOver: 2 << 20, PartSize: 512 << 10}).URL, true)
}

func clientOf(t testing.TB, url string, create bool) (*hf, *lossy) {
	t.Helper()
	transport := newTransport(8)
	t.Cleanup(transport.CloseIdleConnections)
	l := &lossy{transport: transport, count: map[string]int{}}
	h, err := newHF(Options{Endpoint: url, Token: hubtest.AliceToken, CacheDir: t.TempDir(), Transport: l})
	if err != nil {
		t.Fatal(err)
	}
	h.pause = time.Millisecond
	if create {
		if err := h.Create(t.Context(), fakeRepo, CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return h, l
}

func mustPush(t *testing.T, h *hf, a Address, c Commit) Pushed {
	t.Helper()
	p, err := h.Push(t.Context(), a, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// same checks that the revision holds what was pushed.
func same(t *testing.T, h *hf, a Address, files []File) {
	t.Helper()
	s, err := h.Pull(t.Context(), a, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		want := f.Data
		if f.Source != "" {
			if want, err = os.ReadFile(f.Source); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(filepath.Join(s.Dir, f.Path)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what was pushed: %v", f.Path, err)
		}
	}
}

func TestPushAndPull(t *testing.T) {
	h, l := testHub(t)
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, like(5<<20+77, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []File{
		{Path: "model.safetensors", Source: big},
		{Path: "small.safetensors", Data: like(1<<20, 2)},
		{Path: "README.md", Data: []byte("---\nlicense: mit\n---\n")},
		{Path: "sub/a b+ü.json", Data: []byte("{}")},
		{Path: "empty.txt"},
	}
	first := mustPush(t, h, fakeRepo, Commit{Message: "all of it", Description: "two\nlines", Files: files})
	if first.Uploaded != 6<<20+77 || l.count["PUT"] != 12 || first.Unchanged {
		t.Errorf("pushed %+v in %d parts", first, l.count["PUT"])
	}
	same(t, h, fakeRepo, files)
	again := mustPush(t, h, fakeRepo, Commit{Message: "all of it", Files: files})
	if !again.Unchanged || again.Commit != first.Commit || again.Uploaded != 0 {
		t.Errorf("pushed again: %+v", again)
	}
	files[3].Data = []byte(`{"b":1}`)
	moved := append(files[:4:4], File{Path: "copy.safetensors", Source: big})
	second := mustPush(t, h, fakeRepo, Commit{Files: moved, Delete: []string{"empty.txt", "nowhere", "no/"}})
	if second.Uploaded != 0 || l.count["/commit/"] != 2 {
		t.Errorf("pushed %+v with %d commits so far", second, l.count["/commit/"])
	}
	entries, err := h.List(t.Context(), fakeRepo, false)
	if names := fmt.Sprint(entries); err != nil || strings.Contains(names, "empty.txt") || !strings.Contains(names, "copy.safetensors") {
		t.Errorf("the repository holds %v, %v", names, err)
	}
	mustPush(t, h, fakeRepo, Commit{Delete: []string{"sub/"}})
	if _, err := h.List(t.Context(), Address{Scheme: "hf", Kind: Model, Repo: "alice/m", Path: "sub"}, true); !errors.Is(err, ErrEntryNotFound) {
		t.Errorf("the deleted folder: %v", err)
	}
	commits, err := h.Commits(t.Context(), fakeRepo, 3)
	if err != nil || len(commits) != 3 || commits[1].ID != second.Commit || commits[2].Title != "all of it" || commits[2].Message != "two\nlines" {
		t.Errorf("commits are %+v, %v", commits, err)
	}
}

func TestBranchesAndPullRequests(t *testing.T) {
	h, l := testHub(t)
	branch := fakeRepo.at("exp/one")
	if err := h.CreateBranch(t.Context(), branch, ""); err != nil {
		t.Fatal(err)
	}
	mustPush(t, h, branch, Commit{Files: one("b.txt", "b")})
	same(t, h, branch, one("b.txt", "b"))
	pr := mustPush(t, h, fakeRepo, Commit{Message: "propose", CreatePR: true, Files: one("p.txt", "p")})
	again := mustPush(t, h, fakeRepo, Commit{Message: "propose", CreatePR: true, Files: one("p.txt", "p")})
	if pr.PullRequest == "" || !again.Unchanged || again.PullRequest != pr.PullRequest || again.Commit != pr.Commit || l.count["/commit/"] != 2 {
		t.Errorf("the pull request %+v, and again %+v", pr, again)
	}
	same(t, h, fakeRepo.at("refs/pr/1"), one("p.txt", "p"))
	requests, err := h.PullRequests(t.Context(), fakeRepo)
	if err != nil || len(requests) != 1 || requests[0].Title != "propose" || requests[0].Number != 1 {
		t.Errorf("pull requests: %+v, %v", requests, err)
	}
	refs, err := h.Refs(t.Context(), fakeRepo)
	var names []string
	for _, r := range refs {
		names = append(names, r.Kind+" "+r.Name)
	}
	if diff := cmp.Diff([]string{"branch main", "branch exp/one", "pull request refs/pr/1"}, names); diff != "" || err != nil {
		t.Errorf("references (-want +got): %v\n%s", err, diff)
	}
	if err := h.DeleteBranch(t.Context(), branch); err != nil {
		t.Error(err)
	}
	for _, f := range []func() error{
		func() error { _, err := h.Info(t.Context(), branch); return err },
		func() error { _, err := h.Pull(t.Context(), branch, PullOptions{}); return err },
		func() error { return h.DeleteBranch(t.Context(), branch) },
	} {
		if err := f(); !errors.Is(err, ErrRevisionNotFound) {
			t.Errorf("on the deleted branch: %v", err)
		}
	}
}

func TestErrorsOfTheHub(t *testing.T) {
	h, _ := testHub(t)
	if err := h.Create(t.Context(), fakeRepo, CreateOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if err := h.Create(t.Context(), fakeRepo, CreateOptions{ExistOK: true}); err != nil {
		t.Errorf("created twice, which is fine: %v", err)
	}
	hidden := Address{Scheme: "hf", Kind: Dataset, Repo: "alice/hidden"}
	if err := h.Create(t.Context(), hidden, CreateOptions{Private: true}); err != nil {
		t.Error(err)
	}
	if info, err := h.Info(t.Context(), hidden); err != nil || !info.Private {
		t.Errorf("a private data set: %+v, %v", info, err)
	}
	h.token = hubtest.BobToken
	if _, err := h.Info(t.Context(), hidden); !errors.Is(err, ErrRepoNotFound) {
		t.Errorf("another's private data set: %v", err)
	}
	if _, err := h.Push(t.Context(), fakeRepo, Commit{Files: one("a", "a")}); !errors.Is(err, ErrForbidden) {
		t.Errorf("a push to another's repository: %v", err)
	}
	h.token = "hf_unknown"
	if _, err := h.WhoAmI(t.Context()); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("an unknown token: %v", err)
	}
	h.token = hubtest.AliceToken
	if err := h.Delete(t.Context(), hidden); err != nil {
		t.Error(err)
	}
	if _, err := h.Info(t.Context(), hidden); !errors.Is(err, ErrRepoNotFound) {
		t.Errorf("a deleted data set: %v", err)
	}
}

// TestLostAnswersDoNotDouble loses the answer to each kind of request of a push, the commit's too.
func TestLostAnswersDoNotDouble(t *testing.T) {
	for _, what := range []string{"/preupload/", "/batch", "PUT", "/complete", "/commit/"} {
		for _, pr := range []bool{false, true} {
			h, l := testHub(t)
			lost := false
			l.loses = func(r *http.Request) bool {
				hit := !lost && (strings.Contains(r.URL.Path, what) || r.Method == what)
				lost = lost || hit
				return hit
			}
			files := []File{{Path: "model.safetensors", Data: like(3<<20, 1)}, {Path: "a.txt", Data: []byte("a")}}
			p := mustPush(t, h, fakeRepo, Commit{Message: "once", Files: files, CreatePR: pr})
			revision := fakeRepo
			if pr {
				revision = fakeRepo.at("refs/pr/1")
			}
			commits, err := h.Commits(t.Context(), revision, 0)
			if err != nil || len(commits) != 2 || commits[0].Title != "once" || commits[0].ID != p.Commit || p.Unchanged || !lost {
				t.Errorf("%s was lost (%v): pushed %+v, commits are %+v, %v", what, lost, p, commits, err)
			}
			if requests, _ := h.PullRequests(t.Context(), fakeRepo); pr && (len(requests) != 1 || p.PullRequest == "") {
				t.Errorf("%s was lost: pull requests are %+v, pushed %+v", what, requests, p)
			}
			same(t, h, revision, files)
		}
	}
}

// TestPushesAtTheSameTime pushes different files from many clients, and the same one from two.
func TestPushesAtTheSameTime(t *testing.T) {
	h, _ := testHub(t)
	var numbers []int
	for i := range 4 {
		numbers = append(numbers, i)
	}
	err := forEach(t.Context(), len(numbers), numbers, func(ctx context.Context, i int) error {
		_, err := h.Push(ctx, fakeRepo, Commit{Files: one(fmt.Sprintf("%d.txt", i), "x")})
		return err
	})
	commits, _ := h.Commits(t.Context(), fakeRepo, 0)
	if err != nil || len(commits) != len(numbers)+1 {
		t.Errorf("%d commits: %v", len(commits), err)
	}
	head := mustPush(t, h, fakeRepo, Commit{Files: one("a", "1")}).Commit
	mustPush(t, h, fakeRepo, Commit{Files: one("b", "1"), Parent: head})
	if _, err := h.Push(t.Context(), fakeRepo, Commit{Files: one("c", "1"), Parent: head}); !errors.Is(err, ErrConflict) {
		t.Errorf("a push onto a commit that is no longer the head: %v", err)
	}
}

// TestSomeoneElseChangesTheSameFile moves the branch between a push's first question and its commit.
func TestSomeoneElseChangesTheSameFile(t *testing.T) {
	for _, other := range []string{"same.txt", "other.txt"} {
		h, l := testHub(t)
		rival, _ := clientOf(t, h.base.String(), false)
		var once sync.Once
		l.loses = func(r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/preupload/") {
				once.Do(func() { mustPush(t, rival, fakeRepo, Commit{Files: one(other, "theirs")}) })
			}
			return false
		}
		_, err := h.Push(t.Context(), fakeRepo, Commit{Files: one("same.txt", "ours")})
		if conflict := other == "same.txt"; errors.Is(err, ErrConflict) != conflict || (err == nil) == conflict {
			t.Errorf("someone else changed %s: %v", other, err)
		}
		if err == nil {
			same(t, h, fakeRepo, []File{{Path: "same.txt", Data: []byte("ours")}, {Path: other, Data: []byte("theirs")}})
		}
	}
}

func TestPushRefusesNames(t *testing.T) {
	h, l := testHub(t)
	for _, name := range []string{"../x", "/x", `a\b`, "", "a/../b"} {
		for _, c := range []Commit{{Files: one(name, "x")}, {Delete: []string{name}}} {
			if _, err := h.Push(t.Context(), fakeRepo, c); !errors.Is(err, ErrAddress) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if _, err := h.Push(t.Context(), fakeRepo, Commit{Files: append(one("a", "1"), one("a", "2")...)}); !errors.Is(err, ErrAddress) {
		t.Errorf("the same name twice: %v", err)
	}
	if len(l.count) > 0 {
		t.Errorf("requests were made: %v", l.count)
	}
}

// TestKilledPushContinues kills a pushing process with SIGKILL, and pushes again from another.
func TestKilledPushContinues(t *testing.T) {
	files := []File{{Path: "model.safetensors", Data: like(3<<20, 1)}, {Path: "b.safetensors", Data: like(1<<20, 2)}, {Path: "a.txt", Data: []byte("a")}}
	if endpoint := os.Getenv("HUB_TEST_PUSH"); endpoint != "" {
		h, l := clientOf(t, endpoint, false)
		h.parallel = 1
		var n atomic.Int64
		l.loses = func(r *http.Request) bool {
			if n.Add(1) == int64(len(os.Getenv("HUB_TEST_AFTER"))) {
				self, _ := os.FindProcess(os.Getpid())
				self.Kill()
				select {}
			}
			return false
		}
		h.Push(t.Context(), fakeRepo, Commit{Message: "killed", Files: files})
		return
	}
	for after := 1; after < 14; after += 3 {
		h, _ := testHub(t)
		child := exec.Command(os.Args[0], "-test.run=^TestKilledPushContinues$")
		child.Env = append(os.Environ(), "HUB_TEST_PUSH="+h.base.String(), "HUB_TEST_AFTER="+strings.Repeat("x", after))
		if err := child.Run(); err == nil && after < 10 {
			t.Errorf("the process was not killed after %d requests", after)
		}
		mustPush(t, h, fakeRepo, Commit{Message: "killed", Files: files})
		commits, err := h.Commits(t.Context(), fakeRepo, 0)
		if err != nil || len(commits) != 2 {
			t.Errorf("killed after %d requests: %d commits, %v", after, len(commits), err)
		}
		same(t, h, fakeRepo, files)
	}
}

// TestPartsThatAreGoneAreSentAgain continues an upload whose places the hub has forgotten meanwhile.
func TestPartsThatAreGoneAreSentAgain(t *testing.T) {
	h, l := testHub(t)
	files := []File{{Path: "model.safetensors", Data: like(3<<20, 1)}}
	to := action{Href: h.base.String() + "/gone", Header: map[string]string{"chunk_size": "524288"}}
	for i := range 6 {
		to.Header[fmt.Sprint(i+1)] = h.base.String() + "/gone"
	}
	p, err := h.openParts(fakeRepo, nameOf("model.safetensors", files[0].Data).SHA256, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store(1, `"etag"`); err != nil {
		t.Fatal(err)
	}
	p.close(false)
	pushed := mustPush(t, h, fakeRepo, Commit{Files: files})
	if pushed.Uploaded != 3<<20 || l.count["/batch"] != 2 {
		t.Errorf("%d bytes were sent after %d questions where to", pushed.Uploaded, l.count["/batch"])
	}
	same(t, h, fakeRepo, files)
	if left, _ := os.ReadDir(filepath.Join(h.cache, ".locks", ".uploads")); len(left) > 0 {
		t.Errorf("%s was left", left[0].Name())
	}
}

func TestFilesThatChangeAreNotPushed(t *testing.T) {
	h, l := testHub(t)
	path := filepath.Join(t.TempDir(), "x")
	os.WriteFile(path, like(1<<20, 1), 0o644)
	l.loses = func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/batch") {
			os.WriteFile(path, like(1<<20, 2), 0o644)
			os.Chtimes(path, time.Now(), time.Now().Add(time.Second))
		}
		return false
	}
	if _, err := h.Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "x.safetensors", Source: path}}}); err == nil {
		t.Error("a file that changed meanwhile was pushed")
	}
	if l.count["/commit/"] != 0 {
		t.Error("a commit was sent")
	}
}
