package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"d2nwg/hub/hubtest"
)

// client speaks to a test's hub with one token.
type client struct {
	tb    testing.TB
	url   string
	token string
}

func connect(tb testing.TB, h *hubtest.Hub, token string) *client { return &client{tb, h.URL, token} }

// do sends a request and returns status, body and headers. A redirect is not followed.
func (c *client) do(method, path, body string) (int, []byte, http.Header) {
	c.tb.Helper()
	if !strings.HasPrefix(path, "http") {
		path = c.url + path
	}
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		c.tb.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.tb.Fatal(err)
	}
	return resp.StatusCode, data, resp.Header
}

// want sends a request that has to be answered with a status, and decodes the answer if into is not nil.
func (c *client) want(status int, method, path, body string, into any) {
	c.tb.Helper()
	got, data, _ := c.do(method, path, body)
	if got != status {
		c.tb.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, data)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			c.tb.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
}

func (c *client) create(name string) {
	c.tb.Helper()
	org, name, _ := strings.Cut(name, "/")
	c.want(200, "POST", "/api/repos/create", fmt.Sprintf(`{"organization":%q,"name":%q}`, org, name), nil)
}

// lines are a commit's body: a header, and what follows.
func lines(parent string, ops ...string) string {
	return fmt.Sprintf(`{"key":"header","value":{"summary":"a commit","parentCommit":%q}}`, parent) + "\n" + strings.Join(ops, "\n")
}

func file(path, content string) string {
	return fmt.Sprintf(`{"key":"file","value":{"path":%q,"encoding":"base64","content":%q}}`, path, base64.StdEncoding.EncodeToString([]byte(content)))
}

func lfs(path, content string) string {
	return fmt.Sprintf(`{"key":"lfsFile","value":{"path":%q,"algo":"sha256","oid":%q,"size":%d}}`, path, hexSum(content), len(content))
}

func (c *client) commit(repo string, ops ...string) string {
	c.tb.Helper()
	var made struct{ CommitOid string }
	c.want(200, "POST", "/api/models/"+repo+"/commit/main", lines("", ops...), &made)
	return made.CommitOid
}

// upload brings an LFS content to a repository and tells whether it had to be sent.
func (c *client) upload(repo, content string) bool {
	c.tb.Helper()
	var answer struct {
		Objects []struct {
			Actions struct{ Upload struct{ Href string } }
		}
	}
	body := fmt.Sprintf(`{"operation":"upload","transfers":["basic"],"objects":[{"oid":%q,"size":%d}]}`, hexSum(content), len(content))
	c.want(200, "POST", "/"+repo+".git/info/lfs/objects/batch", body, &answer)
	href := answer.Objects[0].Actions.Upload.Href
	if href == "" {
		return false
	}
	c.want(200, "PUT", href, content, nil)
	return true
}

// read follows a file's link if it has one.
func (c *client) read(repo, rev, path string) string {
	c.tb.Helper()
	status, data, header := c.do("GET", "/"+repo+"/resolve/"+rev+"/"+path, "")
	if status == http.StatusFound {
		status, data, _ = c.do("GET", header.Get("Location"), "")
	}
	if status != 200 {
		c.tb.Fatalf("read %s at %s: status %d: %s", path, rev, status, data)
	}
	return string(data)
}

type treeEntry struct{ Type, Path, OID string }

func (c *client) tree(repo, rev string) (list []treeEntry) {
	c.tb.Helper()
	c.want(200, "GET", "/api/models/"+repo+"/tree/"+rev+"?recursive=true", "", &list)
	return list
}
