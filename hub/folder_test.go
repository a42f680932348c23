package hub

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "repo")
	a, err := Parse("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.List(t.Context(), a, true); !errors.Is(err, ErrRepoNotFound) {
		t.Errorf("a folder that isn't there: %v", err)
	}
	if err := errors.Join(h.Create(t.Context(), a, CreateOptions{}), h.Create(t.Context(), a, CreateOptions{ExistOK: true})); err != nil {
		t.Error(err)
	}
	if err := h.Create(t.Context(), a, CreateOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	files := []File{{Path: "config.json", Data: []byte("{}")}, {Path: "sub/x.bin", Data: []byte("p")}, {Path: "sub/y.txt", Source: filepath.Join(dir, "config.json")}}
	if _, err := h.Push(t.Context(), a, Commit{Files: files}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.TempDir(), filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	s, err := h.Pull(t.Context(), a, PullOptions{})
	want := Snapshot{Dir: dir, Path: dir, Files: []string{"config.json", "sub/y.txt"}, Refused: []string{"sub/x.bin"}}
	if diff := cmp.Diff(want, s); err != nil || diff != "" {
		t.Errorf("pulled %v (-want +got)\n%s", err, diff)
	}
	if _, err := h.Push(t.Context(), a, Commit{Files: one("out/evil", "x")}); err == nil {
		t.Error("a file was written through a link that leads outside")
	}
	if _, err := h.Push(t.Context(), a, Commit{Files: one("../evil", "x")}); !errors.Is(err, ErrAddress) {
		t.Errorf("a name that leads outside: %v", err)
	}
	if _, err := h.Push(t.Context(), a, Commit{Delete: []string{"sub/", "nowhere"}}); err != nil {
		t.Error(err)
	}
	local, err := FilesIn(dir)
	if diff := cmp.Diff([]File{{Path: "config.json", Source: filepath.Join(dir, "config.json")}}, local); err != nil || diff != "" {
		t.Errorf("files in it: %v (-want +got)\n%s", err, diff)
	}
	info, err := h.Info(t.Context(), a)
	if err != nil || len(info.Files) != 1 || info.ID != "repo" || info.LastModified.IsZero() {
		t.Errorf("info: %+v, %v", info, err)
	}
	for _, err := range []error{
		h.Delete(t.Context(), a), h.CreateBranch(t.Context(), a, ""), h.DeleteBranch(t.Context(), a),
		func() error { _, err := h.Push(t.Context(), a, Commit{Parent: fakeCommit}); return err }(),
	} {
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("a folder has no such thing: %v", err)
		}
	}
}
