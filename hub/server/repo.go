package server

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"d2nwg/hub/internal/names"
	"d2nwg/internal/journal"
)

// repo is a repository in memory. What it holds is the sum of the events in its journal: each is one line that a crash
// leaves whole or not at all, so a commit with the reference that points to it is there or isn't.
type repo struct {
	kind, name string // "model", "org/name"
	dir        string

	writing sync.Mutex // held by the one who makes the next event
	log     *journal.Journal
	events  int

	mu       sync.RWMutex // for what follows
	gone     bool
	settings settings
	commits  map[string]*commit
	refs     map[string]string // "refs/heads/main" → commit
	pulls    []*pull           // by number, from 1
	objects  map[string]int64  // LFS contents that were uploaded to this repository, with their sizes
	trees    map[string]*tree  // of the commits asked for lately
	recent   []string          // their order
}

// settings is what the owner decides.
type settings struct {
	ID      string            `json:"id"`
	Created time.Time         `json:"created"`
	Private bool              `json:"private,omitempty"`
	Gated   string            `json:"gated,omitempty"`  // "", "auto" or "manual"
	Access  map[string]string `json:"access,omitempty"` // user → pending, accepted or rejected
}

// The states of a request for access.
const (
	pending  = "pending"
	accepted = "accepted"
	rejected = "rejected"
)

// event is one step of a repository's life; its parts happen together.
type event struct {
	Settings *settings         `json:"settings,omitempty"`
	Commit   *commit           `json:"commit,omitempty"`
	Refs     map[string]string `json:"refs,omitempty"` // what references point to from now on; "" removes one
	Pull     *pull             `json:"pull,omitempty"`
	Objects  map[string]int64  `json:"objects,omitempty"`
}

const eventKind = "event"

// openRepo reads a repository's journal, or begins one.
func openRepo(dir, kind, name string) (*repo, error) {
	log, err := journal.Open(filepath.Join(dir, "log.jsonl"))
	if err != nil {
		return nil, err
	}
	p := &repo{kind: kind, name: name, dir: dir, log: log, commits: map[string]*commit{}, refs: map[string]string{},
		objects: map[string]int64{}, trees: map[string]*tree{}}
	for _, key := range log.Keys(eventKind) {
		var e event
		if _, err := log.Get(eventKind, key, &e); err != nil {
			log.Close()
			return nil, err
		}
		p.apply(&e)
	}
	return p, nil
}

// apply takes an event in.
func (p *repo) apply(e *event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events++
	if e.Settings != nil {
		p.settings = *e.Settings
	}
	if e.Commit != nil {
		p.commits[e.Commit.ID] = e.Commit
	}
	for ref, id := range e.Refs {
		if id == "" {
			delete(p.refs, ref)
		} else {
			p.refs[ref] = id
		}
	}
	if e.Pull != nil {
		if e.Pull.Number > len(p.pulls) {
			p.pulls = append(p.pulls, e.Pull)
		} else {
			p.pulls[e.Pull.Number-1] = e.Pull
		}
	}
	maps.Copy(p.objects, e.Objects)
}

// record makes an event happen; the caller holds p.writing. It is on the disk when record returns.
func (p *repo) record(e *event) error {
	if p.deleted() {
		return errRepoNotFound
	}
	if err := p.log.Append(eventKind, strconv.Itoa(p.events), e); err != nil {
		return err
	}
	p.apply(e)
	return nil
}

// edit lets f make the next event from the repository's state, which nobody else changes meanwhile.
func (p *repo) edit(f func() (*event, error)) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	e, err := f()
	if err != nil || e == nil {
		return err
	}
	return p.record(e)
}

// remove takes the repository away: its folder goes under another name at once, and then for good.
func (p *repo) remove(trash string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.deleted() {
		return errRepoNotFound
	}
	if err := os.Rename(p.dir, trash); err != nil {
		return err
	}
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	if err := p.log.Close(); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(p.dir)); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

func (p *repo) deleted() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.gone
}

func (p *repo) currentSettings() settings {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.settings
}

// object returns the size of an LFS content that was uploaded to this repository.
func (p *repo) object(sum string) (size int64, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	size, ok = p.objects[sum]
	return size, ok
}

