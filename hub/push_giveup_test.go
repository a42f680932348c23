package hub

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// A hub that has gone is given up after one series of tries, not one for each step around the step that failed.
func TestPushGivesUp(t *testing.T) {
	for _, step := range []string{"/preupload/", "/batch", "PUT", "/commit/"} {
		h, l := testHub(t)
		tries := 0
		l.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == step || strings.Contains(r.URL.Path, step) {
				tries++
				return nil, errors.New("connection refused")
			}
			return http.DefaultTransport.RoundTrip(r)
		})
		_, err := h.Push(t.Context(), fakeRepo, Commit{Files: []File{{Path: "w.safetensors", Data: like(1000, 1)}}})
		if !errors.Is(err, ErrUnavailable) || tries != maxTries {
			t.Errorf("%s was tried %d times instead of %d: %v", step, tries, maxTries, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
