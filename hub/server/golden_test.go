package server_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"d2nwg/hub/hubtest"
	"d2nwg/hub/server"
)

// exchange is a recorded request of an official client with the response it was content with.
type exchange struct {
	Seq      int
	Scenario string
	Request  struct {
		Method, Path, Query string
		Headers             map[string]string
		Body                recordedBody
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    recordedBody
	}
}

type recordedBody struct {
	Len    int
	JSON   json.RawMessage
	NDJSON []json.RawMessage
	Text   string
}

// TestGoldenRequests sends every recorded request of the official clients, in order, to a hub of ours, and compares the
// responses in what a client looks at.
func TestGoldenRequests(t *testing.T) {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(root, "golden", "hub", "*.json"))
	if err != nil || len(files) == 0 {
		t.Skipf("no recorded exchanges in %s: set D2NWG_SHARED to the shared folder", root)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var exchanges []exchange
			if err := json.Unmarshal(data, &exchanges); err != nil {
				t.Fatal(err)
			}
			hub := hubtest.Start(t, server.Options{MultipartOver: 20 << 20, PartSize: 5 << 20})
			r := &replay{hub: hub, contents: map[string][]byte{}, ours: map[string]string{}, verify: map[string]string{}}
			r.invent(t, exchanges)
			held := 0
			for _, e := range exchanges {
				if problems := r.send(t, e); len(problems) == 0 {
					held++
				} else {
					t.Errorf("%d %s: %s %s:\n\t%s", e.Seq, e.Scenario, e.Request.Method, e.Request.Path, strings.Join(problems, "\n\t"))
				}
			}
			t.Logf("%d of %d exchanges held", held, len(exchanges))
		})
	}
}

// replay knows what stands here for what was recorded: the contents of LFS files were not, and commits have other ids.
type replay struct {
	hub      *hubtest.Hub
	contents map[string][]byte // recorded sha256 → our content
	ours     map[string]string // recorded → ours
	verify   map[string]string // recorded sha256 → our address to verify its upload
}

// invent makes contents for the recorded LFS files, of their sizes.
func (r *replay) invent(t *testing.T, exchanges []exchange) {
	for _, e := range exchanges {
		if text := e.Request.Body.Text; e.Request.Method == http.MethodPut && text != "" {
			r.contents[hexSum(text)] = []byte(text)
		}
	}
	for _, e := range exchanges {
		if !strings.HasSuffix(e.Request.Path, "/objects/batch") {
			continue
		}
		var body struct {
			Objects []struct {
				OID  string
				Size int
			}
		}
		if err := json.Unmarshal(e.Request.Body.JSON, &body); err != nil {
			t.Fatal(err)
		}
		for _, o := range body.Objects {
			content := r.contents[o.OID]
			if content == nil {
				content = make([]byte, o.Size)
				rand.NewChaCha8(sha256.Sum256([]byte(o.OID))).Read(content)
				r.contents[o.OID] = content
			}
			sum := hexSum(string(content))
			r.ours[o.OID] = sum
			r.ours[pointerID(o.OID, o.Size)] = pointerID(sum, o.Size)
		}
	}
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// pointerID is git's name for the pointer to an LFS file.
func pointerID(sum string, size int) string {
	text := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, size)
	id := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
	return hex.EncodeToString(id[:])
}

