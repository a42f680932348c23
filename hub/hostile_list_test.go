package hub

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
)

// A size that no file has must not reach the arithmetic of offsets.
func TestHostileHugeNumbers(t *testing.T) {
	for _, size := range []int64{math.MaxInt64, math.MaxInt64 - 1, maxSize + 1} {
		f := newFakeHub(t, nil)
		f.listed = listing("a", someHash, size)
		f.first = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/resolve/") {
				return false
			}
			w.(http.Flusher).Flush() // no Content-Length
			io.WriteString(w, "data")
			return true
		}
		attack(t, f, ErrHostile)
		f.listed = fmt.Appendf(nil, `[{"type":"file","path":"a","oid":%q,"size":1,"lfs":{"oid":%q,"size":%d}}]`, someHash, strings.Repeat("0", 64), size)
		attack(t, f, ErrHostile)
	}
}

// A list of few, huge entries must not fill the memory, however small each page is.
func TestHostileListLength(t *testing.T) {
	f, pages := newFakeHub(t, nil), 0
	f.first = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/tree/") {
			return false
		}
		pages++
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?cursor=%d>; rel="next"`, f.api.URL, r.URL.Path, pages))
		fmt.Fprintf(w, `[{"type":"file","path":"%d%s","oid":%q}]`, pages, strings.Repeat("x", 100_000), someHash)
		return true
	}
	h := f.client(t, t.TempDir())
	h.list = 1 << 20
	if _, err := h.List(t.Context(), fakeRepo, true); !errors.Is(err, ErrHostile) || pages != 11 {
		t.Errorf("%d pages of 100 kB were read where 1 MB is the limit: %v", pages, err)
	}
}

// What answers everything, or nothing, is no hub, and nobody's token is stored on its word.
func TestWhoAmIElsewhere(t *testing.T) {
	f := newFakeHub(t, nil)
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		f.first = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			io.WriteString(w, "{}")
			return true
		}
		if u, err := f.client(t, t.TempDir()).WhoAmI(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "HF_ENDPOINT") {
			t.Errorf("status %d: %+v, %v", status, u, err)
		}
	}
}
