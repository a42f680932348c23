package imports

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Limits of the house style ("under ~400 lines, functions under ~60"), with the slack the tilde means.
const (
	maxFileLines     = 450
	maxFunctionLines = 75
)

// source is one Go file of the project.
type source struct {
	path string // relative to the module's folder
	data []byte
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file of the module, whatever its build constraints.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "runs" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, data, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		all = append(all, source{filepath.ToSlash(rel), data, file, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// TestFilesAndFunctionsStayShort leaves generated files out, and functions of tests.
func TestFilesAndFunctionsStayShort(t *testing.T) {
	for _, s := range sources(t) {
		if ast.IsGenerated(s.file) {
			continue
		}
		if n := bytes.Count(s.data, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, the limit is %d", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil || s.isTest() {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, the limit is %d", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// TestLibrariesNeitherPrintNorExit allows output, exits and dot imports in no library.
func TestLibrariesNeitherPrintNorExit(t *testing.T) {
	forbidden := map[string]string{
		"fmt.Print": "prints", "fmt.Println": "prints", "fmt.Printf": "prints",
		"log.Print": "prints", "log.Println": "prints", "log.Printf": "prints",
		"log.Fatal": "exits", "log.Fatalf": "exits", "log.Fatalln": "exits", "os.Exit": "exits",
	}
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			if spec.Name != nil && spec.Name.Name == "." {
				t.Errorf("%s: dot import of %s", s.path, spec.Path.Value)
			}
		}
		if s.isTest() || s.file.Name.Name == "main" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok {
					if what := forbidden[x.Name+"."+sel.Sel.Name]; what != "" {
						t.Errorf("%s: %s.%s %s; a library returns errors and reports progress", s.fset.Position(call.Pos()), x.Name, sel.Sel.Name, what)
					}
				}
			}
			return true
		})
	}
}

// TestNothingIsLeftUnfinished finds the marks people leave where work is missing.
func TestNothingIsLeftUnfinished(t *testing.T) {
	mark := regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME|` + "XX" + `X)\b`)
	for _, s := range sources(t) {
		if m := mark.Find(s.data); m != nil {
			t.Errorf("%s: %s", s.path, m)
		}
	}
}
