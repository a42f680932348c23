package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

const manyFiles = 10_000

// manyLines is a commit of many files, of which no two hold the same.
func manyLines(salt int) string {
	ops := make([]string, manyFiles)
	for i := range ops {
		ops[i] = file(fmt.Sprintf("shards/%02d/file-%05d.json", i%100, i), fmt.Sprintf(`{"n":%d,"salt":%d}`, i, salt))
	}
	return lines("", ops...)
}

// BenchmarkCommitMany makes a commit of 10,000 files.
func BenchmarkCommitMany(b *testing.B) {
	alice := connect(b, hubtest.Start(b, server.Options{}), hubtest.AliceToken)
	alice.create("alice/many")
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		body := manyLines(n)
		b.StartTimer()
		alice.want(200, "POST", "/api/models/alice/many/commit/main", body, nil)
	}
	b.ReportMetric(manyFiles*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkInMany works on a repository of 10,000 files: a small commit, all pages of the listing, a file.
func BenchmarkInMany(b *testing.B) {
	alice := connect(b, hubtest.Start(b, server.Options{}), hubtest.AliceToken)
	alice.create("alice/many")
	alice.want(200, "POST", "/api/models/alice/many/commit/main", manyLines(0), nil)
	b.Run("commit", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			alice.commit("alice/many", file("one.json", fmt.Sprint(n)))
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			pages, entries := 0, 0
			for next := "/api/models/alice/many/tree/main?recursive=true"; next != ""; pages++ {
				status, data, header := alice.do("GET", next, "")
				if status != http.StatusOK {
					b.Fatalf("status %d: %s", status, data)
				}
				entries += strings.Count(string(data), `"path"`)
				link, _, _ := strings.Cut(header.Get("Link"), ">")
				next = strings.TrimPrefix(link, "<")
			}
			if entries < manyFiles || pages != 11 {
				b.Fatalf("%d entries on %d pages", entries, pages)
			}
		}
	})
	b.Run("resolve", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			i := n * 7919 % manyFiles
			if got := alice.read("alice/many", "main", fmt.Sprintf("shards/%02d/file-%05d.json", i%100, i)); got != fmt.Sprintf(`{"n":%d,"salt":0}`, i) {
				b.Fatalf("file %d holds %s", i, got)
			}
		}
	})
}

// BenchmarkLFS sends 64 MiB up and down.
func BenchmarkLFS(b *testing.B) {
	alice := connect(b, hubtest.Start(b, server.Options{}), hubtest.AliceToken)
	alice.create("alice/large")
	content := strings.Repeat("0123456789abcdef", 4<<20)
	b.Run("up", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for n := 0; b.Loop(); n++ {
			b.StopTimer()
			content = fmt.Sprintf("%016d", n) + content[16:]
			b.StartTimer()
			alice.upload("alice/large", content)
		}
	})
	alice.upload("alice/large", content)
	alice.commit("alice/large", lfs("large.safetensors", content))
	b.Run("down", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if got := alice.read("alice/large", "main", "large.safetensors"); len(got) != len(content) {
				b.Fatalf("%d bytes", len(got))
			}
		}
	})
}
