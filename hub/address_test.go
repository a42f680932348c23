package hub

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	hf := func(kind Kind, repo, revision, path string) Address { return Address{"hf", kind, repo, revision, path} }
	for s, want := range map[string]Address{
		"hf://org/name":                       hf(Model, "org/name", "", ""),
		"hf://models/org/name":                hf(Model, "org/name", "", ""),
		"hf://datasets/org/name":              hf(Dataset, "org/name", "", ""),
		"hf://org/name@main":                  hf(Model, "org/name", "main", ""),
		"hf://org/name@v1.0/sub/x.json":       hf(Model, "org/name", "v1.0", "sub/x.json"),
		"hf://org/name/sub@2/":                hf(Model, "org/name", "", "sub@2"),
		"hf://org/name@exp%2Fone/x":           hf(Model, "org/name", "exp/one", "x"),
		"hf://org/name@refs/pr/12":            hf(Model, "org/name", "refs/pr/12", ""),
		"hf://org/name@refs/pr/12/x":          hf(Model, "org/name", "refs/pr/12", "x"),
		"hf://org/name@refs%2Fpr%2F12/x":      hf(Model, "org/name", "refs/pr/12", "x"),
		"hf://org/name@refs/convert/parquet":  hf(Model, "org/name", "refs/convert/parquet", ""),
		"hf://datasets/o/n@" + fakeCommit:     hf(Dataset, "o/n", fakeCommit, ""),
		"hf://meta-llama/Llama-3.2-1B/a b+ü%": hf(Model, "meta-llama/Llama-3.2-1B", "", "a b+ü%"),
		"file:///some/dir%20x":                {Scheme: "file", Repo: "/some/dir x"},
		"models/mine":                         {Repo: "models/mine"},
		"./org/name@main":                     {Repo: "./org/name@main"},
		"/absolute":                           {Repo: "/absolute"},
		"hf:org":                              {Repo: "hf:org"},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("%s is read as %+v, %v", s, got, err)
			continue
		}
		if back, err := Parse(got.String()); err != nil || back != got {
			t.Errorf("%s is written %s, which is read as %+v, %v", s, got, back, err)
		}
	}
	for _, s := range []string{
		"", "a\x00b", "hf://", "hf://name", "hf://org/", "hf://org//x", "hf://datasets/name", "hf://../name", "hf://org/..", "hf://org/na--me", "hf://org/na..me", "hf://-org/name",
		"hf://org/name@", "hf://org/name@a b", "hf://org/name@../x", "hf://org/name@..", "hf://org/name@%2e%2e%2fx", "hf://org/name@%zz", "hf://org/name@a:b",
		"hf://org/name/../x", "hf://org/name/a//b", `hf://org/name/a\b`, "hf://org/name/a/./b", "hf://org/name/c:/x", "hf://user:pass@host/x/y",
		"file://relative", "file://host/x", "file:///a%00b", "oci://x/y", "https://huggingface.co/org/name", "hf://" + strings.Repeat("x", 97) + "/name",
	} {
		if a, err := Parse(s); !errors.Is(err, ErrAddress) {
			t.Errorf("%q is read as %+v, %v", s, a, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"hf://org/name@refs/pr/1/x", "hf://datasets/o/n@a%2Fb/c", "file:///a%20b", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if back, err := Parse(a.String()); err != nil || back != a {
			t.Errorf("%q is read as %+v and written %q, which is read as %+v, %v", s, a, a, back, err)
		}
		if a.Remote() && a.check() != nil {
			t.Errorf("%q is read as %+v, which %v", s, a, a.check())
		}
	})
}
