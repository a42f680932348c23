package tokenizer

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// benchTokenizers opens the shared tokenizers.
func benchTokenizers(b *testing.B) (names []string, all []Tokenizer) {
	for _, d := range tokenizerDirs(b) {
		tok, err := Open(d)
		if err != nil {
			b.Fatal(err)
		}
		names, all = append(names, filepath.Base(d)), append(all, tok)
	}
	return names, all
}

// english returns about a megabyte of the shared grade-school problems, in pieces of 2,000 bytes.
func english(b *testing.B) []string {
	f, err := os.Open(filepath.Join(shared(b), "data", "gsm8k", "train.jsonl"))
	if err != nil {
		b.Skip(err)
	}
	defer f.Close()
	var all strings.Builder
	lines := bufio.NewScanner(f)
	for lines.Scan() && all.Len() < 1<<20 {
		var x struct{ Question, Answer string }
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			b.Fatal(err)
		}
		all.WriteString(x.Question + "\n" + x.Answer + "\n\n")
	}
	return pieces(all.String(), 2000)
}

func pieces(s string, n int) []string {
	var out []string
	for len(s) > n {
		out, s = append(out, s[:n]), s[n:]
	}
	return append(out, s)
}

// BenchmarkEncode encodes English, and texts of 1 MB that are one word for many splits, by one thread, ids only. What
// to look at is MB/s against english's: a text may cost at most five times as much a byte.
func BenchmarkEncode(b *testing.B) {
	names, all := benchTokenizers(b)
	const size = 1 << 20
	random := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = 'a' + byte(r.IntN(26))
	}
	texts := map[string][]string{
		"english": english(b),
		"letter":  {strings.Repeat("a", size)},
		"word":    {strings.Repeat("internationalization", size/20)},
		"random":  {string(random)},
		"spaces":  {strings.Repeat(" ", size)},
		"emoji":   {strings.Repeat("😀", size/4)},
		"breaks":  {strings.Repeat("\n", size)},
		"han":     {strings.Repeat("漢字", size/6)},
	}
	for i, tok := range all {
		for _, name := range []string{"english", "letter", "word", "random", "spaces", "emoji", "breaks", "han"} {
			b.Run(names[i]+"/"+name, func(b *testing.B) { encodeAll(b, tok, texts[name]) })
		}
	}
}

// BenchmarkTexts encodes the texts of the file D2NWG_BENCH_TEXTS, {"name": ["text", …]}, by one thread, ids only.
// internal/tools/tokenizers/bench.mjs compares it with the Rust library on the same texts.
func BenchmarkTexts(b *testing.B) {
	path := os.Getenv("D2NWG_BENCH_TEXTS")
	if path == "" {
		b.Skip("set D2NWG_BENCH_TEXTS to run this benchmark")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var texts map[string][]string
	if err := json.Unmarshal(data, &texts); err != nil {
		b.Fatal(err)
	}
	names, all := benchTokenizers(b)
	for i, tok := range all {
		for name, of := range texts {
			b.Run(names[i]+"/"+name, func(b *testing.B) { encodeAll(b, tok, of) })
		}
	}
}

func encodeAll(b *testing.B, tok Tokenizer, texts []string) {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	b.SetBytes(int64(n))
	for b.Loop() {
		for _, t := range texts {
			if _, err := tok.Encode(t, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkOpen reads the shared tokenizers and tells how much memory each keeps.
func BenchmarkOpen(b *testing.B) {
	for _, d := range tokenizerDirs(b) {
		b.Run(filepath.Base(d), func(b *testing.B) {
			var kept Tokenizer
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				var err error
				if kept, err = Open(d); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-kept")
			runtime.KeepAlive(kept)
		})
	}
}
