package hub

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// attack pulls from a hub that a test made hostile, into a cache inside a folder of its own, and checks that nothing was
// written beside the cache, nothing was kept in it, and the token stayed at home. It returns Pull's error.
func attack(t *testing.T, f *fakeHub, kinds ...error) error {
	t.Helper()
	outer := t.TempDir()
	cache := filepath.Join(outer, "a", "b", "cache")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h := f.client(t, cache)
	h.piece = 256 << 10
	_, err := h.Pull(ctx, fakeRepo, PullOptions{})
	found := false
	for _, kind := range kinds {
		found = found || errors.Is(err, kind)
	}
	if !found {
		t.Errorf("the error is %v, expected one of %v", err, kinds)
	}
	if err != nil && strings.Contains(err.Error(), fakeToken) {
		t.Errorf("the error repeats the token: %v", err)
	}
	filepath.WalkDir(outer, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(cache, path)
		switch {
		case err != nil || d.IsDir():
		case strings.HasPrefix(rel, ".."):
			t.Errorf("%s was written outside the cache", path)
		case !strings.HasPrefix(rel, ".locks"):
			t.Errorf("%s was kept", rel)
		}
		return nil
	})
	for _, r := range f.outside {
		if strings.Contains(fmt.Sprint(r.Header, r.URL), fakeToken) {
			t.Errorf("the token went to another server")
		}
	}
	return err
}

func oneFile(t *testing.T, size int) *fakeHub {
	return newFakeHub(t, map[string][]byte{"model.safetensors": like(size, 1)})
}

// listing is a tree of one regular file.
func listing(name, oid string, size any) []byte {
	data, _ := json.Marshal([]map[string]any{{"type": "file", "path": name, "oid": oid, "size": size}})
	return data
}

const someHash = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

func TestHostileNamesInTrees(t *testing.T) {
	for _, name := range []string{
		"../evil", "a/../../evil", "/etc/evil", "..", ".", "", "a//b", `..\evil`, `C:\evil`, "C:/evil", "a\x00b", "a\nb", "a/./b", "a/", strings.Repeat("x", 300),
		"../../blobs/" + someHash, "../../../refs/main", ".git/config", "a/.GIT/hooks/pre-commit", "a\u009b31mb", "a\x7fb",
	} {
		f := newFakeHub(t, map[string][]byte{name: nil})
		f.listed = listing(name, someHash, 0)
		attack(t, f, ErrHostile)
	}
}

func TestHostileHashesInTrees(t *testing.T) {
	for _, oid := range []string{"../../../../evil", "", someHash + "/x", strings.ToUpper(someHash), someHash[:39], "..", someHash + "\n"} {
		f := newFakeHub(t, map[string][]byte{"a": nil})
		f.listed = listing("a", oid, 0)
		attack(t, f, ErrHostile)
		lfs, _ := json.Marshal([]any{map[string]any{"type": "file", "path": "a", "oid": someHash, "size": 1, "lfs": map[string]any{"oid": oid, "size": 1}}})
		if f.listed = lfs; oid != "" {
			attack(t, f, ErrHostile)
		}
	}
	f := newFakeHub(t, nil)
	f.listed = listing("a", someHash, -1)
	attack(t, f, ErrHostile)
	f.listed = []byte(`[{"type":"symlink","path":"a","oid":"` + someHash + `","size":1}]`)
	attack(t, f, ErrHostile)
}

func TestHostileETags(t *testing.T) {
	for _, etag := range []string{`"../../../../../evil"`, `"x"`, `"/etc/passwd"`, `W/"..\\evil"`} {
		for _, header := range []string{"ETag", "X-Linked-Etag"} {
			f := newFakeHub(t, map[string][]byte{"a": []byte("data")})
			f.first = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/resolve/") {
					return false
				}
				w.Header().Set(header, etag)
				io.WriteString(w, "data")
				return true
			}
			attack(t, f, ErrHostile)
		}
	}
}

