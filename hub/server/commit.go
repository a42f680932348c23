package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Limits of a commit. What is larger goes through LFS.
const (
	maxRegular = 10 << 20              // bytes of a file that a commit carries itself
	maxLine    = maxRegular/3*4 + 8192 // bytes of a line: such a file as base64, and its name
	maxCommit  = 1 << 30               // bytes of all lines
	maxOps     = 200_000               // lines
)

// draft is a commit as the client wants it.
type draft struct {
	header struct{ Summary, Description, ParentCommit string }
	ops    []operation
}

// operation is one change: a file is set, or a file or a folder removed.
type operation struct {
	path   string
	file   *file
	folder bool
}

// commit makes a commit on a branch or a pull request, or opens a pull request with it.
func (q *request) commit() error {
	rev := strings.Join(q.args, "/")
	ref, err := q.target(rev)
	if err != nil {
		return err
	}
	b := q.s.store.batch()
	d, err := q.readDraft(b)
	if err != nil {
		return err
	}
	if err := b.sync(); err != nil {
		return err
	}
	made, opened, err := q.makeCommit(rev, ref, d)
	if err != nil {
		return err
	}
	page := q.pageOf(q.repo.kind, q.repo.name)
	q.w.Header().Set("X-Repo-Commit", made.ID)
	body := map[string]any{"success": true, "commitOid": made.ID, "commitUrl": page + "/commit/" + made.ID, "hookOutput": ""}
	if opened != nil {
		body["pullRequestUrl"] = fmt.Sprintf("%s/discussions/%d", page, opened.Number)
	}
	return q.answer(http.StatusOK, body)
}

// target checks the right to commit and finds the reference that will move: "" for a pull request that is yet to open.
func (q *request) target(rev string) (ref string, err error) {
	opens := q.flag("create_pr")
	want := change
	if opens {
		want = propose
	}
	ref, ok := q.repo.reference(rev)
	if p := q.repo.pullAt(ref); p != nil && q.user != nil && p.Author == q.user.Name {
		want = propose
	}
	if err := q.permit(q.repo, want); err != nil {
		return "", err
	}
	if opens {
		_, err := q.repo.lookup(rev)
		return "", err
	}
	if !ok {
		return "", revisionNotFound(rev)
	}
	if strings.HasPrefix(ref, "refs/tags/") {
		return "", badRequest("%s is a tag; commits go to branches and pull requests", rev)
	}
	return ref, nil
}

// makeCommit applies a draft to the head of ref; for ref "" to rev, in a new pull request.
func (q *request) makeCommit(rev, ref string, d *draft) (made *commit, opened *pull, err error) {
	p := q.repo
	err = p.edit(func() (*event, error) {
		base := rev
		if ref != "" {
			base = ref
		}
		head, err := p.lookup(base)
		if err != nil {
			return nil, err
		}
		if want := d.header.ParentCommit; want != "" && want != head.ID {
			return nil, errStale
		}
		old, err := p.tree(head)
		if err != nil {
			return nil, err
		}
		files, err := q.s.carryOut(p, old, d.ops)
		if err != nil {
			return nil, err
		}
		t, err := newTree(files)
		if err != nil {
			return nil, err
		}
		title, message := d.header.Summary, d.header.Description
		made = &commit{Parent: head.ID, Title: title, Message: message, Author: q.user.Name, Date: q.now(), Changes: difference(old.files(), files)}
		made.name(t)
		p.mu.Lock()
		p.keep(made, t) // it will be asked for soon
		p.mu.Unlock()
		e := &event{Commit: made, Refs: map[string]string{}}
		if ref == "" {
			opened = p.newPull(title, message, made.Author, made.Date, true)
			opened.Base = baseBranch(p, rev)
			ref, e.Pull = opened.ref(), opened
		}
		e.Refs[ref] = made.ID
		return e, nil
	})
	return made, opened, err
}

// carryOut applies the operations, in their order, to a tree's files.
func (s *Server) carryOut(p *repo, old *tree, ops []operation) (map[string]file, error) {
	files := old.files()
	for _, op := range ops {
		switch {
		case op.folder:
			found := false
			for path := range files {
				if strings.HasPrefix(path, op.path+"/") {
					delete(files, path)
					found = true
				}
			}
			if !found {
				return nil, noFile(op.path)
			}
		case op.file == nil:
			if _, ok := files[op.path]; !ok {
				return nil, noFile(op.path)
			}
			delete(files, op.path)
		default:
			files[op.path] = *op.file
		}
	}
	return files, s.track(files, ops)
}

// difference is what leads from old to new.
func difference(old, new map[string]file) []delta {
	var all []delta
	for path, f := range new {
		if was, ok := old[path]; !ok || was != f {
			all = append(all, delta{path, f})
		}
	}
	for path := range old {
		if _, ok := new[path]; !ok {
			all = append(all, delta{Path: path})
		}
	}
	slices.SortFunc(all, func(a, b delta) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// readDraft reads the body of a commit, a JSON object a line, and stores the contents in it as they come. Several are
// written at once, since each waits for the disk.
func (q *request) readDraft(b *batch) (*draft, error) {
	d := &draft{}
	var (
		writers = 4 * runtime.GOMAXPROCS(0)
		free    = make(chan struct{}, writers)
		wait    sync.WaitGroup
		mu      sync.Mutex
		failed  error
	)
	defer wait.Wait()
	lines := bufio.NewReaderSize(http.MaxBytesReader(q.w, q.r.Body, maxCommit), 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		op, data, err := d.take(q.repo, n, line)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			sum, err := b.put(data)
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
			*op = regularFile(data, sum)
		})
	}
	wait.Wait()
	if failed == nil && d.header.Summary == "" {
		failed = badRequest("A commit needs a header with a summary")
	}
	return d, failed
}

