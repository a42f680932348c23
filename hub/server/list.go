package server

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// How many entries a page of a listing has, unless the client wants fewer.
const (
	treePage     = 1000
	expandedPage = 100
	maxPaths     = 1000
)

// listTree lists a folder, in pages.
func (q *request) listTree() error {
	c, dir, err := q.repo.split(q.args)
	if err != nil {
		return err
	}
	dir = strings.TrimSuffix(dir, "/")
	t, err := q.repo.tree(c)
	if err != nil {
		return err
	}
	q.w.Header().Set("X-Repo-Commit", c.ID)
	if dir != "" {
		e, ok := t.find(dir)
		if !ok {
			return &failure{http.StatusNotFound, "EntryNotFound", fmt.Sprintf("%s does not exist on %q", dir, q.args[0])}
		}
		if !e.Dir {
			return q.answer(http.StatusOK, q.describe(c, []entry{e}, q.flag("expand")))
		}
	}
	limit := treePage
	if q.flag("expand") {
		limit = expandedPage
	}
	if limit, err = q.limit(limit); err != nil {
		return err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.query.Get("cursor"))
	if err != nil {
		return badRequest("The cursor is not one of this server's")
	}
	page, more := pageOf(t.below(dir), dir, q.flag("recursive"), string(after), limit)
	if more {
		q.linkNext("cursor", base64.RawURLEncoding.EncodeToString([]byte(page[len(page)-1].Path)))
	}
	return q.answer(http.StatusOK, q.describe(c, page, q.flag("expand")))
}

// pageOf picks the entries that follow after.
func pageOf(entries []entry, dir string, recursive bool, after string, limit int) (page []entry, more bool) {
	for _, e := range entries {
		if e.Path <= after && after != "" || !recursive && parent(e.Path) != dir {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, e)
	}
	return page, false
}

// limit reads how many entries the client wants, up to most.
func (q *request) limit(most int) (int, error) {
	s := q.query.Get("limit")
	if s == "" {
		return most, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, badRequest("limit is a positive number")
	}
	return min(n, most), nil
}

// linkNext points to the next page: the same request with one parameter changed.
func (q *request) linkNext(parameter, value string) {
	next := url.Values{}
	for k, v := range q.query {
		next[k] = v
	}
	next.Set(parameter, value)
	q.w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, q.base(), q.r.URL.EscapedPath(), next.Encode()))
}

// describe is how entries of a commit's tree look to clients; expanded, they come with the commit that touched them last.
func (q *request) describe(c *commit, entries []entry, expand bool) []map[string]any {
	var last map[string]*commit
	if expand {
		last = q.repo.lastChanges(c, entries)
	}
	list := make([]map[string]any, 0, len(entries))
	for _, e := range entries {
		item := map[string]any{"type": "file", "path": e.Path, "oid": e.OID, "size": e.Size}
		if e.Dir {
			item["type"] = "directory"
		}
		if e.LFS {
			item["lfs"] = map[string]any{"oid": e.SHA256, "size": e.Size, "pointerSize": len(pointer(e.SHA256, e.Size))}
		}
		if by := last[e.Path]; by != nil {
			item["lastCommit"] = map[string]any{"id": by.ID, "title": by.Title, "date": formatTime(by.Date)}
			if !e.Dir {
				item["securityFileStatus"] = map[string]any{"status": "unscanned", "safe": true, "avScan": nil, "pickleImportScan": nil}
			}
		}
		list = append(list, item)
	}
	return list
}

// pathsInfo describes some paths; those that aren't there are left out. npm's client sends JSON, Python's a form.
func (q *request) pathsInfo() error {
	var body struct {
		Paths  []string
		Expand bool
	}
	kind, _, _ := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" {
		data, err := io.ReadAll(http.MaxBytesReader(q.w, q.r.Body, maxJSON))
		if err != nil {
			return bodyError(err)
		}
		form, err := url.ParseQuery(string(data))
		if err != nil {
			return badRequest("The request's form is malformed")
		}
		body.Paths, body.Expand = form["paths"], strings.EqualFold(form.Get("expand"), "true")
	} else if err := q.decode(&body); err != nil {
		return err
	}
	if len(body.Paths) > maxPaths {
		return failf(http.StatusRequestEntityTooLarge, "At most %d paths may be asked for at once", maxPaths)
	}
	c, err := q.repo.lookup(strings.Join(q.args, "/"))
	if err != nil {
		return err
	}
	t, err := q.repo.tree(c)
	if err != nil {
		return err
	}
	var found []entry
	for _, path := range body.Paths {
		if e, ok := t.find(strings.TrimSuffix(path, "/")); ok {
			found = append(found, e)
		}
	}
	q.w.Header().Set("X-Repo-Commit", c.ID)
	return q.answer(http.StatusOK, q.describe(c, found, body.Expand))
}

// listCommits lists a revision's history, newest first, in pages.
func (q *request) listCommits() error {
	c, err := q.repo.lookup(strings.Join(q.args, "/"))
	if err != nil {
		return err
	}
	limit, err := q.limit(treePage)
	if err != nil {
		return err
	}
	if q.query.Get("limit") == "" {
		limit = 50
	}
	page := 0
	if s := q.query.Get("p"); s != "" {
		if page, err = strconv.Atoi(s); err != nil || page < 0 {
			return badRequest("p is the number of a page")
		}
	}
	all := q.repo.history(c)
	q.w.Header().Set("X-Total-Count", strconv.Itoa(len(all)))
	from := len(all)
	if page <= len(all)/limit {
		from = page * limit
	}
	to := min(from+limit, len(all))
	list := []map[string]any{}
	for _, at := range all[from:to] {
		list = append(list, map[string]any{
			"id": at.ID, "title": at.Title, "message": at.Message, "date": formatTime(at.Date),
			"authors": []any{map[string]any{"user": at.Author, "avatar": ""}},
		})
	}
	if to < len(all) {
		q.linkNext("p", strconv.Itoa(page+1))
	}
	return q.answer(http.StatusOK, list)
}