func TestHostileCommits(t *testing.T) {
	for _, sha := range []string{"../../../../evil", "", "main", fakeCommit + "/..", strings.ToUpper(fakeCommit)} {
		f := newFakeHub(t, map[string][]byte{"a": nil})
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/revision/") {
				json.NewEncoder(w).Encode(map[string]any{"id": "alice/m", "sha": sha})
				return true
			}
			w.Header().Set("X-Repo-Commit", sha)
			return false
		}
		attack(t, f, ErrHostile)
	}
	f := newFakeHub(t, map[string][]byte{"a": []byte("data")})
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resolve/") {
			w.Header().Set("X-Repo-Commit", "../../evil")
			io.WriteString(w, "data")
			return true
		}
		return false
	}
	attack(t, f, ErrHostile)
}

func TestHostileRevisionsAndReferences(t *testing.T) {
	f := newFakeHub(t, nil)
	h := f.client(t, t.TempDir())
	for _, revision := range []string{"../../evil", "a/../../b", "/x", "-x", "a b", "x\x00", "a:b"} {
		if _, err := h.Pull(t.Context(), fakeRepo.at(revision), PullOptions{}); !errors.Is(err, ErrAddress) {
			t.Errorf("revision %q: %v", revision, err)
		}
	}
	f.first = func(w http.ResponseWriter, _ *http.Request) bool {
		io.WriteString(w, `{"branches":[{"name":"../../evil","targetCommit":"`+fakeCommit+`"}]}`)
		return true
	}
	if _, err := h.Refs(t.Context(), fakeRepo); !errors.Is(err, ErrHostile) {
		t.Errorf("a reference with a hostile name: %v", err)
	}
	if len(f.requests) != 1 {
		t.Errorf("%d requests were made, expected only the last", len(f.requests))
	}
}

// endless writes until the other side has had enough, and gives up after far more than that.
func endless(w http.ResponseWriter) {
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range 1 << 10 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestHostileEndlessBodies(t *testing.T) {
	for _, path := range []string{"/revision/", "/tree/"} {
		f := oneFile(t, 1000)
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, path) {
				endless(w)
				return true
			}
			return false
		}
		attack(t, f, ErrHostile)
	}
	for _, size := range []int{1000, 2 << 20} { // as a stream and in parts
		f := oneFile(t, size)
		f.content = func(w http.ResponseWriter, r *http.Request, data []byte) {
			if span := r.Header.Get("Range"); span != "" {
				w.Header().Set("Content-Range", strings.Replace(span, "=", " ", 1)+"/"+strconv.Itoa(len(data)))
				w.WriteHeader(http.StatusPartialContent)
			}
			endless(w)
		}
		attack(t, f, ErrCorrupt)
	}
	f := oneFile(t, 1000) // an error that never ends
	f.first = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		endless(w)
		return true
	}
	attack(t, f, ErrForbidden)
}

func TestHostileSizes(t *testing.T) {
	for _, change := range []int{-1, 1, 1000} {
		for _, size := range []int{1001, 2 << 20} {
			f := oneFile(t, size)
			f.content = func(w http.ResponseWriter, _ *http.Request, data []byte) {
				w.Header().Set("Content-Length", strconv.Itoa(len(data)+change))
				w.Write(like(len(data)+change, 1))
			}
			attack(t, f, ErrCorrupt)
			f.content = func(w http.ResponseWriter, _ *http.Request, data []byte) { // without a length: it just ends
				w.(http.Flusher).Flush()
				w.Write(like(len(data)+change, 1))
			}
			if change > 0 {
				attack(t, f, ErrCorrupt)
			}
		}
	}
	f := oneFile(t, 1000)
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resolve/") {
			w.Header().Set("X-Linked-Size", "12")
			http.Redirect(w, r, f.cdn.URL+"/content/model.safetensors", http.StatusFound)
			return true
		}
		return false
	}
	attack(t, f, ErrCorrupt)
}

