package server

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// info describes a repository at a revision.
func (q *request) info() error {
	rev := "HEAD"
	if len(q.args) > 0 {
		rev = strings.Join(q.args, "/")
	}
	c, err := q.repo.lookup(rev)
	if err != nil {
		return err
	}
	item, err := q.about(q.repo, c)
	if err != nil {
		return err
	}
	return q.answer(http.StatusOK, q.expanded(item))
}

// about is everything this server knows of a repository.
func (q *request) about(p *repo, c *commit) (map[string]any, error) {
	t, err := p.tree(c)
	if err != nil {
		return nil, err
	}
	set := p.currentSettings()
	org, _, _ := strings.Cut(p.name, "/")
	item := map[string]any{
		"_id": set.ID, "id": p.name, "author": org, "sha": c.ID, "private": set.Private, "gated": any(false), "disabled": false,
		"createdAt": formatTime(set.Created), "lastModified": formatTime(c.Date), "downloads": 0, "downloadsAllTime": 0, "likes": 0,
		"siblings": siblings(t, q.flag("blobs")), "spaces": []any{}, "usedStorage": p.storage(), "tags": []string{},
	}
	if p.kind == "model" {
		item["modelId"] = p.name
	}
	if set.Gated != "" {
		item["gated"] = set.Gated
	}
	if card := q.s.card(t); card != nil {
		item["cardData"] = card
		item["tags"] = cardTags(card)
		for _, key := range []string{"pipeline_tag", "library_name", "model-index", "sdk"} {
			if v, ok := card[key]; ok {
				item[key] = v
			}
		}
	}
	return item, nil
}

// storage is the size of a repository's LFS contents, in bytes.
func (p *repo) storage() int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var sum int64
	for _, size := range p.objects {
		sum += size
	}
	return sum
}

// siblings lists the files, with their contents' names and sizes if asked.
func siblings(t *tree, blobs bool) []map[string]any {
	list := []map[string]any{}
	for _, e := range t.entries {
		if e.Dir {
			continue
		}
		item := map[string]any{"rfilename": e.Path}
		if blobs {
			item["size"], item["blobId"] = e.Size, e.OID
			if e.LFS {
				item["lfs"] = map[string]any{"sha256": e.SHA256, "size": e.Size, "pointerSize": len(pointer(e.SHA256, e.Size))}
			}
		}
		list = append(list, item)
	}
	return list
}

// expanded picks the fields that expand asks for; without it all but the rare ones are sent.
func (q *request) expanded(item map[string]any) map[string]any {
	want := slices.Concat(q.query["expand"], q.query["expand[]"])
	if len(want) == 0 {
		delete(item, "downloadsAllTime")
		return item
	}
	few := map[string]any{"_id": item["_id"], "id": item["id"]}
	if id, ok := item["modelId"]; ok {
		few["modelId"] = id
	}
	for _, key := range want {
		if v, ok := item[key]; ok {
			few[key] = v
		}
	}
	return few
}

// listRepos lists the repositories of a kind that the user may see, in pages.
func (q *request) listRepos(kind string) error {
	limit, err := q.limit(treePage)
	if err != nil {
		return err
	}
	from := 0
	if s := q.query.Get("cursor"); s != "" {
		if from, err = strconv.Atoi(s); err != nil || from < 0 {
			return badRequest("The cursor is not one of this server's")
		}
	}
	var found []map[string]any
	for _, p := range q.s.visible(q, kind) {
		c, err := p.lookup("HEAD")
		if err != nil {
			return err
		}
		item, err := q.about(p, c)
		if err != nil {
			return err
		}
		if q.wanted(item) {
			found = append(found, item)
		}
	}
	q.order(found)
	from = min(from, len(found))
	to := min(from+limit, len(found))
	if to < len(found) {
		q.linkNext("cursor", strconv.Itoa(to))
	}
	list := make([]map[string]any, 0, to-from)
	for _, item := range found[from:to] {
		if !q.flag("full") && len(q.query["expand"])+len(q.query["expand[]"]) == 0 {
			delete(item, "siblings")
			delete(item, "cardData")
		}
		list = append(list, q.expanded(item))
	}
	return q.answer(http.StatusOK, list)
}

// visible lists the repositories of a kind that a user may see.
func (s *Server) visible(q *request, kind string) []*repo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*repo
	for key, p := range s.repos {
		if key.kind == kind && q.permit(p, see) == nil {
			list = append(list, p)
		}
	}
	return list
}

