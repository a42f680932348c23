package llm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"d2nwg/safetensors"
)

// anonymous returns the process' anonymous resident memory in bytes, 0 where
// the system doesn't tell.
func anonymous() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			var kb int64
			fmt.Sscan(rest, &kb)
			return kb << 10
		}
	}
	return 0
}

// peakAnonymous samples the anonymous memory until the returned function is
// called, which gives the highest sample.
func peakAnonymous() func() int64 {
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		peak := anonymous()
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				peak = max(peak, anonymous())
			case <-stop:
				done <- peak
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-done }
}

// BenchmarkWriteLlama32_1B makes a random checkpoint of LLaMA-3.2-1B's shape
// below TMPDIR (2.5 GB, three times that at the end of a round) and compares
// writing a variant of three replaced tensors with cp -r and sync -f:
//
//	go test ./llm -run '^$' -bench WriteLlama32_1B -benchtime 3x -timeout 30m
func BenchmarkWriteLlama32_1B(b *testing.B) {
	root := b.TempDir()
	base := filepath.Join(root, "base")
	began := time.Now()
	if err := RandomCheckpoint(base, Llama32_1B(), safetensors.BF16, 0, 1); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s-create")
	began = time.Now()
	c, err := Open(base)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms-open")
	v := &Variant{Base: c, Replace: map[string][]float32{}}
	for _, name := range []string{"model.layers.3.mlp.gate_proj.weight", "model.layers.7.self_attn.q_proj.weight", "model.norm.weight"} {
		if v.Replace[name], err = c.Float32(name); err != nil {
			b.Fatal(err)
		}
	}
	var write, copied time.Duration
	var peak int64
	run := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	for range b.N {
		began = time.Now()
		run("cp", "-r", base, filepath.Join(root, "copy"))
		run("sync", "-f", filepath.Join(root, "copy"))
		copied += time.Since(began)
		run("rm", "-r", filepath.Join(root, "copy"))
		run("sync", "-f", root)

		stop := peakAnonymous()
		began = time.Now()
		if err := v.Write(filepath.Join(root, "variant"), WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		write += time.Since(began)
		peak = max(peak, stop())
		run("rm", "-r", filepath.Join(root, "variant"))
		run("sync", "-f", root)
	}
	b.ReportMetric(write.Seconds()/float64(b.N), "s-write")
	b.ReportMetric(copied.Seconds()/float64(b.N), "s-cp")
	b.ReportMetric(write.Seconds()/copied.Seconds(), "write/cp")
	b.ReportMetric(float64(peak)/1e6, "MB-anonymous")
	b.ReportMetric(0, "ns/op")
}
