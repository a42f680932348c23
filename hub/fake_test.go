package hub

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	fakeCommit = "0123456789abcdef0123456789abcdef01234567"
	fakeToken  = "hf_secretsecret"
)

var fakeRepo = Address{Scheme: "hf", Kind: Model, Repo: "alice/m"}

// fakeHub serves one revision of one repository for downloads, LFS files from a second server, as a content network
// does. Tests make it misbehave.
type fakeHub struct {
	api, cdn *httptest.Server
	files    map[string][]byte
	pageSize int
	listed   []byte                                           // the tree to answer with instead of the true one
	first    func(http.ResponseWriter, *http.Request) bool    // sees every request to the endpoint; true if it answered
	content  func(http.ResponseWriter, *http.Request, []byte) // sends LFS contents; nil: http.ServeContent

	mu       sync.Mutex
	requests []*http.Request
	outside  []*http.Request // to the second server
}

// isLFS is the rule of the fake: safetensors are LFS files.
func isLFS(name string) bool { return strings.HasSuffix(name, ".safetensors") }

func nameOf(name string, data []byte) Entry {
	e := Entry{Path: name, Size: int64(len(data))}
	blob := e.hash()
	blob.Write(data)
	e.OID = hex.EncodeToString(blob.Sum(nil))
	if isLFS(name) {
		e.SHA256 = "x"
		sum := e.hash()
		sum.Write(data)
		e.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return e
}

func newFakeHub(t testing.TB, files map[string][]byte) *fakeHub {
	f := &fakeHub{files: files, pageSize: 1000}
	f.api = httptest.NewServer(http.HandlerFunc(f.serveAPI))
	f.cdn = httptest.NewServer(http.HandlerFunc(f.serveContent))
	t.Cleanup(func() { f.api.Close(); f.cdn.Close() })
	return f
}

// client is one that doesn't wait long before it tries again.
func (f *fakeHub) client(t testing.TB, cache string) *hf {
	t.Helper()
	h, err := newHF(Options{Endpoint: f.api.URL, Token: fakeToken, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	h.pause = time.Millisecond
	return h
}

func (f *fakeHub) names() []string {
	var names []string
	for name := range f.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *fakeHub) serveAPI(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r)
	f.mu.Unlock()
	if f.first != nil && f.first(w, r) {
		return
	}
	file, isFile := strings.CutPrefix(r.URL.Path, "/alice/m/resolve/"+fakeCommit+"/")
	switch {
	case isFile:
		f.serveFile(w, r, file)
	case strings.HasPrefix(r.URL.Path, "/api/models/alice/m/tree/"):
		f.serveTree(w, r)
	case r.URL.Path == "/api/models/alice/m" || strings.HasPrefix(r.URL.Path, "/api/models/alice/m/revision/"):
		json.NewEncoder(w).Encode(map[string]any{"id": "alice/m", "sha": fakeCommit, "gated": false})
	default:
		w.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(w, `{"error":"Repository not found"}`, http.StatusNotFound)
	}
}

func (f *fakeHub) serveTree(w http.ResponseWriter, r *http.Request) {
	if f.listed != nil {
		w.Write(f.listed)
		return
	}
	names := f.names()
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	end := min(from+f.pageSize, len(names))
	if end < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, f.api.URL, r.URL.Path, end))
	}
	items := []map[string]any{}
	for _, name := range names[from:end] {
		e := nameOf(name, f.files[name])
		item := map[string]any{"type": "file", "path": name, "size": e.Size, "oid": e.OID}
		if e.SHA256 != "" {
			item["lfs"] = map[string]any{"oid": e.SHA256, "size": e.Size}
		}
		items = append(items, item)
	}
	json.NewEncoder(w).Encode(items)
}

func (f *fakeHub) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	data, ok := f.files[name]
	if !ok {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		http.Error(w, "", http.StatusNotFound)
		return
	}
	e := nameOf(name, data)
	w.Header().Set("X-Repo-Commit", fakeCommit)
	if e.SHA256 != "" {
		w.Header().Set("X-Linked-Etag", `"`+e.SHA256+`"`)
		w.Header().Set("X-Linked-Size", strconv.FormatInt(e.Size, 10))
		http.Redirect(w, r, f.cdn.URL+"/content/"+name+"?Signature=key", http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+e.OID+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (f *fakeHub) serveContent(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.outside = append(f.outside, r)
	content := f.content
	f.mu.Unlock()
	data := f.files[strings.TrimPrefix(r.URL.Path, "/content/")]
	if content != nil {
		content(w, r, data)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
