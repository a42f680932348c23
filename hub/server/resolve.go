package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// located finds the file that the address names, and says in the headers which commit's it is.
func (q *request) located() (entry, error) {
	c, path, err := q.repo.split(q.args)
	if err != nil {
		return entry{}, err
	}
	t, err := q.repo.tree(c)
	if err != nil {
		return entry{}, err
	}
	q.w.Header().Set("X-Repo-Commit", c.ID)
	e, ok := t.find(path)
	if !ok || e.Dir {
		return entry{}, errEntry
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	h := q.w.Header()
	h.Set("Content-Disposition", fmt.Sprintf(`inline; filename*=UTF-8''%s; filename="%s";`, url.PathEscape(name), strings.ReplaceAll(headerText(name), `"`, "'")))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Accept-Ranges", "bytes")
	return e, nil
}

// resolve gives a file: itself, or for an LFS file the link to its content.
func (q *request) resolve() error {
	e, err := q.located()
	if err != nil {
		return err
	}
	h := q.w.Header()
	if !e.LFS {
		h.Set("ETag", `"`+e.OID+`"`)
		return q.content(e.SHA256)
	}
	h.Set("X-Linked-Etag", `"`+e.SHA256+`"`)
	h.Set("X-Linked-Size", fmt.Sprint(e.Size))
	to := q.link("get", e.SHA256, url.Values{}, downloadLife)
	h.Set("Location", to)
	body := "Found. Redirecting to " + to
	h.Set("Content-Length", fmt.Sprint(len(body)))
	q.w.WriteHeader(http.StatusFound)
	if q.r.Method != http.MethodHead {
		q.w.Write([]byte(body))
	}
	return nil
}

// raw gives what git holds: for an LFS file, the pointer.
func (q *request) raw() error {
	e, err := q.located()
	if err != nil {
		return err
	}
	q.w.Header().Set("ETag", `"`+e.OID+`"`)
	if e.LFS {
		http.ServeContent(q.w, q.r, "", time.Time{}, bytes.NewReader(pointer(e.SHA256, e.Size)))
		return nil
	}
	return q.content(e.SHA256)
}

// content sends a stored content, or the range of it that was asked for.
func (q *request) content(sum string) error {
	f, err := q.s.store.open(sum)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 && q.r.Header.Get("Range") != "" {
		q.w.Header().Set("Content-Range", "bytes */0") // no range fits, but npm's client learns the size from one
	}
	http.ServeContent(q.w, q.r, "", time.Time{}, f)
	return nil
}
