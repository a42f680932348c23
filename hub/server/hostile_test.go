package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

// TestHostileRequests sends what no client should, and looks for a refusal. A failure of the server's own would fail the
// test through its log.
func TestHostileRequests(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	alice, nobody := connect(t, h, hubtest.AliceToken), connect(t, h, "")
	alice.create("alice/m")
	api := "/api/models/alice/m"
	for _, c := range []struct {
		status             int
		method, path, body string
	}{
		{404, "GET", "/", ""}, {404, "GET", "/api", ""}, {404, "GET", "/api/", ""}, {404, "GET", "//", ""}, {404, "GET", "/-/", ""},
		{404, "GET", "/api/models/alice/m/tree", ""}, {404, "GET", "/alice/m/resolve", ""}, {404, "GET", "/alice/m/resolve/main/", ""},
		{404, "GET", "/alice/m/resolve/main/..%2f..%2fkey", ""}, {404, "GET", "/alice/m/resolve/main/%2e%2e/key", ""},
		{404, "GET", "/alice/m/resolve/..%2f..%2f..%2fkey/x", ""}, {404, "GET", "/..%2f..%2fetc/passwd/resolve/main/x", ""},
		{404, "GET", "/alice/m/resolve/main/%00", ""}, {404, "GET", "/api/models/%2e%2e/%2e%2e", ""}, {404, "GET", "/api/models/alice/m/tree/main/..", ""},
		{400, "POST", "/api/repos/create", `{"name":"../x"}`}, {400, "POST", "/api/repos/create", `{"name":"x","organization":".."}`},
		{400, "POST", "/api/repos/create", `{"name":"x","organization":"api"}`}, {400, "POST", "/api/repos/create", `{"name":"x","type":"../models"}`},
		{400, "POST", "/api/repos/create", `{"name":"x.git"}`}, {400, "POST", "/api/repos/create", `{"name":"` + strings.Repeat("x", 97) + `"}`},
		{400, "POST", "/api/repos/create", `[`}, {400, "POST", "/api/repos/create", `{"name":5}`}, {400, "POST", "/api/repos/create", ``},
		{400, "POST", "/api/repos/create", `{"name":"y","files":[{"path":"../x","content":"","encoding":"base64"}]}`},
		{400, "POST", "/api/repos/move", `{"fromRepo":"alice/m","toRepo":"../../x","type":"model"}`},
		{413, "POST", "/api/repos/create", `{"name":"` + strings.Repeat("x", 9<<20) + `"}`},
		{400, "POST", api + "/commit/main", ``}, {400, "POST", api + "/commit/main", `{}`}, {400, "POST", api + "/commit/main", `{"key":"header","value":{}}`},
		{400, "POST", api + "/commit/main", file("a", "a")}, {400, "POST", api + "/commit/main", lines("", lines(""))},
		{400, "POST", api + "/commit/main", lines("", `{"key":"symlink","value":{"path":"a"}}`)}, {400, "POST", api + "/commit/main", lines("", `nonsense`)},
		{400, "POST", api + "/commit/main", lines("", `{"key":"file","value":{"path":"a","encoding":"base64","content":"!"}}`)},
		{400, "POST", api + "/commit/main", lines("", `{"key":"file","value":{"path":"a","encoding":"rot13","content":"x"}}`)},
		{400, "POST", api + "/commit/main", lines("", `{"key":"lfsFile","value":{"path":"a","oid":"../../key","size":1}}`)},
		{400, "POST", api + "/commit/main", lines("", `{"key":"deletedFolder","value":{"path":"/"}}`)},
		{404, "POST", api + "/commit/main", lines("", `{"key":"deletedFolder","value":{"path":"none/"}}`)},
		{400, "POST", api + "/commit/main", lines("", file("a", "1"), file("a/b", "2"))},
		{413, "POST", api + "/commit/main", lines("", file("big", strings.Repeat("x", 10<<20+1)))},
		{413, "POST", api + "/commit/main", strings.Repeat(" ", 16<<20)},
		{404, "POST", api + "/commit/" + strings.Repeat("0", 40), lines("", file("a", "a"))},
		{400, "POST", api + "/branch/a%2f..%2fb", `{}`}, {400, "POST", api + "/branch/refs%2fpr%2f1", `{}`}, {400, "POST", api + "/branch/HEAD", `{}`}, {400, "POST", api + "/branch/", `{}`},
		{400, "POST", api + "/branch/" + strings.Repeat("0", 40), `{}`}, {400, "POST", api + "/tag/main", `{"tag":"a b"}`}, {404, "DELETE", api + "/tag/none", ``},
		{400, "PUT", api + "/settings", `{"gated":"maybe"}`}, {400, "PUT", api + "/settings", `{"gated":["auto"]}`},
		{400, "POST", api + "/user-access-request/grant", `{"user":"../x"}`}, {400, "POST", api + "/user-access-request/other", `{"user":"x"}`},
		{400, "GET", api + "/tree/main?limit=x", ""}, {400, "GET", api + "/tree/main?limit=-1", ""}, {400, "GET", api + "/tree/main?cursor=!", ""}, {400, "GET", api + "/tree/main?a=%zz", ""},
		{400, "GET", api + "/commits/main?p=-1", ""}, {200, "GET", api + "/commits/main?p=9223372036854775807", ""}, {400, "GET", "/api/models?cursor=-1", ""}, {200, "GET", api + "/discussions?p=9223372036854775807", ""},
		{413, "POST", api + "/paths-info/main", `{"paths":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`},
		{400, "POST", "/alice/m.git/info/lfs/objects/batch", `{"operation":"steal"}`},
		{413, "POST", "/alice/m.git/info/lfs/objects/batch", `{"operation":"upload","objects":[{}` + strings.Repeat(`,{}`, 1000) + `]}`},
		{404, "GET", "/-/get/..%2f..%2fkey", ""}, {403, "GET", "/-/get/" + strings.Repeat("0", 64), ""}, {403, "PUT", "/-/put/" + strings.Repeat("0", 64) + "?size=1&expires=99999999999", "x"},
	} {
		if status, data, _ := alice.do(c.method, c.path, c.body); status != c.status {
			t.Errorf("%s %.100s %.100s: status %d, want %d: %s", c.method, c.path, c.body, status, c.status, data)
		}
	}
	nobody.want(401, "POST", api+"/commit/main", lines("", file("a", "a")), nil)
	nobody.want(401, "POST", api+"/commit/main?create_pr=1", lines("", file("a", "a")), nil)
	nobody.want(401, "POST", "/alice/m.git/info/lfs/objects/batch", `{"operation":"upload"}`, nil)
	if got := len(alice.tree("alice/m", "main")); got != 1 {
		t.Errorf("the repository has %d files now", got)
	}
	err := filepath.WalkDir(h.Dir, func(path string, d fs.DirEntry, err error) error {
		if name := d.Name(); strings.HasPrefix(name, "blob-") || name == "x" {
			t.Errorf("%s was left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLinksAreSigned changes each part of a link in turn, and what is sent to it.
func TestLinksAreSigned(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	alice, nobody := connect(t, h, hubtest.AliceToken), connect(t, h, "")
	alice.create("alice/m")
	alice.create("alice/other")
	content := "some weights"
	batch := func(c *client) string {
		var answer struct {
			Objects []struct {
				Actions struct{ Upload struct{ Href string } }
			}
		}
		body := fmt.Sprintf(`{"operation":"upload","objects":[{"oid":%q,"size":%d}]}`, hexSum(content), len(content))
		c.want(200, "POST", "/alice/m.git/info/lfs/objects/batch", body, &answer)
		return answer.Objects[0].Actions.Upload.Href
	}
	link := batch(alice)
	for _, change := range [][2]string{{"put", "get"}, {hexSum(content), hexSum("other")}, {"%2Fm&", "%2Fother&"}, {"size=12", "size=13"}, {"expires=", "expires=9"}, {"signature=", "signature=0"}} {
		changed := strings.Replace(link, change[0], change[1], 1)
		if changed == link {
			t.Fatalf("%s has no %s", link, change[0])
		}
		nobody.want(403, "PUT", changed, content, nil)
	}
	nobody.want(404, "POST", link, content, nil)
	nobody.want(400, "PUT", link, "more than some weights", nil)
	nobody.want(400, "PUT", link, "less", nil)
	nobody.want(400, "PUT", link, "same weights", nil)
	nobody.want(200, "PUT", link, content, nil)
	alice.want(200, "DELETE", "/api/repos/delete", `{"name":"m"}`, nil)
	nobody.want(404, "PUT", link, content, nil)
}

// TestEndlessRequests sends headers and bodies that don't stop, and bodies that stop too early.
func TestEndlessRequests(t *testing.T) {
	h := hubtest.Start(t, server.Options{})
	connect(t, h, hubtest.AliceToken).create("alice/m")
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		head, piece string
		pieces      int
		status      string
	}{
		"headers": {"GET / HTTP/1.1\r\nHost: x\r\n", "X-Filler: " + strings.Repeat("x", 1000) + "\r\n", 1000, "431"},
		"target":  {"GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, "414"},
		"a line": {"POST /api/models/alice/m/commit/main HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hf_test\r\nContent-Length: 2000000000\r\n\r\n",
			strings.Repeat("x", 1<<20), 2000, "413"},
		"a part of a body": {"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hf_test\r\nContent-Length: 100\r\n\r\n", "x", 1, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(conn, c.head)
			for range c.pieces {
				if _, err := fmt.Fprint(conn, c.piece); err != nil {
					break // the server has closed its side
				}
			}
			conn.(*net.TCPConn).CloseWrite()
			status, err := bufio.NewReader(conn).ReadString('\n')
			if !strings.Contains(status, c.status) {
				t.Errorf("%q, %v; want %s", status, err, c.status)
			}
		})
	}
}

// FuzzRequests looks for requests that the server fails at, or that leave a repository that can't be read.
func FuzzRequests(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/api/models/alice/m/tree/main?recursive=1&expand=1&limit=1&cursor=YQ", ""}, {"POST", "/api/models/alice/m/commit/main", lines("", file("a/b", "c"))},
		{"POST", "/api/models/alice/m/commit/main?create_pr=1", lines("", file(".gitattributes", "[ filter=lfs\n\\ filter=lfs\n**/** -filter"))},
		{"POST", "/api/models/alice/m/commit/main", lines("", file("README.md", "---\n1: {2: .nan}\na: &a [*a]\n---\n"))}, {"GET", "/api/models?search=m&sort=id&full=1", ""},
		{"POST", "/api/models/alice/m/preupload/main", `{"files":[{"path":"a","size":-1,"sample":"AA=="}],"gitAttributes":"* filter=lfs"}`},
		{"POST", "/alice/m.git/info/lfs/objects/batch", `{"operation":"upload","transfers":["multipart"],"objects":[{"oid":"` + strings.Repeat("0", 64) + `","size":1000000000}]}`},
		{"POST", "/api/models/alice/m/branch/x", `{"emptyBranch":true}`}, {"POST", "/api/models/alice/m/tag/main", `{"tag":"v"}`}, {"DELETE", "/api/models/alice/m/branch/x", ""},
		{"PUT", "/api/models/alice/m/settings", `{"gated":"auto","private":false}`}, {"GET", "/alice/m/resolve/refs%2fpr%2f1/a", ""}, {"GET", "/alice/m/raw/x/a", ""},
		{"POST", "/api/models/alice/m/discussions", `{"title":"x","pullRequest":true}`}, {"POST", "/api/models/alice/m/discussions/1/merge", `{}`}, {"POST", "/api/validate-yaml", `{"content":"---\na: b\n---"}`},
		{"POST", "/api/models/alice/m/paths-info/main", `{"paths":["a",""],"expand":true}`}, {"GET", "/api/models/alice/m/commits/HEAD?limit=1&p=1", ""}, {"GET", "/api/whoami-v2", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	var failure string
	s, err := server.Open(f.TempDir(), server.Options{
		Tokens: []server.Token{{Name: "alice", Secret: "t", Role: server.Write}},
		Log:    func(line string) { failure = line },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	send := func(method, target, body string) *httptest.ResponseRecorder {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return nil
		}
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
		r.Method, r.URL, r.RequestURI = method, u, target
		r.Header.Set("Authorization", "Bearer t")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		send("POST", "/api/repos/create", `{"name":"m"}`)
		failure = ""
		w := send(method, target, body)
		if w == nil {
			t.Skip()
		}
		if w.Code >= 500 || failure != "" {
			t.Fatalf("status %d: %s", w.Code, failure)
		}
		if w = send("GET", "/api/models/alice/m?blobs=1", ""); w.Code == 200 && !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
			t.Fatalf("afterwards: status %d: %s: %s", w.Code, failure, w.Body)
		}
	})
}