// addObject remembers an upload.
func (p *repo) addObject(sum string, size int64) error {
	return p.edit(func() (*event, error) {
		if _, known := p.object(sum); known {
			return nil, nil
		}
		return &event{Objects: map[string]int64{sum: size}}, nil
	})
}

const mainRef = "refs/heads/main"

// reference gives a revision its full name: that of a branch, a tag or a pull request. ok is false for a commit's id and
// for what isn't there.
func (p *repo) reference(rev string) (ref string, ok bool) {
	candidates := []string{"refs/heads/" + rev, "refs/tags/" + rev}
	if rev == "HEAD" {
		candidates = []string{mainRef}
	} else if strings.HasPrefix(rev, "refs/") {
		candidates = []string{rev}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, ref := range candidates {
		if _, ok := p.refs[ref]; ok {
			return ref, true
		}
	}
	return "", false
}

// lookup finds the commit a revision stands for.
func (p *repo) lookup(rev string) (*commit, error) {
	ref, named := p.reference(rev)
	p.mu.RLock()
	defer p.mu.RUnlock()
	id := rev
	if named {
		id = p.refs[ref]
	}
	if c := p.commits[id]; c != nil {
		return c, nil
	}
	return nil, revisionNotFound(rev)
}

// split finds the revision at the beginning of a path. Clients escape the slashes in it, or don't.
func (p *repo) split(args []string) (c *commit, path string, err error) {
	for n := 1; n <= min(len(args), 8); n++ {
		if c, err := p.lookup(strings.Join(args[:n], "/")); err == nil {
			return c, strings.Join(args[n:], "/"), nil
		}
	}
	if len(args) == 0 {
		return nil, "", errNoPage
	}
	return nil, "", revisionNotFound(args[0])
}

// snapshots is how many trees a repository keeps at hand.
const snapshots = 8

// tree returns what a commit holds. Trees asked for lately are at hand, others are built from the nearest of those, or
// from nothing.
func (p *repo) tree(c *commit) (*tree, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.trees[c.ID]; t != nil {
		return t, nil
	}
	var missing []*commit
	files := map[string]file{}
	for at := c; at != nil; at = p.commits[at.Parent] {
		if t := p.trees[at.ID]; t != nil {
			files = t.files()
			break
		}
		missing = append(missing, at)
	}
	for _, step := range slices.Backward(missing) {
		step.apply(files)
	}
	t, err := newTree(files)
	if err != nil {
		return nil, fmt.Errorf("commit %s of %s: %w", c.ID, p.name, err)
	}
	p.keep(c, t)
	return t, nil
}

// keep has a commit's tree at hand from now on; the caller holds p.mu.
func (p *repo) keep(c *commit, t *tree) {
	if p.trees[c.ID] != nil {
		return
	}
	p.trees[c.ID], p.recent = t, append(p.recent, c.ID)
	if len(p.recent) > snapshots {
		delete(p.trees, p.recent[0])
		p.recent = p.recent[1:]
	}
}

// history lists the commits from c back to the first.
func (p *repo) history(c *commit) []*commit {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var all []*commit
	for ; c != nil; c = p.commits[c.Parent] {
		all = append(all, c)
	}
	return all
}

// lastChanges finds, for each of some entries of c's tree, the newest commit that touched it. For a folder that is the
// newest one that touched anything in it.
func (p *repo) lastChanges(c *commit, entries []entry) map[string]*commit {
	wanted := make(map[string]bool, len(entries))
	for _, e := range entries {
		wanted[e.Path] = true
	}
	found := make(map[string]*commit, len(entries))
	for _, at := range p.history(c) {
		for _, d := range at.Changes {
			for path := d.Path; path != ""; path = parent(path) {
				if wanted[path] && found[path] == nil {
					found[path] = at
				}
			}
		}
		if len(found) == len(wanted) {
			break
		}
	}
	return found
}

// checkPath refuses names that no file of a repository may have.
func checkPath(path string) error {
	if err := names.File(path); err != nil {
		return badRequest("%v", err)
	}
	return nil
}
