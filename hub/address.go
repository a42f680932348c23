package hub

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Kind is what a repository holds.
type Kind string

// The kinds of repositories.
const (
	Model   Kind = "model"
	Dataset Kind = "dataset"
)

// Address says where something is: hf://[datasets/]org/name[@revision][/path], file:///folder, or a plain path.
type Address struct {
	Scheme   string // "hf", "file", or "" for a plain path
	Kind     Kind   // of an hf repository; "" otherwise
	Repo     string // "org/name"; the path, for the other schemes
	Revision string // branch, tag, commit or refs/pr/N; "" is the default branch
	Path     string // file or folder inside the repository; "" is all of it
}

// Remote tells whether the address is on another machine.
func (a Address) Remote() bool { return a.Scheme == "hf" }

var (
	scheme   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`) // as the Hub has it: up to 96 characters
	pullRef  = regexp.MustCompile(`^refs/(?:pr/[0-9]+|convert/[A-Za-z0-9_.-]+)(?:/|$)`)
)

// Parse reads an address. Revisions may hold slashes as %2F; refs/pr/N stands as it is. Names that could reach outside
// their folder are refused. The error matches ErrAddress.
func Parse(s string) (Address, error) {
	switch {
	case strings.HasPrefix(s, "hf://"):
		return parseHF(s)
	case strings.HasPrefix(s, "file://"):
		return parseFile(s)
	case scheme.MatchString(s):
		return Address{}, badAddress(s, "its scheme is unknown; known are hf:// and file://, and plain paths")
	case s == "" || strings.ContainsRune(s, 0):
		return Address{}, badAddress(s, "a path is not empty and has no NUL in it")
	}
	return Address{Repo: s}, nil
}

func parseHF(s string) (Address, error) {
	a := Address{Scheme: "hf", Kind: Model}
	rest := strings.TrimPrefix(s, "hf://")
	if inner, ok := strings.CutPrefix(rest, "datasets/"); ok {
		a.Kind, rest = Dataset, inner
	} else if inner, ok := strings.CutPrefix(rest, "models/"); ok {
		rest = inner
	}
	org, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Address{}, badAddress(s, "it has the form hf://[datasets/]org/name[@revision][/path]")
	}
	end := strings.IndexAny(rest, "@/")
	name := rest
	if end >= 0 {
		name, rest = rest[:end], rest[end:]
	} else {
		rest = ""
	}
	a.Repo = org + "/" + name
	if err := checkRepo(a.Repo); err != nil {
		return Address{}, badAddress(s, err.Error())
	}
	if after, ok := strings.CutPrefix(rest, "@"); ok {
		var err error
		if a.Revision, rest, err = cutRevision(after); err != nil {
			return Address{}, badAddress(s, err.Error())
		}
	}
	if a.Path = strings.TrimSuffix(strings.TrimPrefix(rest, "/"), "/"); a.Path != "" {
		if err := CheckName(a.Path); err != nil {
			return Address{}, badAddress(s, err.Error())
		}
	}
	return a, nil
}

// cutRevision splits "rev/path"; rest begins with the slash.
func cutRevision(s string) (revision, rest string, err error) {
	end := strings.IndexByte(s, '/')
	if m := pullRef.FindString(s); m != "" {
		end = len(strings.TrimSuffix(m, "/"))
	}
	if end < 0 {
		end = len(s)
	}
	if revision, err = url.PathUnescape(s[:end]); err != nil {
		return "", "", fmt.Errorf("its revision is not escaped correctly")
	}
	return revision, s[end:], checkRevision(revision)
}

func parseFile(s string) (Address, error) {
	path, err := url.PathUnescape(strings.TrimPrefix(s, "file://"))
	if err != nil || !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return Address{}, badAddress(s, "it has the form file:///absolute/path; a path relative to this folder is written without file://")
	}
	return Address{Scheme: "file", Repo: path}, nil
}

// String is what Parse reads back as the same address.
func (a Address) String() string {
	switch a.Scheme {
	case "":
		return a.Repo
	case "file":
		return (&url.URL{Scheme: "file", Path: a.Repo}).String()
	}
	s := a.Scheme + "://"
	if a.Kind == Dataset {
		s += "datasets/"
	}
	s += a.Repo
	if a.Revision != "" {
		if m := pullRef.FindString(a.Revision); m == a.Revision {
			s += "@" + a.Revision
		} else {
			s += "@" + url.PathEscape(a.Revision)
		}
	}
	if a.Path != "" {
		s += "/" + a.Path
	}
	return s
}

// checkRepo holds the Hub's rule for repository names, which also keeps "--" free to separate the parts in the cache.
func checkRepo(repo string) error {
	org, name, ok := strings.Cut(repo, "/")
	for _, part := range []string{org, name} {
		if !ok || !repoPart.MatchString(part) || strings.Contains(part, "..") || strings.Contains(part, "--") {
			return fmt.Errorf("%q is not org/name with letters, digits, single dots, hyphens and underscores", repo)
		}
	}
	return nil
}

// checkRevision refuses what git refuses as a reference, since a revision becomes a file name in the cache.
func checkRevision(revision string) error {
	if err := CheckName(revision); err != nil || strings.ContainsAny(revision, " ~^:?*[") || strings.HasPrefix(revision, "-") {
		return fmt.Errorf("%q is not a revision", revision)
	}
	return nil
}

// CheckName refuses names of files in a repository that could mean something outside it, here or on another system:
// absolute, with "..", ".", empty parts, a drive, a backslash or control characters. The error matches ErrAddress.
func CheckName(name string) error {
	bad := name == "" || len(name) > 1024 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
	bad = bad || (len(name) > 1 && name[1] == ':')
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > 255
	}
	if bad {
		return fmt.Errorf("%w: %q is no safe file name", ErrAddress, name)
	}
	return nil
}

func badAddress(s, why string) error { return fmt.Errorf("%w: %q: %s", ErrAddress, s, why) }
