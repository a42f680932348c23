package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// emptyTree is what an empty branch begins with.
var emptyTree = &tree{oid: gitTree(nil)}

// createBranch makes a branch at a revision, or an empty one.
func (q *request) createBranch() error {
	name := strings.Join(q.args, "/")
	if err := checkRevision(name); err != nil {
		return err
	}
	var body struct {
		StartingPoint          string
		EmptyBranch, Overwrite bool
	}
	if q.r.ContentLength != 0 {
		if err := q.decode(&body); err != nil {
			return err
		}
	}
	err := q.repo.edit(func() (*event, error) {
		ref := "refs/heads/" + name
		if err := q.repo.free(ref); err != nil && !body.Overwrite {
			return nil, err
		}
		if body.EmptyBranch {
			c := &commit{Title: "initial commit", Author: q.user.Name, Date: q.now()}
			c.name(emptyTree)
			return &event{Commit: c, Refs: map[string]string{ref: c.ID}}, nil
		}
		c, err := q.repo.lookup(cmp.Or(body.StartingPoint, "HEAD"))
		if err != nil {
			return nil, err
		}
		return &event{Refs: map[string]string{ref: c.ID}}, nil
	})
	if err != nil {
		return err
	}
	return q.done()
}

// free tells whether a reference can be made: git has no a/b beside an a.
func (p *repo) free(ref string) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for have := range p.refs {
		if have == ref || strings.HasPrefix(have, ref+"/") || strings.HasPrefix(ref, have+"/") {
			return failf(http.StatusConflict, "Reference already exists: %s", have)
		}
	}
	return nil
}

func (q *request) deleteBranch() error {
	name := strings.Join(q.args, "/")
	if name == "main" {
		return failf(http.StatusForbidden, "The default branch can't be deleted")
	}
	return q.deleteRef("refs/heads/" + name)
}

func (q *request) deleteTag() error { return q.deleteRef("refs/tags/" + strings.Join(q.args, "/")) }

func (q *request) deleteRef(ref string) error {
	err := q.repo.edit(func() (*event, error) {
		if _, ok := q.repo.reference(ref); !ok {
			return nil, revisionNotFound(ref)
		}
		return &event{Refs: map[string]string{ref: ""}}, nil
	})
	if err != nil {
		return err
	}
	return q.ok()
}

// createTag names a revision.
func (q *request) createTag() error {
	var body struct{ Tag string }
	if err := q.decode(&body); err != nil {
		return err
	}
	if err := checkRevision(body.Tag); err != nil {
		return err
	}
	err := q.repo.edit(func() (*event, error) {
		ref := "refs/tags/" + body.Tag
		if err := q.repo.free(ref); err != nil {
			return nil, err
		}
		c, err := q.repo.lookup(strings.Join(q.args, "/"))
		if err != nil {
			return nil, err
		}
		return &event{Refs: map[string]string{ref: c.ID}}, nil
	})
	if err != nil {
		return err
	}
	return q.done()
}

// listRefs lists branches, tags and, if asked, pull requests.
func (q *request) listRefs() error {
	q.repo.mu.RLock()
	refs := maps.Clone(q.repo.refs)
	q.repo.mu.RUnlock()
	list := func(prefix string) []map[string]any {
		all := []map[string]any{}
		for _, ref := range slices.Sorted(maps.Keys(refs)) {
			if name, ok := strings.CutPrefix(ref, prefix); ok {
				all = append(all, map[string]any{"name": name, "ref": ref, "targetCommit": refs[ref]})
			}
		}
		slices.SortStableFunc(all, func(a, b map[string]any) int { // the default branch comes first
			return cmp.Compare(fmt.Sprint(b["ref"] == mainRef), fmt.Sprint(a["ref"] == mainRef))
		})
		return all
	}
	answer := map[string]any{"branches": list("refs/heads/"), "tags": list("refs/tags/"), "converts": []any{}}
	if q.flag("include_prs") {
		answer["pullRequests"] = list("refs/pr/")
	}
	return q.answer(http.StatusOK, answer)
}
