package server

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// file is one file of a revision.
type file struct {
	OID    string `json:"oid,omitempty"`    // git's name of the blob; of the pointer, for an LFS file
	SHA256 string `json:"sha256,omitempty"` // of the content
	Size   int64  `json:"size,omitempty"`   // of the content, in bytes
	LFS    bool   `json:"lfs,omitempty"`
}

// etag is what clients keep a file under.
func (f file) etag() string {
	if f.LFS {
		return f.SHA256
	}
	return f.OID
}

// regularFile describes a content that is in git itself.
func regularFile(data []byte, sum string) file {
	return file{OID: gitID("blob", data), SHA256: sum, Size: int64(len(data))}
}

// lfsFile describes a content that git only knows a pointer to.
func lfsFile(sum string, size int64) file {
	return file{OID: gitID("blob", pointer(sum, size)), SHA256: sum, Size: size, LFS: true}
}

// pointer is what git holds in the place of an LFS file.
func pointer(sum string, size int64) []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, size)
}

// entry is a file or a folder.
type entry struct {
	Path string
	Dir  bool
	file
}

// tree is all that a commit holds: files and folders, sorted by path. It is never changed.
type tree struct {
	entries []entry
	oid     string // git's name of the root folder
}

// find looks a path up.
func (t *tree) find(path string) (entry, bool) {
	i, ok := slices.BinarySearchFunc(t.entries, path, func(e entry, p string) int { return cmp.Compare(e.Path, p) })
	if !ok {
		return entry{}, false
	}
	return t.entries[i], true
}

// below returns everything in a folder, however deep; "" is the root.
func (t *tree) below(dir string) []entry {
	if dir == "" {
		return t.entries
	}
	from, _ := slices.BinarySearchFunc(t.entries, dir+"/", func(e entry, p string) int { return cmp.Compare(e.Path, p) })
	to, _ := slices.BinarySearchFunc(t.entries, dir+"0", func(e entry, p string) int { return cmp.Compare(e.Path, p) }) // '0' follows '/'
	return t.entries[from:to]
}

// files returns the files by path.
func (t *tree) files() map[string]file {
	all := make(map[string]file, len(t.entries))
	for _, e := range t.entries {
		if !e.Dir {
			all[e.Path] = e.file
		}
	}
	return all
}

// newTree builds the folders above the files and names all of them as git does.
func newTree(files map[string]file) (*tree, error) {
	t := &tree{entries: make([]entry, 0, len(files)+len(files)/8)}
	folders := map[string][]entry{"": nil} // what is directly in each folder
	for path, f := range files {
		e := entry{Path: path, file: f}
		t.entries = append(t.entries, e)
		dir := parent(path)
		folders[dir] = append(folders[dir], e)
		for ; dir != ""; dir = parent(dir) {
			if _, isFile := files[dir]; isFile {
				return nil, badRequest("%q can't be a file and a folder at once", dir)
			}
			if _, known := folders[dir]; !known {
				folders[dir] = nil
			}
		}
	}
	// From the deepest folder up, so that each is named before the one that holds it.
	byDepth := slices.SortedFunc(maps.Keys(folders), func(a, b string) int {
		return cmp.Or(strings.Count(b, "/")-strings.Count(a, "/"), len(b)-len(a))
	})
	for _, dir := range byDepth {
		oid := gitTree(folders[dir])
		if dir == "" {
			t.oid = oid
			break
		}
		e := entry{Path: dir, Dir: true, file: file{OID: oid}}
		t.entries = append(t.entries, e)
		folders[parent(dir)] = append(folders[parent(dir)], e)
	}
	slices.SortFunc(t.entries, func(a, b entry) int { return cmp.Compare(a.Path, b.Path) })
	return t, nil
}

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }

// gitTree is git's name of a folder with these entries.
func gitTree(entries []entry) string {
	name := func(e entry) string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }
	key := func(e entry) string { // git sorts folders as if their names ended with a slash
		if e.Dir {
			return name(e) + "/"
		}
		return name(e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(key(a), key(b)) })
	var b bytes.Buffer
	for _, e := range entries {
		mode := "100644"
		if e.Dir {
			mode = "40000"
		}
		raw, _ := hex.DecodeString(e.OID) // made by gitID
		fmt.Fprintf(&b, "%s %s\x00%s", mode, name(e), raw)
	}
	return gitID("tree", b.Bytes())
}

// gitID names an object as git does.
func gitID(kind string, data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// commit is one step of a repository's history.
type commit struct {
	ID      string    `json:"id"`
	Parent  string    `json:"parent,omitempty"`
	Title   string    `json:"title"`
	Message string    `json:"message,omitempty"`
	Author  string    `json:"author"`
	Date    time.Time `json:"date"`
	Changes []delta   `json:"changes,omitempty"`
}

// delta is a path that a commit sets, or removes where OID is empty.
type delta struct {
	Path string `json:"path"`
	file
}

// name computes the commit's id: git's, for its content.
func (c *commit) name(t *tree) {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", t.oid)
	if c.Parent != "" {
		fmt.Fprintf(&b, "parent %s\n", c.Parent)
	}
	for _, who := range []string{"author", "committer"} {
		fmt.Fprintf(&b, "%s %s <%s@localhost> %d +0000\n", who, c.Author, c.Author, c.Date.Unix())
	}
	fmt.Fprintf(&b, "\n%s\n", c.Title)
	if c.Message != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Message)
	}
	c.ID = gitID("commit", []byte(b.String()))
}

// apply carries the commit's changes out.
func (c *commit) apply(files map[string]file) {
	for _, d := range c.Changes {
		if d.OID == "" {
			delete(files, d.Path)
		} else {
			files[d.Path] = d.file
		}
	}
}

// formatTime writes times as the Hub does.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
