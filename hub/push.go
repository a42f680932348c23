package hub

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"d2nwg/hub/internal/names"
	"d2nwg/internal/progress"
)

func (h *hf) Push(ctx context.Context, a Address, c Commit) (Pushed, error) {
	uploads, err := prepare(a, c)
	if err != nil {
		return Pushed{}, err
	}
	p := &push{h: h, a: a, c: c, uploads: uploads, meter: &meter{report: h.report, event: progress.Event{Stage: "push"}}}
	err = h.retry(ctx, func(*int) error { return p.attempt(ctx) })
	return p.done, err
}

// prepare checks names and looks at the files.
func prepare(a Address, c Commit) ([]*upload, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, name := range c.Delete {
		names[strings.TrimSuffix(name, "/")] = true
		if err := CheckName(strings.TrimSuffix(name, "/")); err != nil {
			return nil, err
		}
	}
	var uploads []*upload
	for _, f := range c.Files {
		if err := CheckName(f.Path); err != nil {
			return nil, err
		}
		if names[f.Path] {
			return nil, fmt.Errorf("%w: %s is named twice in one commit", ErrAddress, f.Path)
		}
		names[f.Path] = true
		u := &upload{File: f, sums: map[string]string{}}
		if err := u.look(); err != nil {
			return nil, err
		}
		uploads = append(uploads, u)
	}
	return uploads, nil
}

// push is one Push. Its attempts each ask the hub anew what is missing, which makes a commit safe to repeat whose answer
// got lost: if it went through, nothing is missing.
type push struct {
	h       *hf
	a       Address
	c       Commit
	uploads []*upload
	meter   *meter
	tried   bool // a commit was sent
	first   map[string]string
	done    Pushed
}

func (p *push) attempt(ctx context.Context) error {
	head, err := p.h.preupload(ctx, p.a, p.c.CreatePR, p.uploads)
	if err != nil {
		return err
	}
	if err := p.untouched(); err != nil {
		return err
	}
	missing, err := p.missing(ctx)
	if err != nil {
		return err
	}
	deleted, err := p.h.deletions(ctx, p.a, p.c.Delete)
	if err != nil {
		return err
	}
	if head == "" {
		at := p.a
		at.Path, at.Revision = "", p.a.rev()
		info, err := p.h.Info(ctx, at)
		if err != nil {
			return err
		}
		head = info.Commit
	}
	if len(missing) == 0 && len(deleted) == 0 {
		p.done.Commit, p.done.Unchanged = head, !p.tried
		return nil
	}
	if p.c.CreatePR {
		if found, err := p.pullRequest(ctx, missing, deleted); err != nil || found {
			return err
		}
	}
	sent, err := p.h.uploadLFS(ctx, p.a, missing, p.meter)
	p.done.Uploaded += sent
	if err != nil {
		return err
	}
	for _, u := range missing {
		if err := u.unmoved(); err != nil {
			return err
		}
	}
	parent := p.c.Parent
	if parent == "" {
		parent = head
	}
	return p.commit(ctx, parent, missing, deleted)
}

// missing are the files whose content the hub doesn't have under their names.
func (p *push) missing(ctx context.Context) ([]*upload, error) {
	err := forEach(ctx, 2, p.uploads, func(_ context.Context, u *upload) error {
		if u.ignored {
			return nil
		}
		_, err := u.sum()
		return err
	})
	var missing []*upload
	for _, u := range p.uploads {
		if sum, _ := u.sum(); err == nil && !u.ignored && sum != u.remote {
			missing = append(missing, u)
		}
	}
	return missing, err
}

// untouched fails when someone else changed one of the files since the first attempt.
func (p *push) untouched() error {
	now := map[string]string{}
	for _, u := range p.uploads {
		now[u.Path] = u.remote
	}
	if p.first == nil {
		p.first = now
	}
	for _, u := range p.uploads {
		if u.remote != p.first[u.Path] && u.remote != u.sums["lfs"] && u.remote != u.sums["regular"] {
			return &Error{Kind: ErrConflict, What: "push to " + p.a.String(), Message: "someone else changed " + u.Path, Remedy: remedies[ErrConflict]}
		}
	}
	return nil
}

// preupload asks how each file is to be sent and what the hub has under its name, and returns the branch's head.
func (h *hf) preupload(ctx context.Context, a Address, pr bool, uploads []*upload) (head string, err error) {
	type file struct {
		Path   string `json:"path"`
		Size   int64  `json:"size"`
		Sample []byte `json:"sample"`
	}
	what := "push to " + a.String()
	for group := range slices.Chunk(uploads, groupSize) {
		var body struct {
			Files []file `json:"files"`
		}
		byPath := map[string]*upload{}
		for _, u := range group {
			body.Files = append(body.Files, file{u.Path, u.size, u.sample})
			byPath[u.Path] = u
		}
		var answer struct {
			CommitOID string
			Files     []struct {
				Path, UploadMode, OID string
				ShouldIgnore          bool
			}
		}
		if _, err := h.request(ctx, what, "POST", h.api(a, "preupload", a.rev())+createPR(pr), body, &answer); err != nil {
			return "", err
		}
		for _, f := range answer.Files {
			u := byPath[f.Path]
			if u == nil || (f.UploadMode != "lfs" && f.UploadMode != "regular") {
				return "", hostile(what, "it doesn't say how to send the files it was asked about")
			}
			u.lfs, u.ignored, u.remote = f.UploadMode == "lfs", f.ShouldIgnore, f.OID
			delete(byPath, f.Path)
		}
		if len(byPath) > 0 || (answer.CommitOID != "" && !names.SHA1(answer.CommitOID)) {
			return "", hostile(what, "it doesn't say how to send the files it was asked about")
		}
		head = answer.CommitOID
	}
	return head, nil
}

