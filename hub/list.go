package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"d2nwg/hub/internal/names"
)

// Bounds on lists.
const (
	maxItems = 1_000_000
	maxPages = 10_000
	maxList  = 512 << 20 // bytes of all pages
	maxSize  = 1 << 50   // bytes of a file; what is more is no size
)

var nextLink = regexp.MustCompile(`<([^<>]*)>\s*;[^,]*\brel="?next\b`)

// pages reads a list that comes in pages (Link rel=next), up to limit items. An endless one is found out: every page has
// to bring something new, identified by id, and the next one has to lie at the endpoint.
func pages[T any](ctx context.Context, h *hf, what, target string, limit int, id func(T) string) ([]T, error) {
	var all []T
	seen := map[string]bool{}
	for page, length := 0, 0; ; page++ {
		var body json.RawMessage
		header, err := h.request(ctx, what, "GET", target, nil, &body)
		if err != nil {
			return nil, err
		}
		if length += len(body); length > h.list {
			return nil, hostile(what, fmt.Sprintf("the list is longer than %d MB", h.list>>20))
		}
		var items []T
		if err := h.decode(what, body, &items); err != nil {
			return nil, err
		}
		for _, item := range items {
			if seen[id(item)] {
				return nil, hostile(what, "it lists the same thing twice")
			}
			seen[id(item)] = true
			if all = append(all, item); len(all) == limit && limit < maxItems {
				return all, nil
			}
		}
		m := nextLink.FindStringSubmatch(strings.Join(header.Values("Link"), ", "))
		if m == nil {
			return all, nil
		}
		if len(items) == 0 || page >= maxPages || len(all) >= maxItems {
			return nil, hostile(what, "the list has no end")
		}
		from, _ := url.Parse(target)
		next, err := from.Parse(m[1])
		if err != nil || !sameOrigin(next, h.base) {
			return nil, hostile(what, "its next page lies on another server")
		}
		target = next.String()
	}
}

// treeItem is an entry as the server has it.
type treeItem struct {
	Type, OID, Path string
	Size            int64
	LFS             *struct {
		OID  string
		Size int64
	}
}

// entry checks an item: its name, its hashes and its size.
func (i treeItem) entry(what string) (Entry, error) {
	e := Entry{Path: i.Path, Dir: i.Type == "directory", Size: i.Size, OID: i.OID}
	if err := names.File(i.Path); err != nil {
		return e, hostile(what, err.Error())
	}
	if !e.Dir && i.Type != "file" {
		return e, hostile(what, "an entry is neither a file nor a folder")
	}
	if i.LFS != nil {
		if e.SHA256, e.Size = i.LFS.OID, i.LFS.Size; !names.SHA256(e.SHA256) {
			return e, hostile(what, "the SHA-256 of "+i.Path+" is none")
		}
	}
	if !names.SHA1(e.OID) && (e.OID != "" || (!e.Dir && e.SHA256 == "")) {
		return e, hostile(what, "the hash of "+i.Path+" is none")
	}
	if e.Size < 0 || e.Size > maxSize {
		return e, hostile(what, "the size of "+i.Path+" is none")
	}
	return e, nil
}

func (h *hf) List(ctx context.Context, a Address, recursive bool) ([]Entry, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return h.tree(ctx, a, a.rev(), recursive)
}

// tree lists the folder a.Path of a commit or another revision.
func (h *hf) tree(ctx context.Context, a Address, revision string, recursive bool) ([]Entry, error) {
	target := h.api(a, "tree", revision)
	if a.Path != "" {
		target += "/" + escapePath(a.Path)
	}
	query := "?recursive=false&expand=false"
	if recursive {
		query = "?recursive=true&expand=false"
	}
	what := "list " + a.String()
	items, err := pages(ctx, h, what, target+query, maxItems, func(i treeItem) string { return i.Path })
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(items))
	for _, i := range items {
		e, err := i.entry(what)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// paths looks up which of the files are there in a revision, and as what.
func (h *hf) paths(ctx context.Context, a Address, revision string, names []string) (map[string]Entry, error) {
	found := map[string]Entry{}
	what := "look up files of " + a.String()
	for len(names) > 0 {
		n := min(len(names), 500)
		body := struct {
			Paths  []string `json:"paths"`
			Expand bool     `json:"expand"`
		}{names[:n], false}
		var items []treeItem
		if _, err := h.request(ctx, what, "POST", h.api(a, "paths-info", revision), body, &items); err != nil {
			return nil, err
		}
		for _, i := range items {
			e, err := i.entry(what)
			if err != nil {
				return nil, err
			}
			found[e.Path] = e
		}
		names = names[n:]
	}
	return found, nil
}
