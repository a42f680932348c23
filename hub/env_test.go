package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clearEnv removes what would lead to the user's own token and cache.
func clearEnv(t *testing.T) (user string) {
	for _, name := range []string{"HF_HOME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE"} {
		t.Setenv(name, "")
	}
	user = t.TempDir()
	t.Setenv("HOME", user)
	return user
}

func TestEnvironment(t *testing.T) {
	user := clearEnv(t)
	standard := filepath.Join(user, ".cache", "huggingface")
	for _, c := range []struct {
		name, value, cache, token string
	}{
		{"HF_HOME", "", filepath.Join(standard, "hub"), filepath.Join(standard, "token")},
		{"HF_HOME", "/data/hf", "/data/hf/hub", "/data/hf/token"},
		{"HF_HOME", "~/hf", filepath.Join(user, "hf", "hub"), filepath.Join(user, "hf", "token")},
		{"XDG_CACHE_HOME", "/xdg", "/xdg/huggingface/hub", "/xdg/huggingface/token"},
		{"HF_HUB_CACHE", "$HOME/c", filepath.Join(user, "c"), filepath.Join(standard, "token")},
		{"HF_TOKEN_PATH", "/run/token", filepath.Join(standard, "hub"), "/run/token"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			if CacheDir() != c.cache || TokenPath() != c.token {
				t.Errorf("the cache is %s and the token %s, expected %s and %s", CacheDir(), TokenPath(), c.cache, c.token)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	clearEnv(t)
	if token, source, err := LookupToken(); token != "" || source != "" || err != nil {
		t.Errorf("without a token: %q from %q, %v", token, source, err)
	}
	if removed, err := RemoveToken(); removed || err != nil {
		t.Errorf("removed none: %v, %v", removed, err)
	}
	path, err := StoreToken("hf_stored")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", info.Mode(), err)
	}
	if token, source, err := LookupToken(); token != "hf_stored" || source != path || err != nil {
		t.Errorf("stored: %q from %q, %v", token, source, err)
	}
	t.Setenv("HF_TOKEN", " hf_env\n")
	if token, source, err := LookupToken(); token != "hf_env" || source != "HF_TOKEN" || err != nil {
		t.Errorf("in the environment: %q from %q, %v", token, source, err)
	}
	t.Setenv("HF_TOKEN", "hf_bad\nX-Evil: 1")
	_, _, err = LookupToken()
	if !errors.Is(err, ErrUnauthorized) || strings.Contains(fmt.Sprint(err), "hf_bad") {
		t.Errorf("a token with a line feed: %v", err)
	}
	if _, err := StoreToken("hf bad"); err == nil || strings.Contains(err.Error(), "hf bad") {
		t.Errorf("stored a token with a space: %v", err)
	}
	t.Setenv("HF_TOKEN", "")
	if removed, err := RemoveToken(); !removed || err != nil {
		t.Errorf("removed: %v, %v", removed, err)
	}
}

func TestTokensDoNotPrint(t *testing.T) {
	clearEnv(t)
	h, err := newHF(Options{Token: fakeToken})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Token: fakeToken}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %#v %v", h, *h, h, h.token, h.token), fmt.Sprintf("%v %+v %s", o, o, o), fmt.Sprintf("%#v", o)} {
		if strings.Contains(s, fakeToken) {
			t.Errorf("the token prints: %s", s)
		}
	}
}

func TestEndpoints(t *testing.T) {
	clearEnv(t)
	for _, bad := range []string{"huggingface.co", "ftp://x", "https://", "https://user:pass@x", "https://x?y=z"} {
		t.Setenv("HF_ENDPOINT", bad)
		if _, err := Open(Address{Scheme: "hf"}, Options{}); !errors.Is(err, ErrAddress) || strings.Contains(fmt.Sprint(err), "pass") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
