// Package imports holds the test of the project's structure: which package may import which, and the
// style rules a compiler does not check.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "d2nwg"

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// root is the module's folder, seen from this package.
var root = filepath.Join("..", "..")

// goList runs `go list -deps` over the module and returns all packages by path.
func goList(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-e",
		"-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string]pkg{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
	if len(packages) < 20 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	return packages
}

// local strips the module from an import path: "d2nwg/llm/engine" → "llm/engine"; "" and false for others.
func local(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// in tells whether a local path is one of the trees (a tree is a path and all below it).
func in(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

// mayImport lists, for each tree, the trees it may import besides itself. The longest match counts, so
// the line for llm/train stands beside the one for llm.
var mayImport = map[string][]string{
	"safetensors": {},
	"internal":    {"safetensors", "internal"},
	"llm":         {"safetensors", "internal/progress", "internal/jinja"},
	"llm/train":   {"llm", "safetensors", "internal"},
	"generator":   {"llm", "safetensors", "internal"},
	"eval":        {"llm", "safetensors", "internal"},
	"hub":         {"safetensors", "internal"},
	"cmd":         {"llm", "generator", "eval", "hub", "safetensors", "internal"},
}

// external lists where the libraries that must not spread may be imported.
var external = []struct {
	prefix  string
	allowed []string
	tests   bool // tests anywhere may import it too
}{
	{"github.com/gomlx/", []string{"generator", "llm/train", "internal/compute"}, false},
	{"github.com/urfave/cli", []string{"cmd"}, false},
	{"github.com/vbauerster/mpb", []string{"cmd/internal/ui"}, false},
	{"github.com/nikolalohinski/gonja", []string{"internal/jinja"}, false},
	{"github.com/dlclark/regexp2", []string{"llm/tokenizer", "llm/lora", "eval/metric"}, false},
	{"github.com/parquet-go/parquet-go", []string{"eval/task"}, false},
	{"github.com/daulet/tokenizers", []string{"llm/tokenizer"}, false},
	{"golang.org/x/term", []string{"cmd"}, false},
	{"gonum.org/v1/plot", []string{"cmd/internal/ui"}, false},
	{"github.com/nlpodyssey/spago", nil, true},
	{"github.com/google/go-cmp", nil, true},
	{"pgregory.net/rapid", nil, true},
	{"github.com/rogpeppe/go-internal", nil, true},
}

// apart lists trees that must not reach each other, even through others.
var apart = [][2]string{
	{"eval", "generator"}, {"generator", "eval"}, {"eval", "hub"}, {"hub", "eval"}, {"generator", "hub"}, {"hub", "generator"},
	{"generator/vae", "generator/diffusion"}, {"generator/diffusion", "generator/vae"},
	{"hub", "llm"},
}

func TestImportsGoOnlyDownward(t *testing.T) {
	for importPath, p := range goList(t) {
		name, ours := local(importPath)
		if !ours {
			continue
		}
		rule := ""
		for tree := range mayImport {
			if in(name, tree) && len(tree) > len(rule) {
				rule = tree
			}
		}
		if rule == "" {
			t.Errorf("%s is in no tree of the design: add it to mayImport", name)
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			target, ours := local(imported)
			if ours && !in(target, rule) && !in(target, mayImport[rule]...) {
				t.Errorf("%s imports %s; %s may import only %v", name, target, rule, mayImport[rule])
			}
		}
	}
}

// TestLibrariesStayWhereTheyBelong reads the files themselves, so that those of other platforms and
// build tags count too.
func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, s := range sources(t) {
		name := path.Dir(s.path)
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range external {
				if strings.HasPrefix(imported, rule.prefix) && !in(name, rule.allowed...) && !(rule.tests && s.isTest()) {
					t.Errorf("%s imports %s, which only %v may", s.path, imported, rule.allowed)
				}
			}
		}
	}
}

func TestTreesStayApart(t *testing.T) {
	packages := goList(t)
	for importPath, p := range packages {
		name, ours := local(importPath)
		if !ours {
			continue
		}
		for _, dep := range p.Deps {
			target, ours := local(dep)
			for _, rule := range apart {
				if ours && in(name, rule[0]) && in(target, rule[1]) && (name != rule[1]) {
					t.Errorf("%s reaches %s", name, target)
				}
			}
			if name == "safetensors" && !packages[dep].Standard && !strings.HasPrefix(dep, "golang.org/x/sys") && !strings.HasPrefix(dep, "vendor/") {
				t.Errorf("safetensors reaches %s; it may use the standard library and x/sys only", dep)
			}
			if in(name, "safetensors", "llm", "eval") && !in(name, "llm/train") && strings.HasPrefix(dep, "github.com/gomlx/") {
				t.Errorf("%s reaches %s; only training uses GoMLX", name, dep)
			}
		}
		both := slices.Contains(p.Imports, module+"/generator/vae") && slices.Contains(p.Imports, module+"/generator/diffusion")
		if both && name != "generator" {
			t.Errorf("%s imports vae and diffusion, which meet only in generator", name)
		}
	}
}
