package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCommittedFiles fails where the assembly isn't what the generator writes.
func TestCommittedFiles(t *testing.T) {
	files := generate()
	folder := filepath.Join("..", "..")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || string(got) != want {
			t.Errorf("%s isn't what the generator writes; run go generate ./llm/engine/kernel", name)
		}
	}
	there, err := filepath.Glob(filepath.Join(folder, "*.s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if _, ok := files[filepath.Base(path)]; !ok {
			t.Errorf("%s doesn't come from the generator", path)
		}
	}
}

// TestDotBF16 compares encodings with those of the GNU assembler, for every register in each place:
// testdata/vdpbf16ps.txt has lines "dst a b bytes", made by testdata/make.sh.
func TestDotBF16(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "vdpbf16ps.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := 0
	for lines := bufio.NewScanner(f); lines.Scan(); seen++ {
		var dst, a, b int
		var want string
		if _, err := fmt.Sscan(lines.Text(), &dst, &a, &b, &want); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", dotBF16(dst, a, b)); !cmp.Equal(got, want) {
			t.Errorf("vdpbf16ps zmm%d, zmm%d, zmm%d is %s, should be %s", dst, a, b, got, want)
		}
	}
	if seen != 1024 {
		t.Errorf("%d encodings, want 1024", seen)
	}
}