func TestHostileParts(t *testing.T) {
	for _, span := range []string{"bytes 0-9/2097152", "bytes 1-262144/2097152", "bytes 0-262143/9", "nonsense", ""} {
		f := oneFile(t, 2<<20)
		f.content = func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.Header().Set("Content-Range", span)
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[:256<<10])
		}
		attack(t, f, ErrCorrupt)
	}
}

func TestHostileContents(t *testing.T) {
	for _, size := range []int{1000, 2 << 20} {
		f := oneFile(t, size)
		f.content = func(w http.ResponseWriter, r *http.Request, data []byte) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(like(len(data), 99)))
		}
		attack(t, f, ErrCorrupt)
	}
	f := newFakeHub(t, map[string][]byte{"a.json": []byte("right")})
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resolve/") {
			io.WriteString(w, "wrong")
			return true
		}
		return false
	}
	attack(t, f, ErrCorrupt)
}

func TestHostilePickles(t *testing.T) {
	f := newFakeHub(t, map[string][]byte{"pytorch_model.bin": []byte("cos\nsystem\n"), "a/b.PKL": nil, "x.pt": nil, "y.ckpt": nil, "z.pth": nil, "config.json": []byte("{}")})
	s, err := f.client(t, t.TempDir()).Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil || len(s.Files) != 1 || len(s.Refused) != 5 {
		t.Errorf("pulled %v, refused %v: %v", s.Files, s.Refused, err)
	}
	for _, r := range f.requests {
		if IsPickle(r.URL.Path) {
			t.Errorf("%s was downloaded", r.URL.Path)
		}
	}
}

func TestHostileCompression(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 256 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	for _, where := range []string{"/revision/", "/tree/", "/resolve/"} {
		f := newFakeHub(t, map[string][]byte{"a": []byte("data")})
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("%s was asked for with Accept-Encoding %q", r.URL.Path, r.Header.Get("Accept-Encoding"))
			}
			if !strings.Contains(r.URL.Path, where) {
				return false
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
			return true
		}
		attack(t, f, ErrHostile)
	}
}

func TestHostilePagination(t *testing.T) {
	for name, page := range map[string]func(n int) string{
		"the same page again": func(int) string { return string(listing("a", someHash, 0)) },
		"empty pages":         func(int) string { return "[]" },
		"something that is no list of files": func(n int) string {
			return fmt.Sprintf(`[{"type":"file","path":"%d","oid":"x"}]`, n)
		},
	} {
		f := newFakeHub(t, nil)
		n := 0
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/tree/") {
				return false
			}
			n++
			if n < 50 {
				w.Header().Set("Link", fmt.Sprintf(`<%s%s?cursor=%d>; rel="next"`, f.api.URL, r.URL.Path, n))
			}
			io.WriteString(w, page(n))
			return true
		}
		attack(t, f, ErrHostile)
		t.Logf("%s: %d pages were read", name, n)
	}
}

func TestHostileJSON(t *testing.T) {
	for name, body := range map[string]string{
		"deep":       strings.Repeat("[", 1<<20),
		"wrong type": `{"sha":["` + fakeCommit + `"]}`,
		"not JSON":   "<html>",
		"huge":       `{"sha":"` + strings.Repeat("a", maxJSON) + `"}`,
	} {
		f := newFakeHub(t, nil)
		f.first = func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, body); return true }
		if err := attack(t, f, ErrHostile); len(fmt.Sprint(err)) > 1000 {
			t.Errorf("%s: the error has %d bytes", name, len(fmt.Sprint(err)))
		}
	}
}

func TestHostileCaches(t *testing.T) {
	f := newFakeHub(t, map[string][]byte{"a/b": []byte("data")})
	cache, outside := t.TempDir(), t.TempDir()
	snapshot := filepath.Join(cache, "models--alice--m", "snapshots", fakeCommit)
	if err := os.MkdirAll(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(snapshot, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client(t, cache).Pull(t.Context(), fakeRepo, PullOptions{}); err == nil {
		t.Error("a link that leads out of the cache was followed")
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("%s was written outside the cache", left[0].Name())
	}
}
