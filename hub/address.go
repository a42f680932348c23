package hub

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"d2nwg/hub/internal/names"
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
	scheme  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	pullRef = regexp.MustCompile(`^refs/(?:pr/[0-9]+|convert/[A-Za-z0-9_.-]+)(?:/|$)`)
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
	if err := names.Repo(a.Repo); err != nil {
		return Address{}, badAddress(s, err.Error())
	}
	if after, ok := strings.CutPrefix(rest, "@"); ok {
		var err error
		if a.Revision, rest, err = cutRevision(after); err != nil {
			return Address{}, badAddress(s, err.Error())
		}
	}
	if a.Path = strings.TrimSuffix(strings.TrimPrefix(rest, "/"), "/"); a.Path != "" {
		if err := names.File(a.Path); err != nil {
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
	return revision, s[end:], names.Revision(revision)
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

// CheckName refuses names of files in a repository that could mean something outside it, here or on another system:
// absolute, with "..", ".", empty parts, a drive, a backslash, control characters or a part ".git". The error matches
// ErrAddress.
func CheckName(name string) error {
	if err := names.File(name); err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return nil
}

func badAddress(s, why string) error { return fmt.Errorf("%w: %q: %s", ErrAddress, s, why) }
