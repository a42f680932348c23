package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pull is a discussion, or a pull request.
type pull struct {
	Number      int       `json:"number"`
	Title       string    `json:"title"`
	Description string    `json:"description,omitempty"`
	Author      string    `json:"author"`
	Date        time.Time `json:"date"`
	Status      string    `json:"status"` // draft, open, closed or merged
	Request     bool      `json:"request"`
	Base        string    `json:"base,omitempty"`   // the branch it is for
	Merged      string    `json:"merged,omitempty"` // the commit that brought it there
}

func (d *pull) ref() string { return fmt.Sprintf("refs/pr/%d", d.Number) }

// newPull makes the next discussion; the caller holds p.writing.
func (p *repo) newPull(title, description, author string, date time.Time, request bool) *pull {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return &pull{Number: len(p.pulls) + 1, Title: title, Description: description, Author: author, Date: date, Status: "open", Request: request}
}

// pullAt finds the pull request of a reference; nil if it is none's.
func (p *repo) pullAt(ref string) *pull {
	number, ok := strings.CutPrefix(ref, "refs/pr/")
	if !ok {
		return nil
	}
	return p.pull(number)
}

func (p *repo) pull(number string) *pull {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= len(p.pulls) {
		return p.pulls[n-1]
	}
	return nil
}

// baseBranch is where a pull request made from rev will go.
func baseBranch(p *repo, rev string) string {
	if ref, ok := p.reference(rev); ok && strings.HasPrefix(ref, "refs/heads/") {
		return ref
	}
	return mainRef
}

// describe is how a discussion looks to clients.
func (d *pull) describe(p *repo) map[string]any {
	return map[string]any{
		"num": d.Number, "title": d.Title, "status": d.Status, "isPullRequest": d.Request, "numComments": 1,
		"author": map[string]any{"name": d.Author, "type": "user"}, "createdAt": formatTime(d.Date),
		"repo": map[string]any{"name": p.name, "type": p.kind},
	}
}

// discussions lists all, newest first, or shows one.
func (q *request) discussions() error {
	if len(q.args) > 1 {
		return errNoPage
	}
	if len(q.args) == 1 {
		d := q.repo.pull(q.args[0])
		if d == nil {
			return failf(http.StatusNotFound, "There is no discussion %s", q.args[0])
		}
		full := d.describe(q.repo)
		full["events"] = []any{map[string]any{"id": fmt.Sprint(d.Number), "type": "comment", "author": map[string]any{"name": d.Author},
			"createdAt": formatTime(d.Date), "data": map[string]any{"edited": false, "hidden": false, "latest": map[string]any{"raw": d.Description, "updatedAt": formatTime(d.Date)}, "history": []any{}}}}
		if d.Request {
			full["changes"] = map[string]any{"base": d.Base, "mergeCommitId": d.Merged}
			full["filesWithConflicts"] = []any{}
		}
		return q.answer(http.StatusOK, full)
	}
	q.repo.mu.RLock()
	all := slices.Clone(q.repo.pulls)
	q.repo.mu.RUnlock()
	list := []any{}
	for _, d := range slices.Backward(all) {
		kind := q.query.Get("type")
		if (kind == "pull_request") != d.Request && kind != "" && kind != "all" {
			continue
		}
		if s := q.query.Get("status"); s != "" && s != "all" && (s == "closed") != (d.Status == "closed" || d.Status == "merged") {
			continue
		}
		if a := q.query.Get("author"); a != "" && a != d.Author {
			continue
		}
		list = append(list, d.describe(q.repo))
	}
	const page = 50
	n, _ := strconv.Atoi(q.query.Get("p")) // the first, if it is no number
	from := min(max(n, 0), len(list)/page) * page
	if n > len(list)/page {
		from = len(list)
	}
	return q.answer(http.StatusOK, map[string]any{"discussions": list[from:min(from+page, len(list))], "count": len(list), "start": from})
}

