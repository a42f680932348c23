package server

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"d2nwg/hub/internal/names"
)

// gitAttributes is what every repository begins with: which files git knows only pointers to.
const gitAttributes = `*.bin filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.gguf filter=lfs diff=lfs merge=lfs -text
*.parquet filter=lfs diff=lfs merge=lfs -text
*.onnx filter=lfs diff=lfs merge=lfs -text
*tfevents* filter=lfs diff=lfs merge=lfs -text
`

// named is how clients name a repository in bodies.
type named struct {
	Name         string `json:"name"`
	Organization string `json:"organization"`
	Type         string `json:"type"`
}

// resolve gives kind and full name; without an organization it is the user's own.
func (n named) resolve(q *request) (kind, name string, err error) {
	if q.user == nil {
		return "", "", errLogin
	}
	if kind = n.Type; kind == "" {
		kind = "model"
	}
	if kinds[kind+"s"] == "" {
		return "", "", badRequest("There is no type of repository %q", kind)
	}
	org, name := n.Organization, n.Name
	if before, after, ok := strings.Cut(name, "/"); ok && org == "" {
		org, name = before, after
	}
	if org == "" {
		org = q.user.Name
	}
	if err := names.Repo(org + "/" + name); err != nil || slices.Contains(reserved, org) || strings.HasSuffix(name, ".git") {
		return "", "", badRequest("%q can't be the name of a repository", org+"/"+name)
	}
	return kind, org + "/" + name, nil
}

func (q *request) createRepo() error {
	var body struct {
		named
		Private    bool   `json:"private"`
		Visibility string `json:"visibility"`
		Files      []struct{ Path, Content, Encoding string }
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	kind, name, err := body.resolve(q)
	if err != nil {
		return err
	}
	org, _, _ := strings.Cut(name, "/")
	if !q.user.writes(org) {
		return failf(http.StatusForbidden, "You don't have the rights to create a %s under the namespace %q", kind, org)
	}
	set := settings{ID: newID(), Created: q.now(), Private: body.Private || body.Visibility == "private"}
	b := q.s.store.batch()
	files := map[string]file{}
	add := func(path string, data []byte) error {
		sum, err := b.put(data)
		if err == nil {
			files[path] = regularFile(data, sum)
		}
		return err
	}
	if err := add(".gitattributes", []byte(gitAttributes)); err != nil {
		return err
	}
	for _, f := range body.Files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		data, err := decodeContent(f.Content, f.Encoding)
		if err != nil {
			return err
		}
		if err := add(f.Path, data); err != nil {
			return err
		}
	}
	t, err := newTree(files)
	if err != nil {
		return err
	}
	first := &commit{Title: "initial commit", Author: q.user.Name, Date: set.Created, Changes: difference(nil, files)}
	first.name(t)
	if err := b.sync(); err != nil {
		return err
	}
	err = q.s.create(kind, name, &event{Settings: &set, Commit: first, Refs: map[string]string{mainRef: first.ID}})
	if errors.Is(err, os.ErrExist) {
		q.conflict = q.pageOf(kind, name)
		return failf(http.StatusConflict, "You already created this %s repo", kind)
	} else if err != nil {
		return err
	}
	return q.answer(http.StatusOK, map[string]any{"url": q.pageOf(kind, name), "name": name, "id": set.ID})
}

