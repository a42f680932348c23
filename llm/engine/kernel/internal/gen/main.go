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
	files := map[string]*file{}
	for _, k := range []kind{f32, f16, bf16, pairs} {
		f := newFile()
		for rows := range rows512 {
			f.dot(64, k, rows+1)
		}
		files["dot512_"+k.name+"_amd64.s"] = f
	}
	f := newFile()
	f.windows()
	for _, k := range []kind{f32, f16, bf16} {
		for rows := range rows256 {
			f.dot(32, k, rows+1)
		}
	}
	files["dot256_amd64.s"] = f
	files["round_amd64.s"] = rounding()
	files["probe_amd64.s"] = probes()
	out := map[string]string{"asm_amd64.go": declarations(files)}
	for name, f := range files {
		out[name] = f.text.String()
	}
	return out
}