// readLine returns the next line that isn't blank; io.EOF after the last.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		if len(line)+len(piece) > maxLine {
			return nil, failf(http.StatusRequestEntityTooLarge, "A line of the commit is over %d bytes; files over %d bytes go through LFS", maxLine, maxRegular)
		}
		line = append(line, piece...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, bodyError(err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, io.EOF
		}
	}
}

// take adds line n to the draft. A content that it brings is returned, with the place for what becomes of it.
func (d *draft) take(p *repo, n int, line []byte) (into *file, content []byte, err error) {
	var l struct {
		Key   string
		Value json.RawMessage
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, nil, badRequest("Line %d of the commit is not JSON: %v", n, err)
	}
	if (l.Key == "header") != (n == 1) {
		return nil, nil, badRequest("A commit begins with its header, and has one")
	}
	var v struct {
		Path, Content, Encoding, OID, Algo string
		Size                               *int64
	}
	if n == 1 {
		if err := json.Unmarshal(l.Value, &d.header); err != nil {
			return nil, nil, badRequest("The commit's header is malformed: %v", err)
		}
		d.header.Summary, _, _ = strings.Cut(strings.TrimSpace(d.header.Summary), "\n")
		return nil, nil, nil
	}
	if n > maxOps {
		return nil, nil, failf(http.StatusRequestEntityTooLarge, "A commit has at most %d operations", maxOps)
	}
	if err := json.Unmarshal(l.Value, &v); err != nil {
		return nil, nil, badRequest("Line %d of the commit is malformed: %v", n, err)
	}
	op := operation{path: v.Path}
	switch l.Key {
	case "file":
		if content, err = decodeContent(v.Content, v.Encoding); err != nil {
			return nil, nil, err
		}
		if content == nil {
			content = []byte{}
		}
		if len(content) > maxRegular {
			return nil, nil, failf(http.StatusRequestEntityTooLarge, "%s is over %d bytes and has to go through LFS", v.Path, maxRegular)
		}
		op.file = &file{}
	case "lfsFile":
		if op.file, err = p.uploaded(v.OID, v.Size); err != nil {
			return nil, nil, err
		}
	case "deletedFile":
	case "deletedFolder":
		op.path, op.folder = strings.TrimSuffix(v.Path, "/"), true
	default:
		return nil, nil, badRequest("Line %d of the commit is of the unknown kind %q", n, l.Key)
	}
	d.ops = append(d.ops, op)
	return op.file, content, checkPath(op.path)
}

// uploaded describes an LFS file whose content has to be in the repository already.
func (p *repo) uploaded(sum string, size *int64) (*file, error) {
	have, ok := p.object(sum)
	if !ok {
		return nil, badRequest("The LFS content %q has not been uploaded to this repository", sum)
	}
	if size != nil && *size != have {
		return nil, badRequest("The LFS content %s has %d bytes, not %d", sum, have, *size)
	}
	f := lfsFile(sum, have)
	return &f, nil
}

// preupload tells which of some files a commit may carry itself, and which go through LFS.
func (q *request) preupload() error {
	rev := strings.Join(q.args, "/")
	if _, err := q.target(rev); err != nil {
		return err
	}
	var body struct {
		Files []struct {
			Path   string
			Size   int64
			Sample []byte
		}
		GitAttributes *string
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	c, err := q.repo.lookup(rev)
	if err != nil {
		return err
	}
	t, err := q.repo.tree(c)
	if err != nil {
		return err
	}
	rules, err := q.s.attributesOf(t)
	if err != nil {
		return err
	}
	if body.GitAttributes != nil {
		rules = parseAttributes([]byte(*body.GitAttributes))
	}
	list := []map[string]any{}
	for _, f := range body.Files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		mode := "regular"
		if f.Size > maxRegular || rules.lfs(f.Path) || bytes.IndexByte(f.Sample, 0) >= 0 {
			mode = "lfs"
		}
		item := map[string]any{"path": f.Path, "uploadMode": mode, "shouldIgnore": false}
		if e, ok := t.find(f.Path); ok && !e.Dir {
			item["oid"] = e.etag()
		}
		list = append(list, item)
	}
	q.w.Header().Set("X-Repo-Commit", c.ID)
	return q.answer(http.StatusOK, map[string]any{"files": list, "commitOid": c.ID})
}

// track adds to .gitattributes those of the new LFS files that no rule in it covers, as the Hub does.
func (s *Server) track(files map[string]file, ops []operation) error {
	var data []byte
	if f, ok := files[".gitattributes"]; ok && !f.LFS {
		var err error
		if data, err = s.store.read(f.SHA256); err != nil {
			return err
		}
	}
	rules, added := parseAttributes(data), false
	for _, op := range ops {
		path := op.path
		if !files[path].LFS || rules.lfs(path) {
			continue
		}
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(data, '\n')
		}
		data, added = append(data, attributeLine(path)...), true
	}
	if !added {
		return nil
	}
	b := s.store.batch()
	sum, err := b.put(data)
	if err != nil {
		return err
	}
	files[".gitattributes"] = regularFile(data, sum)
	return b.sync()
}
