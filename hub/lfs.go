package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const lfsJSON = "application/vnd.git-lfs+json"

// action is where an object of an LFS batch is to be sent.
type action struct {
	Href   string
	Header map[string]string
}

// object is one answer of an LFS batch.
type object struct {
	OID   string
	Error *struct {
		Code    int
		Message string
	}
	Actions struct{ Upload, Verify *action }
}

// uploadLFS stores the contents the hub asks for, several at a time, and returns the bytes sent.
func (h *hf) uploadLFS(ctx context.Context, a Address, files []*upload, m *meter) (sent int64, err error) {
	byOID := map[string]*upload{}
	var contents []*upload
	for _, u := range files {
		if u.lfs && byOID[u.sums["lfs"]] == nil {
			byOID[u.sums["lfs"]] = u
			contents = append(contents, u)
		}
	}
	for group := range slices.Chunk(contents, groupSize) {
		objects, err := h.batch(ctx, a, group)
		if err != nil {
			return sent, err
		}
		for _, o := range objects {
			if o.Actions.Upload != nil {
				m.grow(byOID[o.OID].size)
			}
		}
		var mu sync.Mutex
		err = forEach(ctx, h.parallel, objects, func(ctx context.Context, o object) error {
			u := byOID[o.OID]
			n, err := h.store(ctx, a, u, o, m)
			mu.Lock()
			sent += n
			mu.Unlock()
			return err
		})
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// batch asks where contents are to be sent. Those stored already come back without an action.
func (h *hf) batch(ctx context.Context, a Address, files []*upload) ([]object, error) {
	type item struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	var body struct {
		Operation string            `json:"operation"`
		Transfers []string          `json:"transfers"`
		HashAlgo  string            `json:"hash_algo"`
		Ref       map[string]string `json:"ref"`
		Objects   []item            `json:"objects"`
	}
	body.Operation, body.Transfers, body.HashAlgo = "upload", []string{"basic", "multipart"}, "sha256"
	body.Ref = map[string]string{"name": a.rev()}
	asked := map[string]bool{}
	for _, u := range files {
		body.Objects = append(body.Objects, item{u.sums["lfs"], u.size})
		asked[u.sums["lfs"]] = true
	}
	what := "upload to " + a.String()
	c, err := jsonCall(what, "POST", h.page(a)+".git/info/lfs/objects/batch", body)
	if err != nil {
		return nil, err
	}
	c.accept, c.content = lfsJSON, lfsJSON
	var answer struct{ Objects []object }
	if _, err := h.fetchJSON(ctx, c, &answer); err != nil {
		return nil, err
	}
	for _, o := range answer.Objects {
		if !asked[o.OID] {
			return nil, hostile(what, "it wants files it was not offered")
		}
		if o.Error != nil {
			return nil, &Error{Kind: ErrRefused, What: what, Message: h.clean(o.Error.Message), Status: o.Error.Code}
		}
		delete(asked, o.OID)
	}
	if len(asked) > 0 {
		return nil, hostile(what, "it doesn't say where to send the files it was offered")
	}
	return answer.Objects, nil
}

// store sends one content, and again with new URLs if those it had have expired meanwhile, and has it verified.
func (h *hf) store(ctx context.Context, a Address, u *upload, o object, m *meter) (sent int64, err error) {
	if o.Actions.Upload == nil {
		return 0, nil
	}
	t := &sending{h: h, a: a, what: "upload " + u.Path + " to " + a.String(), u: u, meter: m}
	if t.r, err = u.open(); err != nil {
		return 0, err
	}
	defer t.r.Close()
	err = t.send(ctx, o)
	var refused *Error
	if errors.As(err, &refused) && refused.Status/100 == 4 && !refused.transient && ctx.Err() == nil {
		var again []object
		if again, err = h.batch(ctx, a, []*upload{u}); err == nil && again[0].Actions.Upload != nil {
			o = again[0]
			t.show(-t.shown)
			err = t.send(ctx, o)
		}
	}
	if err == nil && o.Actions.Verify != nil {
		err = t.verify(ctx, o)
	}
	if err != nil { // should the push be tried again, it counts anew
		t.show(-t.shown)
		m.grow(-u.size)
	}
	return t.sent, err
}

// sending moves one content to the hub's storage.
type sending struct {
	h     *hf
	a     Address
	what  string
	u     *upload
	r     *content
	meter *meter
	mu    sync.Mutex
	sent  int64 // bytes that are there
	shown int64 // bytes reported as progress
}

// show reports progress.
func (t *sending) show(n int64) {
	t.mu.Lock()
	t.shown += n
	t.mu.Unlock()
	t.meter.add(n, t.u.Path)
}

func (t *sending) send(ctx context.Context, o object) error {
	if t.r.size != t.u.size {
		return t.u.moved()
	}
	up := o.Actions.Upload
	if up.Header["chunk_size"] == "" {
		_, err := t.put(ctx, up.Href, 0, t.u.size)
		return err
	}
	p, err := t.h.openParts(t.a, o.OID, *up)
	if err != nil {
		return err
	}
	err = t.sendParts(ctx, p, o.OID)
	var refused *Error
	p.close(err == nil || (errors.As(err, &refused) && !refused.transient))
	return err
}

// stored is a part as the hub wants it named at the end.
type stored struct {
	Number int    `json:"partNumber"`
	ETag   string `json:"etag"`
}

// sendParts sends the parts that aren't stored yet, several at a time, and puts them together.
func (t *sending) sendParts(ctx context.Context, p *parts, oid string) error {
	urls, size, err := t.plan(&p.to)
	if err != nil {
		return err
	}
	all := make([]stored, len(urls))
	for i := range all {
		all[i].Number = i + 1
	}
	err = forEach(ctx, t.h.parallel, slices.Clone(all), func(ctx context.Context, s stored) error {
		first := int64(s.Number-1) * size
		length := min(size, t.u.size-first)
		etag, err := p.stored(s.Number)
		if etag != "" || err != nil {
			t.show(length)
			all[s.Number-1].ETag = etag
			return err
		}
		etag, err = t.put(ctx, urls[s.Number-1], first, length)
		if err != nil {
			return err
		}
		if etag == "" || len(etag) > 1024 {
			return hostile(t.what, "it gives a stored part no ETag")
		}
		all[s.Number-1].ETag = etag
		return p.store(s.Number, etag)
	})
	if err != nil {
		return err
	}
	body := struct {
		OID   string   `json:"oid"`
		Parts []stored `json:"parts"`
	}{oid, all}
	c, err := jsonCall(t.what, "POST", p.to.Href, body)
	if err != nil {
		return err
	}
	c.accept, c.content, c.noAuth = lfsJSON, lfsJSON, true
	return t.finish(ctx, c)
}

// plan reads the URLs of a multipart upload: numbered from 1, in the header, each for chunk_size bytes.
func (t *sending) plan(up *action) (urls []string, size int64, err error) {
	size, err = strconv.ParseInt(up.Header["chunk_size"], 10, 64)
	if err != nil || size <= 0 || t.u.size/size > 100_000 {
		return nil, 0, hostile(t.what, "the size of its parts is none")
	}
	urls = make([]string, (t.u.size+size-1)/size)
	for key, target := range up.Header {
		if n, err := strconv.Atoi(key); err == nil && n >= 1 && n <= len(urls) {
			urls[n-1] = target
		}
	}
	if slices.Contains(urls, "") {
		return nil, 0, hostile(t.what, "there are fewer places for parts than parts")
	}
	return urls, size, nil
}

// put sends length bytes from first on, without the token, and returns the stored part's ETag.
func (t *sending) put(ctx context.Context, target string, first, length int64) (etag string, err error) {
	if err := t.h.storage(t.what, target); err != nil {
		return "", err
	}
	var turn []byte
	select {
	case turn = <-t.h.pieces: // the right to use a connection
		defer func() { t.h.pieces <- turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	var read int64 // by the attempt under way
	c := call{what: t.what, method: "PUT", url: target, size: length, noAuth: true}
	c.open = func() (io.ReadCloser, error) {
		t.show(-read)
		read = 0
		return io.NopCloser(&metered{io.NewSectionReader(t.r, first, length), func(n int) {
			read += int64(n)
			t.show(int64(n))
		}}), nil
	}
	err = t.h.retry(ctx, func(*int) error {
		a, err := t.h.once(ctx, c)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		io.CopyN(io.Discard, a.Body, maxErrorBody)
		etag = a.Header.Get("ETag")
		return nil
	})
	if err == nil {
		t.mu.Lock()
		t.sent += length
		t.mu.Unlock()
	}
	return etag, err
}

// metered tells how much was read.
type metered struct {
	io.Reader
	report func(int)
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.report(n)
	return n, err
}

// verify lets the hub check that it has the content.
func (t *sending) verify(ctx context.Context, o object) error {
	body := struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}{o.OID, t.u.size}
	c, err := jsonCall(t.what, "POST", o.Actions.Verify.Href, body)
	if err != nil {
		return err
	}
	return t.finish(ctx, c)
}

func (t *sending) finish(ctx context.Context, c call) error {
	if err := t.h.storage(t.what, c.url); err != nil {
		return err
	}
	_, err := t.h.fetchJSON(ctx, c, nil)
	return err
}

// storage checks a URL the hub gave to send content to.
func (h *hf) storage(what, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || !(u.Scheme == "https" || (u.Scheme == "http" && h.base.Scheme == "http")) {
		return hostile(what, fmt.Sprintf("%q is no place to upload to", strings.SplitN(h.clean(target), "?", 2)[0]))
	}
	return nil
}
