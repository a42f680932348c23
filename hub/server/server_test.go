package server_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

func TestConcurrentCommits(t *testing.T) {
	alice := connect(t, hubtest.Start(t, server.Options{}), hubtest.AliceToken)
	alice.create("alice/busy")
	const writers, each = 8, 12
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				content := fmt.Sprintf("weights %d", i) // the same for all writers, who race for it
				alice.upload("alice/busy", content)
				alice.commit("alice/busy", file(fmt.Sprintf("w%d/%d.txt", w, i), fmt.Sprint(w, i)), lfs(fmt.Sprintf("w%d/%d.bin", w, i), content))
				alice.tree("alice/busy", "main")
			}
		})
	}
	wait.Wait()
	_, _, header := alice.do("GET", "/api/models/alice/busy/commits/main", "")
	if got := header.Get("X-Total-Count"); got != fmt.Sprint(writers*each+1) {
		t.Errorf("%s commits, want %d", got, writers*each+1)
	}
	for w := range writers {
		for i := range each {
			if got := alice.read("alice/busy", "main", fmt.Sprintf("w%d/%d.txt", w, i)); got != fmt.Sprint(w, i) {
				t.Errorf("w%d/%d.txt holds %q", w, i, got)
			}
		}
	}
}

// TestOneOfManyWins lets many commits with the same parent race: one is made, the others are told that they are late.
func TestOneOfManyWins(t *testing.T) {
	alice := connect(t, hubtest.Start(t, server.Options{}), hubtest.AliceToken)
	alice.create("alice/race")
	for round := range 5 {
		var info struct{ SHA string }
		alice.want(200, "GET", "/api/models/alice/race", "", &info)
		var (
			wait sync.WaitGroup
			mu   sync.Mutex
			seen = map[int]int{}
		)
		for i := range 10 {
			wait.Go(func() {
				status, _, _ := alice.do("POST", "/api/models/alice/race/commit/main", lines(info.SHA, file(fmt.Sprintf("%d-%d", round, i), "x")))
				mu.Lock()
				defer mu.Unlock()
				seen[status]++
			})
		}
		wait.Wait()
		if seen[200] != 1 || seen[412] != 9 {
			t.Errorf("round %d: statuses %v, want one 200 and nine 412", round, seen)
		}
	}
}

// TestNamesAreGits compares the names of folders and commits with those git itself gives.
func TestNamesAreGits(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git to compare with")
	}
	alice := connect(t, hubtest.Start(t, server.Options{}), hubtest.AliceToken)
	alice.create("alice/git")
	files := map[string]string{"sub.txt": "1", "sub/a": "2", "sub-x/b": "3", "sub/deep/er/c d": "4", "Z": "5", "ü/ß": "6"}
	var ops []string
	for path, content := range files {
		ops = append(ops, file(path, content))
	}
	id := alice.commit("alice/git", ops...)

	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	files[".gitattributes"] = alice.read("alice/git", "main", ".gitattributes")
	for path, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("add", "-A")
	root := git("write-tree")
	for _, e := range alice.tree("alice/git", id) {
		if want := git("rev-parse", root+":"+e.Path); want != e.OID {
			t.Errorf("%s %s is %s, git calls it %s", e.Type, e.Path, e.OID, want)
		}
	}
	var commits []struct {
		ID   string
		Date time.Time
	}
	alice.want(200, "GET", "/api/models/alice/git/commits/main", "", &commits)
	body := fmt.Sprintf("tree %s\nparent %s\nauthor alice <alice@localhost> %[3]d +0000\ncommitter alice <alice@localhost> %[3]d +0000\n\na commit\n",
		root, commits[1].ID, commits[0].Date.Unix())
	raw := filepath.Join(dir, "commit")
	if err := os.WriteFile(raw, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
	if want := git("hash-object", "-t", "commit", "--literally", raw); want != id {
		t.Errorf("the commit is %s, git calls it %s", id, want)
	}
}