// create begins a repository with its first event; os.ErrExist if there is one of that name.
func (s *Server) create(kind, name string, first *event) error {
	dir, err := s.repoDir(kind, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repos[repoKey{kind, name}] != nil {
		return os.ErrExist
	}
	p, err := openRepo(dir, kind, name)
	if err != nil {
		return err
	}
	err = p.edit(func() (*event, error) { return first, nil })
	if err = errors.Join(err, syncDir(filepath.Dir(dir)), syncDir(filepath.Dir(filepath.Dir(dir))), syncDir(s.dir)); err != nil {
		p.log.Close()
		return err
	}
	s.repos[repoKey{kind, name}] = p
	return nil
}

func (q *request) deleteRepo() error {
	var body named
	if err := q.decode(&body); err != nil {
		return err
	}
	kind, name, err := body.resolve(q)
	if err != nil {
		return err
	}
	p := q.s.repo(kind, name)
	if p == nil {
		return errRepoNotFound
	}
	if err := q.permit(p, change); err != nil {
		return err
	}
	if err := p.remove(q.s.trash(newID())); err != nil {
		return err
	}
	q.s.mu.Lock()
	delete(q.s.repos, repoKey{kind, name})
	q.s.mu.Unlock()
	return q.ok()
}

// moveRepo gives a repository another name. Links to the old one end; the Hub would redirect them.
func (q *request) moveRepo() error {
	var body struct{ FromRepo, ToRepo, Type string }
	if err := q.decode(&body); err != nil {
		return err
	}
	kind, from, err := named{Name: body.FromRepo, Type: body.Type}.resolve(q)
	if err != nil {
		return err
	}
	_, to, err := named{Name: body.ToRepo, Type: body.Type}.resolve(q)
	if err != nil {
		return err
	}
	p := q.s.repo(kind, from)
	if p == nil {
		return errRepoNotFound
	}
	if err := q.permit(p, change); err != nil {
		return err
	}
	if org, _, _ := strings.Cut(to, "/"); !q.user.writes(org) {
		return failf(http.StatusForbidden, "You don't have the rights to create a %s under the namespace %q", kind, org)
	}
	if err := q.s.move(p, to); errors.Is(err, os.ErrExist) {
		return failf(http.StatusConflict, "There is a %s %s already", kind, to)
	} else if err != nil {
		return err
	}
	return q.ok()
}

// move renames a repository's folder and opens it anew, so that what is under way on the old one ends with an error.
func (s *Server) move(p *repo, to string) error {
	dir, err := s.repoDir(p.kind, to)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repos[repoKey{p.kind, to}] != nil {
		return os.ErrExist
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.deleted() {
		return errRepoNotFound
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Rename(p.dir, dir); err != nil {
		return err
	}
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	delete(s.repos, repoKey{p.kind, p.name})
	err = errors.Join(p.log.Close(), syncDir(filepath.Dir(dir)), syncDir(filepath.Dir(p.dir)), syncDir(filepath.Join(s.dir, p.kind+"s")))
	if err != nil {
		return err
	}
	moved, err := openRepo(dir, p.kind, to)
	if err != nil {
		return err
	}
	s.repos[repoKey{p.kind, to}] = moved
	return nil
}

func (q *request) changeSettings() error {
	var body struct {
		Private    *bool   `json:"private"`
		Visibility *string `json:"visibility"`
		Gated      any     `json:"gated"`
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	err := q.repo.edit(func() (*event, error) {
		set := q.repo.currentSettings()
		if body.Private != nil {
			set.Private = *body.Private
		}
		if body.Visibility != nil {
			set.Private = *body.Visibility == "private"
		}
		switch body.Gated {
		case nil:
		case false:
			set.Gated = ""
		case "auto", "manual":
			set.Gated = body.Gated.(string)
		default:
			return nil, badRequest("gated is one of false, \"auto\" and \"manual\"")
		}
		return &event{Settings: &set}, nil
	})
	if err != nil {
		return err
	}
	return q.done()
}

// askAccess asks for the content of a gated repository, which "auto" grants at once.
func (q *request) askAccess() error {
	if q.user == nil {
		return errLogin
	}
	err := q.repo.edit(func() (*event, error) {
		set := q.repo.currentSettings()
		if set.Gated == "" || set.Access[q.user.Name] != "" {
			return nil, nil
		}
		status := pending
		if set.Gated == "auto" {
			status = accepted
		}
		return &event{Settings: set.with(q.user.Name, status)}, nil
	})
	if err != nil {
		return err
	}
	return q.done()
}

// with returns the settings with a user's access set.
func (s settings) with(user, status string) *settings {
	s.Access = maps.Clone(s.Access)
	if s.Access == nil {
		s.Access = map[string]string{}
	}
	s.Access[user] = status
	return &s
}

// changeAccess is the owner's decision: user-access-request/grant {user} or …/handle {user, status}.
func (q *request) changeAccess() error {
	var body struct{ User, Status string }
	if err := q.decode(&body); err != nil {
		return err
	}
	switch action := strings.Join(q.args, "/"); {
	case action == "grant":
		body.Status = accepted
	case action == "handle" && slices.Contains([]string{pending, accepted, rejected}, body.Status):
	default:
		return badRequest("Access is decided with grant {user} or handle {user, status: pending, accepted or rejected}")
	}
	if names.Repo(body.User+"/x") != nil {
		return badRequest("%q is not the name of a user", body.User)
	}
	err := q.repo.edit(func() (*event, error) {
		return &event{Settings: q.repo.currentSettings().with(body.User, body.Status)}, nil
	})
	if err != nil {
		return err
	}
	return q.done()
}

func (q *request) listAccess() error {
	status := strings.Join(q.args, "/")
	list := []any{}
	access := q.repo.currentSettings().Access
	for _, user := range slices.Sorted(maps.Keys(access)) {
		if access[user] == status {
			list = append(list, map[string]any{"user": map[string]any{"user": user, "fullname": user}, "status": status})
		}
	}
	return q.answer(http.StatusOK, list)
}

// ok is the Hub's answer to a deletion.
func (q *request) ok() error {
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := q.w.Write([]byte("OK"))
	return err
}

// now is the time as it is kept.
func (q *request) now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// decodeContent reads a file's content as it stands in JSON.
func decodeContent(content, encoding string) ([]byte, error) {
	switch encoding {
	case "base64":
		data, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return nil, badRequest("A file's content is not base64")
		}
		return data, nil
	case "utf-8", "":
		return []byte(content), nil
	}
	return nil, badRequest("There is no encoding %q", encoding)
}
