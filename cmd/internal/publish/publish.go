// Package publish prepares what `d2nwg push` sends: the files of a run with its model card, or a folder as it is, held
// against the rules of the licence that they are under.
package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/hub"
	"d2nwg/hub/card"
	"d2nwg/internal/files"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// Options say how to publish.
type Options struct {
	Repo       string // "org/name" that it is published as
	Base       string // folder of the base; "": where the run's recipe says
	BaseModel  string // the base's hub id; "": from the recipe's address, if that is one
	License    string // the base's, where its folder doesn't say
	Patch      bool   // only the generated tensors
	Unverified bool   // even what isn't verified
	Version    string // of this program
	// Resolve turns an address into a path on this machine.
	Resolve func(address string) (string, error)
}

// Publication is what will be sent. Close it.
type Publication struct {
	What     string // "run", "patch" or "folder"
	Files    []hub.File
	License  string   // as the Hub names it
	Verified *bool    // of a run
	Reason   string   // of its verdict
	LeftOut  []string // pickle files of a folder

	temp string
}

// ErrUnverified refuses a run that verified nothing.
var ErrUnverified = errors.New("no verified improvement")

// Close removes what was made for the publication only.
func (p *Publication) Close() error {
	if p.temp == "" {
		return nil
	}
	return os.RemoveAll(p.temp)
}

// IsRun tells a run's folder from any other.
func IsRun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, pipeline.RecipeFile))
	_, journal := os.Stat(filepath.Join(dir, pipeline.JournalFile))
	return err == nil && journal == nil
}

// Folder prepares a folder as it stands, without hidden and pickle files and without what a rollback needs.
func Folder(dir string, opt Options) (*Publication, error) {
	p := &Publication{What: "folder"}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if skipped := strings.HasPrefix(d.Name(), ".") || name == llm.RollbackDir; d.IsDir() || skipped {
			if d.IsDir() && skipped {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if err := checkLink(dir, file); err != nil {
				return err
			}
		}
		st, err := os.Stat(file)
		switch {
		case err != nil:
			return err
		case !st.Mode().IsRegular():
			return nil
		case hub.IsPickle(name):
			p.LeftOut = append(p.LeftOut, name)
			return nil
		}
		p.Files = append(p.Files, hub.File{Path: name, Source: file})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(p.Files) == 0 {
		return nil, fmt.Errorf("%s holds nothing to publish: %w", dir, fs.ErrNotExist)
	}
	l, err := card.FindLicense(dir, filepath.Base(dir), opt.License)
	if err != nil {
		return nil, err
	}
	p.License = l.ID
	return p, p.checkLicense(l, opt.Repo)
}

// checkLink refuses a link that would send what isn't in the folder, such as a token whose path somebody else wrote into
// the folder they gave away. A snapshot in a hub's cache may link to the cache's blobs beside it.
func checkLink(dir, file string) error {
	root, errRoot := realPath(dir)
	target, errTarget := realPath(file)
	st, err := os.Stat(file)
	if err := errors.Join(errRoot, errTarget, err); err != nil {
		return err
	}
	if st.IsDir() {
		return fmt.Errorf("%s is a link to a folder, which push doesn't follow: put the folder itself there, or remove the link", file)
	}
	blobs := filepath.Dir(target)
	if inside(target, root) || filepath.Base(blobs) == "blobs" && inside(root, filepath.Join(blobs, "..", "snapshots")) {
		return nil
	}
	return fmt.Errorf("%s is a link to %s, outside of the folder: put the file itself there, or remove the link", file, target)
}

// realPath is the absolute path without links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// inside tells whether a path lies below a folder.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// checkLicense holds the files that would be sent against the licence.
func (p *Publication) checkLicense(l card.License, repo string) error {
	var names []string
	for _, f := range p.Files {
		names = append(names, f.Path)
	}
	return l.CheckFolder(repo, names, func(name string) ([]byte, error) {
		i := slices.IndexFunc(p.Files, func(f hub.File) bool { return f.Path == name })
		if p.Files[i].Source == "" {
			return p.Files[i].Data, nil
		}
		return os.ReadFile(p.Files[i].Source)
	})
}

// add puts a file in, in the place of another of the same name.
func (p *Publication) add(f hub.File) {
	if i := slices.IndexFunc(p.Files, func(have hub.File) bool { return have.Path == f.Path }); i >= 0 {
		p.Files[i] = f
		return
	}
	p.Files = append(p.Files, f)
}

// addFolder puts the files of a checkpoint or patch in: those on its top level, without hidden and pickle files.
func (p *Publication) addFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") && !hub.IsPickle(e.Name()) {
			p.add(hub.File{Path: e.Name(), Source: filepath.Join(dir, e.Name())})
		}
	}
	return nil
}

// hashes gives the sha256 of the weight files that are sent.
func (p *Publication) hashes() (map[string]string, error) {
	sums := map[string]string{}
	for _, f := range p.Files {
		if path.Ext(f.Path) != ".safetensors" && f.Path != safetensors.IndexName {
			continue
		}
		sum, err := files.Hash(f.Source)
		if err != nil {
			return nil, err
		}
		sums[f.Path] = sum
	}
	return sums, nil
}
