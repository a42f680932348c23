package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"d2nwg/hub/internal/names"
	"d2nwg/internal/progress"
)

// hf speaks the Hugging Face Hub's protocol.
type hf struct {
	base     *url.URL // the endpoint, without a slash at the end
	token    secret
	client   *http.Client
	cache    string
	offline  bool
	parallel int
	report   progress.Func
	pause    time.Duration // before the second try of a request
	pieces   chan []byte   // buffers for parts of big files; taking one is the right to fetch a part
	piece    int64         // their length in bytes
	list     int           // bytes of a list's pages together
}

var _ Hub = (*hf)(nil)

// String leaves the token out, whatever prints a hub.
func (h hf) String() string   { return "hub at " + h.base.String() }
func (h hf) GoString() string { return h.String() }

func newHF(o Options) (*hf, error) {
	endpoint := o.Endpoint
	for _, fallback := range []string{os.Getenv("HF_ENDPOINT"), "https://huggingface.co"} {
		if endpoint == "" {
			endpoint = fallback
		}
	}
	base, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") || base.User != nil || base.RawQuery != "" {
		return nil, fmt.Errorf("%w: the endpoint is no URL of the form https://host[:port]; correct HF_ENDPOINT", ErrAddress)
	}
	token := o.Token
	if token == "" && !o.Anonymous {
		if token, _, err = LookupToken(); err != nil {
			return nil, err
		}
	}
	if err := checkToken(token, "the given text"); err != nil {
		return nil, err
	}
	h := &hf{
		base: base, token: secret(token), cache: o.CacheDir, offline: o.Offline || truthy("HF_HUB_OFFLINE"),
		parallel: o.Parallel, report: o.Progress, pause: time.Second, piece: 8 << 20, list: maxList,
	}
	if h.cache == "" {
		h.cache = CacheDir()
	}
	if h.parallel <= 0 {
		h.parallel = 8
	}
	h.pieces = make(chan []byte, h.parallel)
	for range h.parallel {
		h.pieces <- nil
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport(h.parallel)
	}
	h.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
}

// api is the URL of a call about a repository: /api/models/org/name/…, every part escaped.
func (h *hf) api(a Address, parts ...string) string {
	s := h.base.String() + "/api/" + string(a.Kind) + "s/" + a.Repo
	for _, part := range parts {
		s += "/" + url.PathEscape(part)
	}
	return s
}

// page is the URL of a repository's pages and git services, which have no "models" in front.
func (h *hf) page(a Address) string {
	if a.Kind == Dataset {
		return h.base.String() + "/datasets/" + a.Repo
	}
	return h.base.String() + "/" + a.Repo
}

// escapePath escapes a file's name and keeps its slashes.
func escapePath(name string) string {
	return (&url.URL{Path: name}).EscapedPath()
}

// check holds for every operation: the address is one this hub can be asked for.
func (a Address) check() error {
	if a.Scheme != "hf" || (a.Kind != Model && a.Kind != Dataset) {
		return badAddress(a.String(), "it is no repository of a hub")
	}
	if err := names.Repo(a.Repo); err != nil {
		return badAddress(a.String(), err.Error())
	}
	if a.Revision != "" {
		if err := names.Revision(a.Revision); err != nil {
			return badAddress(a.String(), err.Error())
		}
	}
	if a.Path != "" {
		return CheckName(a.Path)
	}
	return nil
}

// rev is the revision, "main" if there is none.
func (a Address) rev() string {
	if a.Revision == "" {
		return "main"
	}
	return a.Revision
}

func (h *hf) WhoAmI(ctx context.Context) (User, error) {
	var w struct {
		Name, Type string
		Orgs       []struct{ Name string }
		Auth       struct {
			AccessToken struct{ DisplayName, Role string }
		}
	}
	if h.token == "" && !h.offline {
		return User{}, &Error{Kind: ErrUnauthorized, What: "whoami", Message: "there is no token", Remedy: remedies[ErrUnauthorized]}
	}
	c := call{what: "whoami", method: "GET", url: h.base.String() + "/api/whoami-v2", missing: ErrRefused}
	if _, err := h.fetchJSON(ctx, c, &w); err != nil {
		return User{}, err
	}
	if w.Name == "" {
		return User{}, &Error{Kind: ErrRefused, What: c.what, Message: "the answer names nobody", Remedy: remedies[ErrRefused]}
	}
	u := User{Name: h.clean(w.Name), Type: h.clean(w.Type), Token: h.clean(w.Auth.AccessToken.DisplayName), Role: h.clean(w.Auth.AccessToken.Role)}
	for _, org := range w.Orgs {
		u.Orgs = append(u.Orgs, h.clean(org.Name))
	}
	return u, nil
}

// repoName is how a repository is named in bodies.
type repoName struct {
	Name         string `json:"name"`
	Organization string `json:"organization"`
	Type         Kind   `json:"type"`
	Visibility   string `json:"visibility,omitempty"`
}

func named(a Address) repoName {
	org, name, _ := strings.Cut(a.Repo, "/")
	return repoName{Name: name, Organization: org, Type: a.Kind}
}

func (h *hf) Create(ctx context.Context, a Address, o CreateOptions) error {
	if err := a.check(); err != nil {
		return err
	}
	body := named(a)
	body.Visibility = "public"
	if o.Private {
		body.Visibility = "private"
	}
	_, err := h.request(ctx, "create "+a.String(), "POST", h.base.String()+"/api/repos/create", body, nil)
	if errors.Is(err, ErrExists) && o.ExistOK {
		return nil
	}
	return err
}