// discuss opens a discussion or an empty pull request, or acts on one: discussions/{number}/merge, …/status.
func (q *request) discuss() error {
	if len(q.args) > 0 {
		return q.decide()
	}
	var body struct {
		Title, Description string
		PullRequest        bool
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	if strings.TrimSpace(body.Title) == "" {
		return badRequest("A discussion needs a title")
	}
	var d *pull
	err := q.repo.edit(func() (*event, error) {
		d = q.repo.newPull(body.Title, body.Description, q.user.Name, q.now(), body.PullRequest)
		e := &event{Pull: d}
		if d.Request {
			head, err := q.repo.lookup("HEAD")
			if err != nil {
				return nil, err
			}
			d.Status, d.Base, e.Refs = "draft", mainRef, map[string]string{d.ref(): head.ID}
		}
		return e, nil
	})
	if err != nil {
		return err
	}
	return q.answer(http.StatusOK, map[string]any{"num": d.Number, "pullRequest": d.Request, "url": fmt.Sprintf("%s/discussions/%d", q.pageOf(q.repo.kind, q.repo.name), d.Number)})
}

// decide changes a discussion's status, or merges a pull request.
func (q *request) decide() error {
	d := q.repo.pull(q.args[0])
	if d == nil || len(q.args) != 2 {
		return errNoPage
	}
	action := q.args[1]
	if err := q.permit(q.repo, change); err != nil && (action != "status" || d.Author != q.user.Name) {
		return err
	}
	var body struct{ Status string }
	if err := q.decode(&body); err != nil {
		return err
	}
	err := q.repo.edit(func() (*event, error) {
		now := *q.repo.pull(q.args[0])
		if now.Status == "merged" {
			return nil, failf(http.StatusConflict, "Pull request %d is merged already", now.Number)
		}
		switch {
		case action == "merge" && now.Request:
			return q.merge(&now)
		case action == "status" && (body.Status == "open" || body.Status == "closed"):
			now.Status = body.Status
			return &event{Pull: &now}, nil
		}
		return nil, badRequest("A discussion is opened or closed with status, a pull request merged with merge")
	})
	if err != nil {
		return err
	}
	return q.done()
}

// merge brings what a pull request changes into its branch: by moving that forward, or in one new commit where it has
// moved meanwhile and changed other files.
func (q *request) merge(d *pull) (*event, error) {
	p := q.repo
	head, err := p.lookup(d.Base)
	if err != nil {
		return nil, err
	}
	tip, err := p.lookup(d.ref())
	if err != nil {
		return nil, err
	}
	d.Status, d.Merged = "merged", tip.ID
	base := p.fork(head, tip)
	if base == head {
		return &event{Pull: d, Refs: map[string]string{d.Base: tip.ID}}, nil
	}
	var sides [3]map[string]file
	for i, c := range []*commit{base, head, tip} {
		if c == nil {
			continue
		}
		t, err := p.tree(c)
		if err != nil {
			return nil, err
		}
		sides[i] = t.files()
	}
	merged := &commit{Parent: head.ID, Title: fmt.Sprintf("%s (#%d)", d.Title, d.Number), Message: d.Description, Author: q.user.Name, Date: q.now(),
		Changes: difference(sides[0], sides[2])}
	for _, change := range merged.Changes {
		if sides[1][change.Path] != sides[0][change.Path] && sides[1][change.Path] != change.file {
			return nil, failf(http.StatusConflict, "Both %s and pull request %d change %s", d.Base, d.Number, change.Path)
		}
	}
	files := sides[1]
	merged.apply(files)
	t, err := newTree(files)
	if err != nil {
		return nil, err
	}
	merged.name(t)
	d.Merged = merged.ID
	return &event{Commit: merged, Pull: d, Refs: map[string]string{d.Base: merged.ID}}, nil
}

// fork is the newest commit that both histories have; nil if there is none.
func (p *repo) fork(a, b *commit) *commit {
	known := map[*commit]bool{}
	for _, c := range p.history(a) {
		known[c] = true
	}
	for _, c := range p.history(b) {
		if known[c] {
			return c
		}
	}
	return nil
}
