package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

// officialClient runs internal/tools/hub/cache.mjs, decodes the line it prints and returns what the client itself said.
func officialClient(t *testing.T, v any, args ...string) (said string) {
	t.Helper()
	root := filepath.Join("..")
	clients := filepath.Join(root, ".deps", "hub")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node: the official client needs it")
	}
	if _, err := os.Stat(filepath.Join(clients, "node_modules", "@huggingface", "hub")); err != nil {
		t.Skipf("no official client in %s: make deps brings it there", clients)
	}
	script, err := os.Open(filepath.Join(root, "internal", "tools", "hub", "cache.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{"--input-type=module", "-"}, args...)...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = clients, script, os.Stderr
	out, err := cmd.Output()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err != nil || json.Unmarshal(lines[len(lines)-1], v) != nil {
		t.Fatalf("the official client: %v\n%s", err, out)
	}
	return string(bytes.Join(lines[:len(lines)-1], []byte("\n")))
}

func officialHub(t *testing.T) (*hf, []string) {
	url := hubtest.Start(t, server.Options{}).URL
	h, _ := clientOf(t, url, true)
	files := []File{
		{Path: "config.json", Data: config}, {Path: "same.json", Data: config}, {Path: "sub/dir/a b+ü.txt", Data: []byte("text")},
		{Path: "model.safetensors", Data: like(3<<20, 1)}, {Path: "sub/deep/er/x.safetensors", Data: like(1000, 2)},
	}
	mustPush(t, h, fakeRepo, Commit{Files: files})
	names := []string{".gitattributes"}
	for _, f := range files {
		names = append(names, f.Path)
	}
	slices.Sort(names)
	return h, names
}

// TestOfficialCacheIsReadOffline lets the official client fill a cache and reads it without the network.
func TestOfficialCacheIsReadOffline(t *testing.T) {
	h, names := officialHub(t)
	cache := t.TempDir()
	var theirs struct{ File, Folder string }
	officialClient(t, &theirs, h.base.String(), cache, "snapshot")
	offline, err := newHF(Options{Endpoint: "http://127.0.0.1:1", CacheDir: cache, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := offline.Pull(t.Context(), fakeRepo, PullOptions{})
	if diff := cmp.Diff(names, s.Files); err != nil || diff != "" || s.Dir != theirs.Folder {
		t.Errorf("read in %s, they wrote %s: %v (-want +got)\n%s", s.Dir, theirs.Folder, err, diff)
	}
	got, err := os.ReadFile(filepath.Join(s.Dir, "config.json"))
	if err != nil || string(got) != string(config) {
		t.Errorf("config.json holds %q, %v", got, err)
	}
	online, _ := clientOf(t, h.base.String(), false)
	online.cache = cache
	if s, err := online.Pull(t.Context(), fakeRepo, PullOptions{}); err != nil || s.Fetched != 0 {
		t.Errorf("with the network, %d bytes were fetched again, %v", s.Fetched, err)
	}
}

// TestOurCacheIsTakenByTheOfficialClient fills a cache, lets the official client list it and pull into it, and checks that
// it found everything there.
func TestOurCacheIsTakenByTheOfficialClient(t *testing.T) {
	h, names := officialHub(t)
	s, err := h.Pull(t.Context(), fakeRepo, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkCache(t, filepath.Join(h.cache, "models--alice--m"), "main", s.Commit)
	var scan struct {
		Warnings []string
		Repos    []struct {
			ID        struct{ Name, Type string }
			Size      int64
			Revisions []struct {
				Commit string
				Refs   []string
				Files  []struct {
					Path, Blob string
					Size       int64
				}
			}
		}
	}
	officialClient(t, &scan, h.base.String(), h.cache, "scan")
	if len(scan.Warnings) > 0 || len(scan.Repos) != 1 || scan.Repos[0].ID.Name != "alice/m" || len(scan.Repos[0].Revisions) != 1 {
		t.Fatalf("the official client finds %+v", scan)
	}
	revision := scan.Repos[0].Revisions[0]
	top := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, "/") })
	if revision.Commit != s.Commit || !slices.Equal(revision.Refs, []string{"main"}) || len(revision.Files) != len(top) {
		t.Errorf("the official client, which lists the top folder, finds %+v", revision)
	}
	before := modified(t, h.cache)
	var theirs struct{ File, Folder string }
	said := officialClient(t, &theirs, h.base.String(), h.cache, "snapshot")
	if theirs.Folder != s.Dir || said != "" {
		t.Errorf("the official client answers %s, we %s; it says %q", theirs.Folder, s.Dir, said)
	}
	if diff := cmp.Diff(before, modified(t, h.cache)); diff != "" {
		t.Errorf("the official client changed blobs (-before +after)\n%s", diff)
	}
}

// modified are the times of all blobs.
func modified(t *testing.T, cache string) map[string]time.Time {
	times := map[string]time.Time{}
	err := filepath.WalkDir(filepath.Join(cache, "models--alice--m", "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		times[filepath.Base(path)] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}