func createPR(pr bool) string {
	if pr {
		return "?create_pr=1"
	}
	return ""
}

// deletions are the names that are there to be deleted.
func (h *hf) deletions(ctx context.Context, a Address, names []string) ([]string, error) {
	var trimmed, there []string
	for _, name := range names {
		trimmed = append(trimmed, strings.TrimSuffix(name, "/"))
	}
	at := a
	at.Path = ""
	found, err := h.paths(ctx, at, a.rev(), trimmed)
	if err != nil {
		return nil, err
	}
	for _, name := range trimmed {
		if e, ok := found[name]; ok && e.Dir {
			there = append(there, name+"/")
		} else if ok {
			there = append(there, name)
		}
	}
	return there, nil
}

// line is one line of a commit.
type line struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// commit sends the commit, once.
func (p *push) commit(ctx context.Context, parent string, files []*upload, deleted []string) error {
	body, err := p.lines(parent, files, deleted)
	if err != nil {
		return err
	}
	what := "push to " + p.a.String()
	c := call{what: what, method: "POST", url: p.h.api(p.a, "commit", p.a.rev()) + createPR(p.c.CreatePR)}
	c.body("application/x-ndjson", body)
	p.tried = true
	a, err := p.h.once(ctx, c)
	var refused *Error
	if errors.As(err, &refused) && (refused.Status == 412 || refused.Status == 409) {
		// Someone pushed other files meanwhile. Unless the caller named the parent, the next attempt takes the new one.
		refused.Kind, refused.transient, refused.Remedy = ErrConflict, p.c.Parent == "", remedies[ErrConflict]
	}
	if err != nil {
		return err
	}
	defer a.Body.Close()
	var answer struct{ CommitOID, CommitURL, PullRequestURL string }
	data, err := io.ReadAll(io.LimitReader(a.Body, maxErrorBody))
	if err != nil {
		return p.h.broken(ctx, what, err)
	}
	if json.Unmarshal(data, &answer) != nil || !names.SHA1(answer.CommitOID) {
		return hostile(what, "it doesn't name the commit it made")
	}
	p.done.Commit, p.done.URL, p.done.PullRequest = answer.CommitOID, p.h.clean(answer.CommitURL), p.h.clean(answer.PullRequestURL)
	return nil
}

func (p *push) lines(parent string, files []*upload, deleted []string) ([]byte, error) {
	type object = map[string]any
	lines := []line{{"header", object{"summary": p.summary(), "description": p.c.Description, "parentCommit": parent}}}
	for _, u := range files {
		if u.lfs {
			lines = append(lines, line{"lfsFile", object{"path": u.Path, "algo": "sha256", "oid": u.sums["lfs"], "size": u.size}})
			continue
		}
		data, err := u.inline()
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{"file", object{"path": u.Path, "encoding": "base64", "content": base64.StdEncoding.EncodeToString(data)}})
	}
	for _, name := range deleted {
		key := "deletedFile"
		if strings.HasSuffix(name, "/") {
			key = "deletedFolder"
		}
		lines = append(lines, line{key, object{"path": name}})
	}
	var b bytes.Buffer
	for _, l := range lines {
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func (p *push) summary() string {
	switch {
	case p.c.Message != "":
		return p.c.Message
	case len(p.c.Files) == 1 && len(p.c.Delete) == 0:
		return "Add " + p.c.Files[0].Path
	case len(p.c.Files) > 0:
		return fmt.Sprintf("Add %d files", len(p.c.Files))
	}
	return fmt.Sprintf("Delete %d files", len(p.c.Delete))
}

// pullRequest finds an open pull request that an earlier push, whose answer got lost, made of the same files.
func (p *push) pullRequest(ctx context.Context, missing []*upload, deleted []string) (found bool, err error) {
	all, err := p.h.PullRequests(ctx, p.a)
	if err != nil {
		return false, ignorable(err) // not every hub has them
	}
	for _, pr := range all {
		if pr.Title != p.h.clean(p.summary()) || (pr.Status != "open" && pr.Status != "draft") {
			continue
		}
		at := p.a
		at.Revision = fmt.Sprintf("refs/pr/%d", pr.Number)
		there, err := p.h.holds(ctx, at, missing, deleted)
		if err != nil {
			return false, err
		}
		if there != "" {
			p.done.Commit, p.done.Unchanged = there, !p.tried
			p.done.PullRequest, _ = url.JoinPath(p.h.page(p.a), "discussions", fmt.Sprint(pr.Number))
			return true, nil
		}
	}
	return false, nil
}

// ignorable keeps only errors that leave a later request no chance.
func ignorable(err error) error {
	var e *Error
	if !errors.As(err, &e) || slices.Contains([]error{ErrHostile, ErrUnavailable, ErrRateLimited}, e.Kind) {
		return err
	}
	return nil
}

// holds is the head of a revision that has all of the files and none of the deleted ones, or "".
func (h *hf) holds(ctx context.Context, at Address, files []*upload, deleted []string) (head string, err error) {
	names := slices.Clone(deleted)
	for _, u := range files {
		names = append(names, u.Path)
	}
	found, err := h.paths(ctx, at, at.rev(), names)
	if err != nil {
		return "", err
	}
	for _, u := range files {
		if sum, _ := u.sum(); found[u.Path].etag() != sum {
			return "", nil
		}
		delete(found, u.Path)
	}
	if len(found) > 0 {
		return "", nil
	}
	info, err := h.Info(ctx, at)
	return info.Commit, err
}