func (h *hf) Delete(ctx context.Context, a Address) error {
	if err := a.check(); err != nil {
		return err
	}
	_, err := h.request(ctx, "delete "+a.String(), "DELETE", h.base.String()+"/api/repos/delete", named(a), nil)
	return err
}

func (h *hf) Info(ctx context.Context, a Address) (Info, error) {
	if err := a.check(); err != nil {
		return Info{}, err
	}
	target := h.api(a)
	if a.Revision != "" {
		target = h.api(a, "revision", a.Revision)
	}
	var answer struct {
		ID           string
		SHA          string
		Private      bool
		Gated        json.RawMessage // false, "auto" or "manual"
		LastModified time.Time
		Tags         []string
		Siblings     []struct{ RFilename string }
	}
	what := "read " + a.String()
	if _, err := h.request(ctx, what, "GET", target, nil, &answer); err != nil {
		return Info{}, err
	}
	if !names.SHA1(answer.SHA) {
		return Info{}, hostile(what, "the commit it names is none")
	}
	info := Info{Address: a, ID: h.clean(answer.ID), Commit: answer.SHA, Private: answer.Private, LastModified: answer.LastModified}
	if json.Unmarshal(answer.Gated, &info.Gated) == nil {
		info.Gated = h.clean(info.Gated)
	}
	for _, tag := range answer.Tags {
		info.Tags = append(info.Tags, h.clean(tag))
	}
	for _, s := range answer.Siblings {
		if err := names.File(s.RFilename); err != nil {
			return Info{}, hostile(what, err.Error())
		}
		info.Files = append(info.Files, s.RFilename)
	}
	return info, nil
}

func (h *hf) Commits(ctx context.Context, a Address, limit int) ([]CommitInfo, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	type item struct {
		ID, Title, Message string
		Date               time.Time
		Authors            []struct{ User string }
	}
	if limit <= 0 {
		limit = maxItems
	}
	what := "list commits of " + a.String()
	target := h.api(a, "commits", a.rev()) + "?limit=" + strconv.Itoa(min(limit, 100))
	items, err := pages(ctx, h, what, target, limit, func(i item) string { return i.ID })
	if err != nil {
		return nil, err
	}
	commits := make([]CommitInfo, 0, len(items))
	for _, i := range items {
		if !names.SHA1(i.ID) {
			return nil, hostile(what, "a commit it names is none")
		}
		c := CommitInfo{ID: i.ID, Title: h.clean(i.Title), Message: h.cleanLines(i.Message), Date: i.Date}
		for _, author := range i.Authors {
			c.Authors = append(c.Authors, h.clean(author.User))
		}
		commits = append(commits, c)
	}
	return commits, nil
}

func (h *hf) Refs(ctx context.Context, a Address) ([]Ref, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	type ref struct{ Name, Ref, TargetCommit string }
	var answer struct{ Branches, Tags, PullRequests []ref }
	what := "list references of " + a.String()
	if _, err := h.request(ctx, what, "GET", h.api(a, "refs")+"?include_prs=1", nil, &answer); err != nil {
		return nil, err
	}
	var refs []Ref
	for _, group := range []struct {
		kind string
		refs []ref
	}{{"branch", answer.Branches}, {"tag", answer.Tags}, {"pull request", answer.PullRequests}} {
		for _, r := range group.refs {
			name := r.Name
			if group.kind == "pull request" {
				name = r.Ref
			}
			if names.Revision(name) != nil || !names.SHA1(r.TargetCommit) {
				return nil, hostile(what, "a reference it names is none")
			}
			refs = append(refs, Ref{Kind: group.kind, Name: name, Commit: r.TargetCommit})
		}
	}
	return refs, nil
}

func (h *hf) CreateBranch(ctx context.Context, a Address, from string) error {
	if err := a.check(); err != nil {
		return err
	}
	body := struct {
		StartingPoint string `json:"startingPoint,omitempty"`
	}{from}
	_, err := h.request(ctx, "create branch "+a.String(), "POST", h.api(a, "branch", a.rev()), body, nil)
	return err
}

func (h *hf) DeleteBranch(ctx context.Context, a Address) error {
	if err := a.check(); err != nil {
		return err
	}
	c := call{what: "delete branch " + a.String(), method: "DELETE", url: h.api(a, "branch", a.rev()), missing: ErrRevisionNotFound}
	_, err := h.fetchJSON(ctx, c, nil)
	return err
}

func (h *hf) PullRequests(ctx context.Context, a Address) ([]PullRequest, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	what := "list pull requests of " + a.String()
	var all []PullRequest
	for seen, page := 0, 0; ; page++ {
		var answer struct {
			Count       int
			Discussions []struct {
				Num           int
				Title, Status string
				IsPullRequest bool
				CreatedAt     time.Time
				Author        struct{ Name string }
			}
		}
		target := fmt.Sprintf("%s?p=%d&type=pull_request&status=all", h.api(a, "discussions"), page)
		if _, err := h.request(ctx, what, "GET", target, nil, &answer); err != nil {
			return nil, err
		}
		for _, d := range answer.Discussions {
			if d.IsPullRequest {
				all = append(all, PullRequest{d.Num, h.clean(d.Title), h.clean(d.Status), h.clean(d.Author.Name), d.CreatedAt})
			}
		}
		if seen += len(answer.Discussions); len(answer.Discussions) == 0 || seen >= answer.Count {
			return all, nil
		}
		if page >= maxPages || len(all) >= maxItems {
			return nil, hostile(what, "the list has no end")
		}
	}
}