// wanted tells whether a repository is among those the query asks for.
func (q *request) wanted(item map[string]any) bool {
	id := strings.ToLower(item["id"].(string))
	tags := item["tags"].([]string)
	for _, filter := range q.query["filter"] {
		for tag := range strings.SplitSeq(filter, ",") {
			if !slices.Contains(tags, tag) {
				return false
			}
		}
	}
	author, task := q.query.Get("author"), q.query.Get("pipeline_tag")
	return strings.Contains(id, strings.ToLower(q.query.Get("search"))) &&
		(author == "" || item["author"] == author) && (task == "" || item["pipeline_tag"] == task)
}

// order sorts by the field that sort names, newest first, or by name.
func (q *request) order(list []map[string]any) {
	field := q.query.Get("sort")
	if field != "createdAt" && field != "id" {
		field = "lastModified" // nothing here has likes or downloads to sort by
	}
	slices.SortFunc(list, func(a, b map[string]any) int {
		x, y := a[field].(string), b[field].(string)
		if field != "id" {
			x, y = y, x
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a["id"].(string), b["id"].(string)))
	})
}

// maxCard is how much of a model card is read, in bytes.
const maxCard = 1 << 20

// cards keeps the cards read lately by their contents' names, since a listing needs all of them.
type cards struct {
	mu    sync.Mutex
	known map[string]map[string]any
}

// card reads the YAML at the top of a tree's README.md; nil if there is none, or none that can be read.
func (s *Server) card(t *tree) map[string]any {
	e, ok := t.find("README.md")
	if !ok || e.Dir || e.LFS || e.Size > maxCard {
		return nil
	}
	s.cards.mu.Lock()
	defer s.cards.mu.Unlock()
	if card, ok := s.cards.known[e.SHA256]; ok {
		return card
	}
	data, err := s.store.read(e.SHA256)
	if err != nil {
		s.logf("read a model card: %v", err)
		return nil
	}
	card, _ := parseCard(string(data)) // one that can't be read was told about when it was written
	if s.cards.known == nil || len(s.cards.known) >= 10_000 {
		s.cards.known = map[string]map[string]any{}
	}
	s.cards.known[e.SHA256] = card
	return card
}

// parseCard reads the YAML between the lines of dashes at the top; nil if there are none.
func parseCard(text string) (map[string]any, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	rest, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return nil, nil
	}
	head, _, ok := strings.Cut("\n"+rest, "\n---")
	if !ok {
		return nil, nil
	}
	var card map[string]any
	if err := yaml.Unmarshal([]byte(head), &card); err != nil {
		return nil, err
	}
	for key, v := range card {
		card[key] = jsonValue(v)
	}
	return card, nil
}

// jsonValue makes what YAML can say sayable in JSON: keys become text, and so do numbers that are none.
func jsonValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = jsonValue(item)
		}
	case map[any]any:
		text := make(map[string]any, len(v))
		for key, item := range v {
			text[fmt.Sprint(key)] = jsonValue(item)
		}
		return text
	case []any:
		for i, item := range v {
			v[i] = jsonValue(item)
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	}
	return v
}

// cardTags are the tags that follow from a card.
func cardTags(card map[string]any) []string {
	tags := []string{}
	add := func(prefix string, v any) {
		switch v := v.(type) {
		case string:
			tags = append(tags, prefix+v)
		case []any:
			for _, s := range v {
				if s, ok := s.(string); ok {
					tags = append(tags, prefix+s)
				}
			}
		}
	}
	add("", card["tags"])
	add("", card["library_name"])
	add("", card["pipeline_tag"])
	add("", card["language"])
	add("license:", card["license"])
	add("base_model:", card["base_model"])
	if relation, ok := card["base_model_relation"].(string); ok {
		add("base_model:"+relation+":", card["base_model"])
	}
	return tags
}

// validateYAML tells a client whether a card can be read.
func (q *request) validateYAML() error {
	var body struct{ Content string }
	if err := q.decode(&body); err != nil {
		return err
	}
	errs := []any{}
	if _, err := parseCard(body.Content); err != nil {
		errs = append(errs, map[string]any{"message": err.Error()})
	}
	return q.answer(http.StatusOK, map[string]any{"errors": errs, "warnings": []any{}})
}