// translate puts ours in the place of what was recorded; longer texts first, since links hold sums.
func (r *replay) translate(s string) string {
	keys := slices.SortedFunc(maps.Keys(r.ours), func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, k := range keys {
		pairs = append(pairs, k, r.ours[k])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

const recordedEndpoint = "http://127.0.0.1:18801"

// send sends one request and returns what is wrong with the response.
func (r *replay) send(t *testing.T, e exchange) []string {
	target := recordedEndpoint + e.Request.Path
	if e.Request.Query != "" {
		target += "?" + e.Request.Query
	}
	target = strings.Replace(r.translate(target), recordedEndpoint, r.hub.URL, 1)
	if strings.Contains(e.Request.Path, "/__lfs_verify/") { // the recording hub had one address for all contents
		var body struct{ OID string }
		if err := json.Unmarshal(e.Request.Body.JSON, &body); err != nil {
			t.Fatal(err)
		}
		target = r.verify[body.OID]
	}
	req, err := http.NewRequest(e.Request.Method, target, bytes.NewReader(r.body(t, e)))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range e.Request.Headers {
		if !slices.Contains([]string{"connection", "content-length", "accept-encoding"}, name) {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != e.Response.Status {
		return []string{fmt.Sprintf("status %d, recorded %d: %s", resp.StatusCode, e.Response.Status, body)}
	}
	problems := r.compareHeaders(e, resp.Header)
	if e.Response.Body.JSON != nil {
		var want, got any
		if err := json.Unmarshal(e.Response.Body.JSON, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			return append(problems, fmt.Sprintf("the body is not JSON: %q", body))
		}
		return append(problems, r.compare("", r.expanded(e, want), got)...)
	}
	if e.Request.Method == http.MethodGet && resp.StatusCode < 300 && len(body) != e.Response.Body.Len {
		problems = append(problems, fmt.Sprintf("%d bytes, recorded %d", len(body), e.Response.Body.Len))
	}
	want := r.translate(e.Response.Body.Text)
	if sum, ok := strings.CutPrefix(e.Request.Path, "/__s3/"); ok && e.Request.Method == http.MethodGet {
		want = string(cutRange(r.contents[sum], e.Request.Headers["range"]))
	}
	if want != "" && resp.StatusCode < 300 && string(body) != want {
		problems = append(problems, fmt.Sprintf("body of %d bytes is not that of %d recorded", len(body), len(want)))
	}
	return problems
}

// cutRange is what a range asks for of a content; "" is all.
func cutRange(content []byte, ask string) []byte {
	var from, to int
	if n, _ := fmt.Sscanf(ask, "bytes=%d-%d", &from, &to); n == 2 {
		return content[from:min(to+1, len(content))]
	}
	return content
}

// body is what the client sent, with our contents and ids.
func (r *replay) body(t *testing.T, e exchange) []byte {
	b := e.Request.Body
	if sum, ok := strings.CutPrefix(e.Request.Path, "/__s3/"); ok && e.Request.Method == http.MethodPut {
		content := r.contents[sum]
		query, err := url.ParseQuery(e.Request.Query)
		if err != nil {
			t.Fatal(err)
		}
		if part, err := strconv.Atoi(query.Get("partNumber")); err == nil {
			content = content[(part-1)*(5<<20):]
		}
		return content[:b.Len]
	}
	switch {
	case b.NDJSON != nil:
		return []byte(r.translate(string(bytes.Join(toBytes(b.NDJSON), []byte("\n")))))
	case b.JSON != nil:
		return []byte(r.translate(string(b.JSON)))
	}
	return []byte(r.translate(b.Text))
}

func toBytes(lines []json.RawMessage) [][]byte {
	var all [][]byte
	for _, l := range lines {
		var line bytes.Buffer
		json.Compact(&line, l) // it has been parsed
		all = append(all, line.Bytes())
	}
	return all
}

// expanded leaves of an info response what the request asked for; the recording hub sent everything.
func (r *replay) expanded(e exchange, want any) any {
	query, _ := url.ParseQuery(e.Request.Query)
	asked := slices.Concat(query["expand"], query["expand[]"])
	object, ok := want.(map[string]any)
	if !ok || len(asked) == 0 {
		return want
	}
	maps.DeleteFunc(object, func(k string, _ any) bool { return k != "id" && !slices.Contains(asked, k) })
	return object
}

var (
	// headersToHold are those a client may look at.
	headersToHold = []string{"etag", "x-repo-commit", "x-linked-etag", "x-linked-size", "location", "content-range", "content-type",
		"content-disposition", "accept-ranges", "x-error-code", "x-error-message", "x-total-count", "www-authenticate"}
	// free are the fields in which hubs may differ: moments, addresses, names that mean nothing to a client, and what follows
	// from the model card, which the recording hub did not read.
	free = []string{"date", "createdAt", "lastModified", "_id", "email", "avatar", "avatarUrl", "usedStorage", "fullname", "displayName",
		"expires_in", "location", "verify", "securityFileStatus", "tags"}
	gitName = regexp.MustCompile(`^"?[0-9a-f]{40}"?$`)
	link    = regexp.MustCompile(`^https?://`)
)

func (r *replay) compareHeaders(e exchange, got http.Header) []string {
	var problems []string
	for _, name := range headersToHold {
		want, ok := e.Response.Headers[name]
		if !ok || name == "accept-ranges" && e.Response.Status >= 400 {
			continue
		}
		have := got.Get(name)
		if name == "etag" && e.Request.Method == http.MethodPut || name == "location" && have != "" {
			r.ours[strings.Trim(want, `"`)] = strings.Trim(have, `"`)
			continue
		}
		if name == "content-disposition" { // the second name is for old clients, and ASCII only
			want, _, _ = strings.Cut(want, "; filename=")
			have, _, _ = strings.Cut(have, "; filename=")
		}
		if problem := r.text(name, want, have); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

// compare finds what of a recorded value ours lacks.
func (r *replay) compare(at string, want, got any) []string {
	var problems []string
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v", at, got)}
		}
		if actions, ok := object["actions"].(map[string]any); ok {
			r.verify[want["oid"].(string)] = actions["verify"].(map[string]any)["href"].(string)
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			v, ok := object[key]
			switch {
			case want["type"] == "directory" && key == "oid": // the recording hub's are not git's; TestNamesAreGits compares ours
			case slices.Contains(free, key), key == "id" && gitName.FindString(fmt.Sprint(want[key])) == "" && !strings.Contains(fmt.Sprint(want[key]), "/"):
			case !ok:
				problems = append(problems, fmt.Sprintf("%s.%s is missing", at, key))
			default:
				problems = append(problems, r.compare(at+"."+key, want[key], v)...)
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return []string{fmt.Sprintf("%s is %v, recorded %v", at, got, want)}
		}
		for i := range want {
			problems = append(problems, r.compare(fmt.Sprintf("%s[%d]", at, i), want[i], list[i])...)
		}
	case string:
		s, ok := got.(string)
		if problem := r.text(at, want, s); problem != "" || !ok {
			problems = append(problems, problem)
		}
	default:
		if want != got {
			problems = append(problems, fmt.Sprintf("%s is %v, recorded %v", at, got, want))
		}
	}
	return problems
}

// text compares texts. Links of LFS and names of commits are learnt where they come first, and have to stay the same.
func (r *replay) text(at, want, got string) string {
	isCommit := gitName.MatchString(want) && regexp.MustCompile(`(?i)(commit|sha|\.id|commitoid)$`).MatchString(at)
	isLink := link.MatchString(want) && (strings.Contains(want, "/__s3/") || strings.Contains(want, "/api/complete_multipart"))
	if _, known := r.ours[want]; !known && (isCommit && gitName.MatchString(got) || isLink && link.MatchString(got)) {
		r.ours[want] = got
		return ""
	}
	if want = strings.ReplaceAll(r.translate(want), recordedEndpoint, r.hub.URL); want != got {
		return fmt.Sprintf("%s is %q, recorded %q", at, got, want)
	}
	return ""
}
