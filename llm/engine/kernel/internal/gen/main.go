// Gen writes the assembly of package kernel and the Go declarations that go with it, into the folder given as argument:
//
//	go run ./internal/gen .
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen folder")
		os.Exit(2)
	}
	for name, text := range generate() {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// The rows of X that a tile has at most.
const (
	rows512 = 6
	rows256 = 3
)

// generate returns all files by name.
func generate() map[string]string {
	files := map[string]*file{"round_amd64.s": rounding(), "probe_amd64.s": probes()}
	files["vector512_amd64.s"], files["vector256_amd64.s"] = elementwise(64), elementwise(32)
	for _, k := range []kind{f32, f16, bf16, pairs} {
		files["dot512_"+k.name+"_amd64.s"] = newFile().products(64, k, rows512)
		if k != pairs {
			files["dot256_"+k.name+"_amd64.s"] = newFile().products(32, k, rows256)
		}
	}
	out := map[string]string{"asm_amd64.go": declarations(files)}
	for name, f := range files {
		out[name] = f.text.String()
	}
	return out
}

// products writes the matrix kernels of one kind of weights.
func (f *file) products(w width, k kind, rows int) *file {
	if w == 32 {
		f.windows()
	}
	for i := range rows {
		f.dot(w, k, i+1)
	}
	if w == 64 && (k == f32 || k == pairs) {
		f.line(k)
	}
	return f
}