// TestAKnownHashGivesNothing keeps the content of a private repository from those who know its hash.
func TestAKnownHashGivesNothing(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	alice, bob := connect(t, h, hubtest.AliceToken), connect(t, h, hubtest.BobToken)
	alice.want(200, "POST", "/api/repos/create", `{"name":"secret","private":true}`, nil)
	bob.create("bob/open")
	alice.upload("alice/secret", "the secret")
	if alice.upload("alice/secret", "the secret") {
		t.Error("a content that is there was to be sent again")
	}
	bob.want(400, "POST", "/api/models/bob/open/commit/main", lines("", lfs("stolen.bin", "the secret")), nil)
	if !bob.upload("bob/open", "the secret") {
		t.Error("bob was told that the hub has alice's content")
	}
	bob.commit("bob/open", lfs("own.bin", "the secret")) // now that he has shown that he has it
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var head string
	t.Run("first", func(t *testing.T) {
		alice := connect(t, hubtest.StartIn(t, dir, server.Options{}), hubtest.AliceToken)
		alice.create("alice/kept")
		alice.create("alice/deleted")
		alice.upload("alice/kept", "kept weights")
		alice.upload("alice/deleted", "deleted weights")
		alice.commit("alice/kept", lfs("w.safetensors", "kept weights"), file("a.txt", "a"))
		head = alice.commit("alice/kept", file("b.txt", "b"), `{"key":"deletedFile","value":{"path":"a.txt"}}`)
		alice.want(200, "POST", "/api/models/alice/kept/branch/dev", `{}`, nil)
		alice.want(200, "POST", "/api/models/alice/kept/tag/main", `{"tag":"v1"}`, nil)
		alice.want(200, "DELETE", "/api/repos/delete", `{"name":"deleted"}`, nil)
		if _, err := server.Open(dir, server.Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a folder was opened twice: %v", err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "tmp", "blob-rest"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("second", func(t *testing.T) {
		alice := connect(t, hubtest.StartIn(t, dir, server.Options{}), hubtest.AliceToken)
		for _, rev := range []string{"main", "dev", "v1", head} {
			if got := alice.read("alice/kept", rev, "w.safetensors"); got != "kept weights" {
				t.Errorf("w.safetensors at %s holds %q", rev, got)
			}
		}
		alice.want(404, "GET", "/alice/kept/resolve/main/a.txt", "", nil)
		alice.want(404, "GET", "/api/models/alice/deleted", "", nil)
	})
	for content, there := range map[string]bool{"kept weights": true, "deleted weights": false} {
		sum := hexSum(content)
		_, err := os.Stat(filepath.Join(dir, "blobs", sum[:2], sum))
		if (err == nil) != there {
			t.Errorf("the content %q after a restart: %v", content, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("the temporary folder holds %v, %v", left, err)
	}
}

// TestDamagedJournal finds that a repository's past was changed, and doesn't serve it.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) {
		alice := connect(t, hubtest.StartIn(t, dir, server.Options{}), hubtest.AliceToken)
		alice.create("alice/m")
		alice.commit("alice/m", file("a", "a"))
	})
	log := filepath.Join(dir, "models", "alice", "m", "log.jsonl")
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, bytes.Replace(data, []byte("initial"), []byte("Initial"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open(dir, server.Options{}); err == nil || !strings.Contains(err.Error(), log) {
		t.Errorf("opened with %v", err)
	}
	// A line that a crash cut short never happened.
	if err := os.WriteFile(log, data[:len(data)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	alice := connect(t, hubtest.StartIn(t, dir, server.Options{}), hubtest.AliceToken)
	if got := len(alice.tree("alice/m", "main")); got != 1 {
		t.Errorf("%d files, want .gitattributes alone", got)
	}
	alice.commit("alice/m", file("b", "b"))
}

func TestPullRequestsAndTheRest(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	alice, bob, nobody := connect(t, h, hubtest.AliceToken), connect(t, h, hubtest.BobToken), connect(t, h, "")
	alice.create("alice/m")
	api := "/api/models/alice/m"
	bob.want(200, "POST", api+"/commit/main?create_pr=1", lines("", file("bob.txt", "1")), nil)
	bob.want(200, "POST", api+"/commit/main?create_pr=1", lines("", file("clash.txt", "bob's")), nil)
	bob.want(200, "POST", api+"/commit/main?create_pr=1", lines("", file("third.txt", "3")), nil)
	bob.want(403, "POST", api+"/discussions/1/merge", `{}`, nil)
	alice.want(200, "POST", api+"/discussions/1/merge", `{}`, nil) // main moves forward
	alice.want(409, "POST", api+"/discussions/1/merge", `{}`, nil)
	alice.commit("alice/m", file("clash.txt", "alice's"))
	alice.want(409, "POST", api+"/discussions/2/merge", `{}`, nil)
	alice.want(200, "POST", api+"/discussions/3/merge", `{}`, nil) // main has moved, but elsewhere
	for path, want := range map[string]string{"bob.txt": "1", "clash.txt": "alice's", "third.txt": "3"} {
		if got := nobody.read("alice/m", "main", path); got != want {
			t.Errorf("%s holds %q", path, got)
		}
	}
	bob.want(200, "POST", api+"/discussions/2/status", `{"status":"closed"}`, nil)
	bob.want(200, "POST", api+"/discussions", `{"title":"a question"}`, nil)
	var list struct {
		Discussions []struct {
			Num           int
			Status        string
			IsPullRequest bool
		}
	}
	nobody.want(200, "GET", api+"/discussions", "", &list)
	if got := fmt.Sprint(list.Discussions); got != "[{4 open false} {3 merged true} {2 closed true} {1 merged true}]" {
		t.Errorf("discussions: %s", got)
	}
	nobody.want(200, "GET", api+"/discussions/3", "", nil)
	nobody.want(401, "POST", api+"/discussions", `{"title":"x"}`, nil)

	alice.want(200, "POST", "/api/repos/move", `{"fromRepo":"alice/m","toRepo":"alice/n","type":"model"}`, nil)
	alice.want(404, "GET", api, "", nil)
	if got := nobody.read("alice/n", "refs%2Fpr%2F2", "clash.txt"); got != "bob's" {
		t.Errorf("after the move clash.txt holds %q", got)
	}
	bob.want(403, "POST", "/api/repos/move", `{"fromRepo":"alice/n","toRepo":"bob/n","type":"model"}`, nil)
	alice.want(403, "POST", "/api/repos/move", `{"fromRepo":"alice/n","toRepo":"bob/n","type":"model"}`, nil)
	root := connect(t, h, hubtest.AdminToken)
	root.want(200, "POST", "/api/repos/move", `{"fromRepo":"alice/n","toRepo":"bob/n","type":"model"}`, nil)
	root.want(200, "PUT", "/api/models/bob/n/settings", `{"private":true,"gated":"auto"}`, nil)
	alice.want(404, "GET", "/api/models/bob/n", "", nil)
	root.want(200, "POST", "/api/models/bob/n/user-access-request/grant", `{"user":"alice"}`, nil)
	alice.want(200, "GET", "/api/models/bob/n/auth-check", "", nil)
	root.want(200, "POST", "/api/models/bob/n/user-access-request/handle", `{"user":"alice","status":"rejected"}`, nil)
	alice.want(404, "GET", "/api/models/bob/n", "", nil)
}

// TestLFSFilesAreTracked looks at .gitattributes after an LFS file that no rule in it covers.
func TestLFSFilesAreTracked(t *testing.T) {
	alice := connect(t, hubtest.Start(t, server.Options{}), hubtest.AliceToken)
	alice.create("alice/m")
	mode := func(path string) string {
		var answer struct{ Files []struct{ UploadMode string } }
		alice.want(200, "POST", "/api/models/alice/m/preupload/main", fmt.Sprintf(`{"files":[{"path":%q,"size":3,"sample":"YWJj"}]}`, path), &answer)
		return answer.Files[0].UploadMode
	}
	for _, path := range []string{"big data.json", "dir/a*b[1].txt"} {
		if got := mode(path); got != "regular" {
			t.Errorf("%s is %s before", path, got)
		}
		alice.upload("alice/m", path)
		alice.commit("alice/m", lfs(path, path))
		if got := mode(path); got != "lfs" {
			t.Errorf("%s is %s afterwards: %s", path, got, alice.read("alice/m", "main", ".gitattributes"))
		}
	}
	for path, want := range map[string]string{"x/big data.json": "regular", "dir/axb1.txt": "regular", "deep/er/m.safetensors": "lfs", "a.tfevents.1": "lfs"} {
		if got := mode(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

func TestMultipartKeepsItsParts(t *testing.T) {
	dir := t.TempDir()
	options := server.Options{MultipartOver: 10, PartSize: 8}
	content := "twenty bytes of data"
	var answer struct {
		Objects []struct {
			Actions struct {
				Upload struct {
					Href   string
					Header map[string]string
				}
			}
		}
	}
	etags := map[string]string{}
	put := func(c *client, part string) {
		n := int(part[4] - '1')
		link := c.url + answer.Objects[0].Actions.Upload.Header[part][strings.Index(answer.Objects[0].Actions.Upload.Header[part], "/-/"):]
		status, data, header := c.do("PUT", link, content[8*n:min(8*n+8, len(content))])
		if status != 200 {
			t.Fatalf("part %s: %d %s", part, status, data)
		}
		etags[part] = header.Get("ETag")
	}
	t.Run("first", func(t *testing.T) {
		alice := connect(t, hubtest.StartIn(t, dir, options), hubtest.AliceToken)
		alice.create("alice/m")
		body := fmt.Sprintf(`{"operation":"upload","transfers":["basic","multipart"],"objects":[{"oid":%q,"size":%d}]}`, hexSum(content), len(content))
		alice.want(200, "POST", "/alice/m.git/info/lfs/objects/batch", body, &answer)
		if got := answer.Objects[0].Actions.Upload.Header["chunk_size"]; got != "8" {
			t.Fatalf("chunk_size %q", got)
		}
		put(alice, "00002")
		put(alice, "00001")
	})
	t.Run("after a restart", func(t *testing.T) {
		alice := connect(t, hubtest.StartIn(t, dir, options), hubtest.AliceToken)
		href := answer.Objects[0].Actions.Upload.Href
		href = href[strings.Index(href, "/-/"):]
		complete := func() string {
			return fmt.Sprintf(`{"oid":%q,"parts":[{"partNumber":1,"etag":%q},{"partNumber":2,"etag":%q},{"partNumber":3,"etag":%q}]}`,
				hexSum(content), etags["00001"], etags["00002"], etags["00003"])
		}
		alice.want(400, "POST", href, complete(), nil)
		put(alice, "00003")
		alice.want(200, "POST", href, complete(), nil)
		alice.want(200, "POST", href, complete(), nil) // repeated
		alice.commit("alice/m", lfs("m.bin", content))
		if got := alice.read("alice/m", "main", "m.bin"); got != content {
			t.Errorf("read %q", got)
		}
	})
	left, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads holds %v, %v", left, err)
	}
}

func TestParseToken(t *testing.T) {
	if got, err := server.ParseToken("alice:hf_a:b:write"); err != nil || got != (server.Token{Name: "alice", Secret: "hf_a:b", Role: server.Write}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "alice", "alice:hf_secret", "alice:hf_secret:owner", ":hf_secret:read", "a/b:hf_secret:read", "api:hf_secret:read", "alice::read", "alice:hf secret:read", "alice:write:hf_secret", "hf secret:alice:write"} {
		if _, err := server.ParseToken(s); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
