// Package names holds the rules for what may become a file name, a repository or a reference. Client and server share
// them: neither believes the other.
package names

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`) // as the Hub has it: up to 96 characters
	sha1     = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// File refuses names of files in a repository that could mean something outside it, here or on another system: absolute,
// with "..", ".", empty parts, a drive, a backslash or control characters. Nor is anything called .git, in which git would
// find commands to run.
func File(name string) error {
	bad := name == "" || len(name) > 1024 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\\' })
	bad = bad || (len(name) > 1 && name[1] == ':')
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > 255 || strings.EqualFold(part, ".git")
	}
	if bad {
		return fmt.Errorf("%q is no safe file name", name)
	}
	return nil
}

// Repo holds the Hub's rule for repository names, which also keeps "--" free to separate the parts in the cache.
func Repo(repo string) error {
	org, name, ok := strings.Cut(repo, "/")
	for _, part := range []string{org, name} {
		if !ok || !repoPart.MatchString(part) || strings.Contains(part, "..") || strings.Contains(part, "--") {
			return fmt.Errorf("%q is not org/name with letters, digits, single dots, hyphens and underscores", repo)
		}
	}
	return nil
}

// Revision refuses what git refuses as a reference, since a revision becomes a file name in the cache.
func Revision(revision string) error {
	if File(revision) != nil || strings.ContainsAny(revision, " ~^:?*[") || strings.HasPrefix(revision, "-") {
		return fmt.Errorf("%q is not a revision", revision)
	}
	return nil
}

// SHA1 tells whether s is a git object's name: 40 lower-case hex digits.
func SHA1(s string) bool { return sha1.MatchString(s) }

// SHA256 tells whether s is a content hash: 64 lower-case hex digits.
func SHA256(s string) bool { return sha256.MatchString(s) }
