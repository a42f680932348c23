package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"d2nwg/hub/internal/names"
)

// Limits of what a request may hold.
const (
	maxJSON    = 8 << 20
	maxTarget  = 16 << 10        // bytes of a request's target
	maxStalled = 2 * time.Minute // how long a body may bring nothing
)

// request is one request on its way to its answer.
type request struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	query    url.Values
	user     *Token   // nil for nobody
	repo     *repo    // nil where the address names none
	args     []string // what follows in the path, each part unescaped
	conflict string   // where the thing is that is there already
}

// handler answers a request; an error it returns is the answer.
type handler = func(*request) error

// route is an action on a repository and the right it takes.
type route struct {
	want   access
	handle handler
}

// apiRoutes are the actions below /api/models/{org}/{name}, by method and first word.
var apiRoutes = map[string]route{
	"GET ":                     {see, (*request).info},
	"GET revision":             {see, (*request).info},
	"GET tree":                 {see, (*request).listTree},
	"POST paths-info":          {see, (*request).pathsInfo},
	"GET commits":              {see, (*request).listCommits},
	"GET refs":                 {see, (*request).listRefs},
	"GET auth-check":           {fetch, (*request).done},
	"POST preupload":           {see, (*request).preupload}, // asks for more itself
	"POST commit":              {see, (*request).commit},    // likewise
	"POST branch":              {change, (*request).createBranch},
	"DELETE branch":            {change, (*request).deleteBranch},
	"POST tag":                 {change, (*request).createTag},
	"DELETE tag":               {change, (*request).deleteTag},
	"PUT settings":             {change, (*request).changeSettings},
	"GET user-access-request":  {change, (*request).listAccess},
	"POST user-access-request": {change, (*request).changeAccess},
	"GET discussions":          {see, (*request).discussions},
	"POST discussions":         {propose, (*request).discuss},
}

// pageRoutes are the actions below /{org}/{name}.
var pageRoutes = map[string]route{
	"GET resolve":     {fetch, (*request).resolve},
	"HEAD resolve":    {fetch, (*request).resolve},
	"GET raw":         {fetch, (*request).raw},
	"HEAD raw":        {fetch, (*request).raw},
	"POST ask-access": {see, (*request).askAccess},
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{s: s, w: w, r: r}
	w.Header().Set("X-Request-Id", newID())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := q.dispatch(); err != nil {
		q.fail(err)
	}
}

// dispatch finds out what is asked, of what and by whom.
func (q *request) dispatch() error {
	if len(q.r.RequestURI) > maxTarget {
		return failf(http.StatusRequestURITooLong, "The request's target is over %d bytes", maxTarget)
	}
	parts, err := segments(q.r.URL)
	if err != nil {
		return err
	}
	if q.query, err = url.ParseQuery(q.r.URL.RawQuery); err != nil {
		return badRequest("The request's query is malformed")
	}
	if q.r.Body != nil {
		q.r.Body = &impatient{q.r.Body, http.NewResponseController(q.w)}
	}
	if parts[0] == "-" {
		return q.signed(parts[1:]) // such links speak for themselves; a token that was sent along means nothing
	}
	if q.user, err = q.s.tokens.authenticate(q.r); err != nil {
		return err
	}
	if parts[0] == "api" {
		return q.api(parts[1:])
	}
	return q.page(parts)
}

// segments splits a path before unescaping, since revisions hold escaped slashes.
func segments(u *url.URL) ([]string, error) {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, part := range parts {
		var err error
		if parts[i], err = url.PathUnescape(part); err != nil {
			return nil, badRequest("The request's path is malformed")
		}
	}
	return parts, nil
}

// api answers what begins with /api.
func (q *request) api(parts []string) error {
	switch q.r.Method + " " + strings.Join(parts, "/") {
	case "GET whoami-v2":
		return q.whoAmI()
	case "POST validate-yaml":
		return q.validateYAML()
	case "POST repos/create":
		return q.createRepo()
	case "DELETE repos/delete":
		return q.deleteRepo()
	case "POST repos/move":
		return q.moveRepo()
	}
	kind := ""
	if len(parts) > 0 {
		kind = kinds[parts[0]]
	}
	switch {
	case kind == "":
		return errNoPage
	case len(parts) == 1 && q.r.Method == http.MethodGet:
		return q.listRepos(kind)
	case len(parts) < 3:
		return q.missing()
	}
	verb := ""
	if len(parts) > 3 {
		verb, q.args = parts[3], parts[4:]
	}
	return q.act(apiRoutes, kind, parts[1]+"/"+parts[2], verb)
}

// page answers everything else.
func (q *request) page(parts []string) error {
	kind := "model"
	if k := kinds[parts[0]]; k != "" && parts[0] != "models" {
		kind, parts = k, parts[1:]
	}
	if len(parts) < 3 {
		return errNoPage
	}
	name, verb := parts[0]+"/"+parts[1], parts[2]
	if git, ok := strings.CutSuffix(name, ".git"); ok && q.r.Method+" "+strings.Join(parts[2:], "/") == "POST info/lfs/objects/batch" {
		return q.act(map[string]route{"POST batch": {see, (*request).lfsBatch}}, kind, git, "batch")
	}
	q.args = parts[3:]
	return q.act(pageRoutes, kind, name, verb)
}

// act carries an action on a repository out, if it may.
func (q *request) act(routes map[string]route, kind, name, verb string) error {
	do, ok := routes[q.r.Method+" "+verb]
	if !ok {
		return errNoPage
	}
	if q.repo = q.s.repo(kind, name); q.repo == nil {
		return q.missing()
	}
	if err := q.permit(q.repo, do.want); err != nil {
		return err
	}
	return do.handle(q)
}

// missing is the answer where there is no repository, or none that the user may see.
func (q *request) missing() error {
	if q.user == nil {
		return errLoginRepo
	}
	return errRepoNotFound
}

// done is the answer to what needs none.
func (q *request) done() error { return q.answer(http.StatusOK, map[string]any{}) }

// decode reads a JSON body.
func (q *request) decode(value any) error {
	data, err := io.ReadAll(http.MaxBytesReader(q.w, q.r.Body, maxJSON))
	if err != nil {
		return bodyError(err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return badRequest("The request's body is not the JSON expected here: %v", err)
	}
	return nil
}

// bodyError tells a client that its request's body couldn't be read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failf(http.StatusRequestTimeout, "The request's body brought nothing for %v", maxStalled)
	}
	return badRequest("The request's body ended early")
}

// base is this server's address as the client sees it.
func (q *request) base() string {
	scheme := "http"
	if q.r.TLS != nil || q.r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + q.r.Host
}

// pageOf is the address of a repository's page.
func (q *request) pageOf(kind, name string) string {
	prefix := ""
	if kind != "model" {
		prefix = kind + "s/"
	}
	return q.base() + "/" + prefix + name
}

// flag reads a boolean of the query.
func (q *request) flag(name string) bool {
	switch q.query.Get(name) {
	case "1", "true", "True":
		return true
	}
	return false
}

// checkRevision refuses what can't be a branch or tag.
func checkRevision(name string) error {
	if names.Revision(name) != nil || names.SHA1(name) || name == "HEAD" || strings.HasPrefix(name, "refs/") {
		return badRequest("%q can't be the name of a branch or tag", name)
	}
	return nil
}

// impatient gives up on a body that brings nothing for long.
type impatient struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *impatient) Read(p []byte) (int, error) {
	b.control.SetReadDeadline(time.Now().Add(maxStalled)) // a writer without deadlines has none to set
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.control.SetReadDeadline(time.Time{}) // what is done with the body may take longer
	}
	return n, err
}
