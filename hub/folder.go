package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// folder is the hub of plain paths and file:// addresses: a repository is a folder on this machine. It has no revisions,
// so Info and Push know no commits, and what needs them is ErrUnsupported.
type folder struct{}

var _ Hub = folder{}

func unsupported(what string, a Address) error {
	return &Error{Kind: ErrUnsupported, What: what + " " + a.String(), Message: "a folder has no such thing", Remedy: "use an hf:// address"}
}

func (folder) WhoAmI(context.Context) (User, error) {
	return User{}, &Error{Kind: ErrUnsupported, What: "whoami", Message: "a folder knows no users"}
}

func (folder) Create(_ context.Context, a Address, o CreateOptions) error {
	err := os.Mkdir(a.Repo, 0o755)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.MkdirAll(a.Repo, 0o755)
	case errors.Is(err, os.ErrExist) && o.ExistOK:
		return nil
	case errors.Is(err, os.ErrExist):
		return &Error{Kind: ErrExists, What: "create " + a.String()}
	}
	return err
}

// Delete is refused: a mistyped path would be deleted with everything in it.
func (folder) Delete(_ context.Context, a Address) error {
	return &Error{Kind: ErrUnsupported, What: "delete " + a.String(), Message: "folders are not deleted", Remedy: "delete it yourself"}
}

func (folder) Commits(_ context.Context, a Address, _ int) ([]CommitInfo, error) {
	return nil, unsupported("list commits of", a)
}

func (folder) Refs(_ context.Context, a Address) ([]Ref, error) {
	return nil, unsupported("list references of", a)
}

func (folder) CreateBranch(_ context.Context, a Address, _ string) error {
	return unsupported("create a branch in", a)
}

func (folder) DeleteBranch(_ context.Context, a Address) error {
	return unsupported("delete a branch of", a)
}

func (folder) PullRequests(_ context.Context, a Address) ([]PullRequest, error) {
	return nil, unsupported("list pull requests of", a)
}

func openFolder(what string, a Address) (*os.Root, error) {
	root, err := os.OpenRoot(a.Repo)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Kind: ErrRepoNotFound, What: what + " " + a.String(), Message: "there is no such folder", Remedy: "check the path"}
	}
	return root, err
}

// List leaves out what isn't a file or a folder, links that lead outside, and .git.
func (folder) List(_ context.Context, a Address, recursive bool) ([]Entry, error) {
	root, err := openFolder("list", a)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	start := "."
	if a.Path != "" {
		start = a.Path
	}
	var entries []Entry
	err = fs.WalkDir(root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == start && d.IsDir() {
			return err
		}
		info, err := root.Stat(name)
		switch {
		case err != nil: // a link that leads nowhere, or outside
			return nil
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir():
			entries = append(entries, Entry{Path: name, Dir: true})
			if !recursive {
				return fs.SkipDir
			}
		case info.Mode().IsRegular():
			entries = append(entries, Entry{Path: name, Size: info.Size()})
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		err = &Error{Kind: ErrEntryNotFound, What: "list " + a.String(), Message: "there is no " + a.Path}
	}
	return entries, err
}

func (f folder) Info(ctx context.Context, a Address) (Info, error) {
	a.Path = ""
	entries, err := f.List(ctx, a, true)
	if err != nil {
		return Info{}, err
	}
	info := Info{Address: a, ID: filepath.Base(a.Repo)}
	for _, e := range entries {
		if !e.Dir {
			info.Files = append(info.Files, e.Path)
			if stat, err := os.Stat(filepath.Join(a.Repo, filepath.FromSlash(e.Path))); err == nil && stat.ModTime().After(info.LastModified) {
				info.LastModified = stat.ModTime().UTC().Truncate(time.Second)
			}
		}
	}
	return info, nil
}

// Pull copies nothing: the folder is its own snapshot.
func (f folder) Pull(ctx context.Context, a Address, o PullOptions) (Snapshot, error) {
	whole := a
	whole.Path = ""
	entries, err := f.List(ctx, whole, true)
	if err != nil {
		return Snapshot{}, err
	}
	chosen, refused, err := choose(a, o, entries)
	if err != nil {
		return Snapshot{}, err
	}
	return newSnapshot(a.Repo, a, "", chosen, refused, 0), nil
}

// Push writes every file beside its place and renames it; deletions come last. It is not atomic as a whole.
func (folder) Push(ctx context.Context, a Address, c Commit) (Pushed, error) {
	if c.Parent != "" || c.CreatePR || a.Revision != "" {
		return Pushed{}, unsupported("commit to", a)
	}
	root, err := openFolder("push to", a)
	if err != nil {
		return Pushed{}, err
	}
	defer root.Close()
	for _, f := range c.Files {
		if err := CheckName(f.Path); err != nil {
			return Pushed{}, err
		}
		if err := errors.Join(ctx.Err(), place(root, f)); err != nil {
			return Pushed{}, fmt.Errorf("push %s to %s: %w", f.Path, a, err)
		}
	}
	for _, name := range c.Delete {
		name = strings.TrimSuffix(name, "/")
		if err := CheckName(name); err != nil {
			return Pushed{}, err
		}
		if err := root.RemoveAll(name); err != nil {
			return Pushed{}, err
		}
	}
	return Pushed{}, nil
}

// place writes one file of a push.
func place(root *os.Root, f File) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	temporary := path.Join(path.Dir(f.Path), "."+path.Base(f.Path)+"."+random()+".incomplete")
	file, err := root.Create(temporary)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, io.NewSectionReader(r, 0, r.size))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = root.Rename(temporary, f.Path)
	}
	if err != nil {
		root.Remove(temporary)
	}
	return err
}

// FilesIn lists a folder's files as a push needs them: regular files and links to some inside, without .git, sorted.
func FilesIn(dir string) ([]File, error) {
	entries, err := folder{}.List(context.Background(), Address{Repo: dir}, true)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, e := range entries {
		if !e.Dir {
			files = append(files, File{Path: e.Path, Source: filepath.Join(dir, filepath.FromSlash(e.Path))})
		}
	}
	return files, nil
}
