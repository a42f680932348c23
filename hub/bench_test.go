package hub

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
)

// BenchmarkDownload measures a pull of one file into an empty cache, verified, beside a plain HTTP client that hashes the
// same body and keeps nothing. D2NWG_HUB_BENCH_BYTES sets the file's size (default 256 MB). Bytes a second of both.
func BenchmarkDownload(b *testing.B) {
	size := 256 << 20
	if s := os.Getenv("D2NWG_HUB_BENCH_BYTES"); s != "" {
		if _, err := fmt.Sscan(s, &size); err != nil {
			b.Fatal(err)
		}
	}
	f := newFakeHub(b, map[string][]byte{"model.safetensors": like(size, 1)})
	entry := nameOf("model.safetensors", f.files["model.safetensors"])
	f.listed = fmt.Appendf(nil, `[{"type":"file","path":"model.safetensors","oid":%q,"size":%d,"lfs":{"oid":%q,"size":%d}}]`, entry.OID, size, entry.SHA256, size)
	f.first = func(w http.ResponseWriter, r *http.Request) bool { // without hashing the file again
		if r.URL.Path != "/alice/m/resolve/"+fakeCommit+"/model.safetensors" {
			return false
		}
		http.Redirect(w, r, f.cdn.URL+"/content/model.safetensors", http.StatusFound)
		return true
	}
	plain := func(b *testing.B, keep io.Writer) {
		resp, err := http.Get(f.api.URL + "/alice/m/resolve/" + fakeCommit + "/model.safetensors")
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		h := sha256.New()
		if n, err := io.Copy(io.MultiWriter(h, keep), resp.Body); err != nil || n != int64(size) || fmt.Sprintf("%x", h.Sum(nil)) != entry.SHA256 {
			b.Fatal(n, err)
		}
	}
	b.Run("plain", func(b *testing.B) { // reads and hashes
		b.SetBytes(int64(size))
		for b.Loop() {
			plain(b, io.Discard)
		}
	})
	b.Run("kept", func(b *testing.B) { // and writes a file
		b.SetBytes(int64(size))
		for b.Loop() {
			file, err := os.CreateTemp(b.TempDir(), "")
			if err != nil {
				b.Fatal(err)
			}
			plain(b, file)
			if err := file.Close(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			os.Remove(file.Name())
			b.StartTimer()
		}
	})
	pull := func(b *testing.B) {
		b.StopTimer()
		cache := b.TempDir()
		h := f.client(b, cache)
		b.StartTimer()
		if s, err := h.Pull(b.Context(), fakeRepo, PullOptions{}); err != nil || s.Fetched != int64(size) {
			b.Fatal(s, err)
		}
		b.StopTimer()
		os.RemoveAll(cache)
		b.StartTimer()
	}
	b.Run("pull", func(b *testing.B) {
		b.SetBytes(int64(size))
		pull(b) // gives the machine the memory in which it caches the file
		for b.Loop() {
			pull(b)
		}
	})
}

// BenchmarkManyFiles lists and pulls a repository of 10,000 files.
func BenchmarkManyFiles(b *testing.B) {
	files := map[string][]byte{}
	for i := range 10_000 {
		files[fmt.Sprintf("dir%02d/file%05d.json", i%100, i)] = fmt.Appendf(nil, `{"file":%d}`, i)
	}
	f := newFakeHub(b, files)
	b.Run("list", func(b *testing.B) {
		h := f.client(b, b.TempDir())
		for b.Loop() {
			if entries, err := h.List(b.Context(), fakeRepo, true); err != nil || len(entries) != len(files) {
				b.Fatal(len(entries), err)
			}
		}
	})
	b.Run("pull", func(b *testing.B) {
		for b.Loop() {
			s, err := f.client(b, b.TempDir()).Pull(b.Context(), fakeRepo, PullOptions{})
			if err != nil || len(s.Files) != len(files) {
				b.Fatal(len(s.Files), err)
			}
		}
	})
}
