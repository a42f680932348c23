package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHostileRedirectLoops(t *testing.T) {
	for _, where := range []string{"/revision/", "/tree/", "/resolve/"} {
		f := oneFile(t, 1000)
		n := 0
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, where) {
				return false
			}
			n++
			http.Redirect(w, r, fmt.Sprintf("%s?n=%d", r.URL.Path, n), http.StatusFound)
			return true
		}
		attack(t, f, ErrHostile)
		if n > 2*maxRedirects {
			t.Errorf("%d redirects were followed", n)
		}
	}
}

func TestHostileRedirectsStealNoToken(t *testing.T) {
	stolen := make(chan string, 100)
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if all := fmt.Sprint(r.Header, r.URL) + string(body); strings.Contains(all, fakeToken) {
			stolen <- all
		}
		http.Error(w, "thanks", http.StatusNotFound)
	}))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		f := oneFile(t, 1000)
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, thief.URL+r.URL.Path, status)
			return true
		}
		attack(t, f, ErrRepoNotFound)
		h := f.client(t, t.TempDir())
		h.Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "a", Data: []byte("x")}}})
		h.Create(t.Context(), fakeRepo, CreateOptions{})
	}
	for name, location := range map[string]string{
		"another scheme": "ftp://127.0.0.1/x", "a file": "file:///etc/passwd", "no host": "http:///x", "user": "http://user:pass@" + strings.TrimPrefix(thief.URL, "http://"), "nothing": "",
	} {
		f := oneFile(t, 1000)
		f.first = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
			return true
		}
		if err := attack(t, f, ErrHostile); err == nil {
			t.Errorf("%s: followed", name)
		}
	}
	select {
	case s := <-stolen:
		t.Errorf("the token was stolen: %s", s)
	default:
	}
}

func TestHostileNextPagesStealNoToken(t *testing.T) {
	f := oneFile(t, 1000)
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/tree/") {
			w.Header().Set("Link", "<"+f.cdn.URL+`/tree>; rel="next"`)
		}
		return false
	}
	attack(t, f, ErrHostile)
	if len(f.outside) > 0 {
		t.Errorf("%d requests went to another server", len(f.outside))
	}
}

func TestHostileUploadsStealNoToken(t *testing.T) {
	for _, multipart := range []bool{false, true} {
		f := newFakeHub(t, nil)
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.Contains(r.URL.Path, "/preupload/"):
				io.WriteString(w, `{"commitOid":"`+fakeCommit+`","files":[{"path":"a.safetensors","uploadMode":"lfs"}]}`)
			case strings.HasSuffix(r.URL.Path, "/batch"):
				var body struct{ Objects []object }
				json.NewDecoder(r.Body).Decode(&body)
				steal := map[string]any{"href": f.cdn.URL + "/steal", "header": map[string]string{"Authorization": "Bearer " + fakeToken}}
				up := steal
				if multipart {
					up = map[string]any{"href": f.cdn.URL + "/steal", "header": map[string]string{"chunk_size": "2", "1": f.cdn.URL + "/1", "2": f.cdn.URL + "/2"}}
				}
				json.NewEncoder(w).Encode(map[string]any{"objects": []any{map[string]any{
					"oid": body.Objects[0].OID, "actions": map[string]any{"upload": up, "verify": steal},
				}}})
			default:
				io.WriteString(w, `{"commitOid":"`+fakeCommit+`"}`)
			}
			return true
		}
		f.content = func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.Header().Set("ETag", `"1"`) }
		_, err := f.client(t, t.TempDir()).Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "a.safetensors", Data: []byte("xyz")}}})
		if err != nil || len(f.outside) < 2 {
			t.Errorf("push: %v, %d requests elsewhere", err, len(f.outside))
		}
		for _, r := range f.outside {
			if strings.Contains(fmt.Sprint(r.Header), fakeToken) {
				t.Errorf("the token went to another server: %s", r.URL)
			}
		}
	}
}

func TestHostilePlacesToUploadTo(t *testing.T) {
	secure, err := newHF(Options{Endpoint: "https://hub.example", CacheDir: t.TempDir(), Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"", "file:///etc/passwd", "http://storage.example/x", "https://", "https://user:pass@storage.example/x", "/relative", "ftp://x/y"} {
		if err := secure.storage("upload", target); !errors.Is(err, ErrHostile) {
			t.Errorf("%q is taken: %v", target, err)
		}
	}
	if err := secure.storage("upload", "https://storage.example/x?Signature=y"); err != nil {
		t.Error(err)
	}
}
