package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds on what a server may make this client do.
const (
	maxJSON      = 64 << 20 // bytes of one answer that is decoded
	maxErrorBody = 64 << 10 // bytes read of an answer that says what went wrong
	maxRedirects = 10
	maxTries     = 6                // of one request, with pauses of 1, 2, 4, 8 and 16 s (and half of that or more between them)
	maxWait      = 10 * time.Minute // the longest pause a server may ask for
	stallLimit   = 60 * time.Second // without a byte in either direction
	thinkLimit   = 5 * time.Minute  // from the request's last byte to the answer's first
)

// secret is a token that doesn't print.
type secret string

func (secret) String() string   { return "(hidden)" }
func (secret) GoString() string { return "(hidden)" }

// newTransport never decompresses (a small answer must not become a big one) and speaks HTTP/1.1, which gives every
// transfer a connection of its own.
func newTransport(parallel int) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    20 * time.Second,
		MaxIdleConnsPerHost:    3 * parallel,
		IdleConnTimeout:        60 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// call is one request, as often as it has to be sent.
type call struct {
	what    string // for errors: "list hf://org/name"
	method  string
	url     string
	accept  string // "": */*
	content string // Content-Type
	span    string // Range
	open    func() (io.ReadCloser, error)
	size    int64 // of the body
	noAuth  bool
	missing error // what a 404 means that doesn't say; nil: ErrRepoNotFound
}

// answer is a response whose status is 2xx.
type answer struct {
	*http.Response
	first http.Header // of the endpoint's own response, when it redirected; Response.Header otherwise
	final *url.URL    // where Response came from
}

// once sends the call, follows redirects, and returns an answer or an *Error. The caller closes the answer's Body.
func (h *hf) once(ctx context.Context, c call) (*answer, error) {
	if h.offline {
		return nil, &Error{Kind: ErrOffline, What: c.what, Message: "offline mode asks no hub", Remedy: "unset HF_HUB_OFFLINE"}
	}
	target, err := url.Parse(c.url)
	if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") || target.User != nil {
		return nil, hostile(c.what, "a URL that is none was given")
	}
	var first http.Header
	for range maxRedirects + 1 {
		resp, err := h.send(ctx, c, target)
		if err != nil {
			return nil, h.broken(ctx, c.what, err)
		}
		if first == nil {
			first = resp.Header
		}
		if !redirects(resp) {
			return h.check(c, &answer{resp, first, target})
		}
		io.CopyN(io.Discard, resp.Body, maxErrorBody) // so that the connection can be used again
		resp.Body.Close()
		if target, err = h.redirect(c, target, resp); err != nil {
			return nil, err
		}
	}
	return nil, hostile(c.what, fmt.Sprintf("it redirects more than %d times", maxRedirects))
}

func redirects(resp *http.Response) bool {
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// redirect checks where a response sends the call.
func (h *hf) redirect(c call, from *url.URL, resp *http.Response) (*url.URL, error) {
	to, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "" || to.Host == "" || (to.Scheme != "http" && to.Scheme != "https") || to.User != nil:
		return nil, hostile(c.what, "it redirects to no web address")
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, hostile(c.what, "it redirects from an encrypted to an open connection")
	case c.open != nil && resp.StatusCode < 307:
		return nil, hostile(c.what, "it redirects an upload as if it were a page")
	}
	return to, nil
}

// send sends one request. The token goes along only to the endpoint itself.
func (h *hf) send(ctx context.Context, c call, target *url.URL) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{cancel: cancel}
	w.timer = time.AfterFunc(thinkLimit, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(ctx, c.method, target.String(), nil)
	if err != nil {
		w.stop()
		return nil, err
	}
	if c.open != nil {
		body, err := c.open()
		if err != nil {
			w.stop()
			return nil, err
		}
		req.Body, req.ContentLength = &watched{body, w, thinkLimit}, c.size
		if c.size == 0 {
			body.Close()
			req.Body = http.NoBody
		}
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("User-Agent", "d2nwg")
	set("Accept-Encoding", "identity")
	set("Accept", "*/*")
	set("Accept", c.accept)
	set("Content-Type", c.content)
	set("Range", c.span)
	if !c.noAuth && h.token != "" && sameOrigin(target, h.base) {
		set("Authorization", "Bearer "+string(h.token))
	}
	resp, err := h.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		w.stop()
		return nil, err
	}
	w.touch(stallLimit)
	resp.Body = &watched{resp.Body, w, stallLimit}
	return resp, nil
}

// sameOrigin tells whether two URLs lie on the same server, spoken to in the same way.
func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

var errStalled = errors.New("the connection stalled")

// watch cancels a request in which nothing moves.
type watch struct {
	mu     sync.Mutex
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (w *watch) touch(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(limit)
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// watched is a body that tells the watch of every read. The response's ends the watch when it is closed.
type watched struct {
	io.ReadCloser
	w     *watch
	after time.Duration // the limit once it is read
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		b.w.touch(stallLimit)
	} else {
		b.w.touch(b.after)
	}
	return n, err
}

func (b *watched) Close() error {
	if b.after == stallLimit {
		defer b.w.stop()
	}
	return b.ReadCloser.Close()
}

// check turns an answer that is none into an error.
func (h *hf) check(c call, a *answer) (*answer, error) {
	if a.StatusCode/100 != 2 {
		defer a.Body.Close()
		return nil, h.refusal(c, a.Response)
	}
	if e := a.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		a.Body.Close()
		return nil, hostile(c.what, "it compresses what was asked for uncompressed")
	}
	return a, nil
}

// retry runs attempt until it succeeds, fails for good, or has failed maxTries times; an attempt that got further sets
// the count of failures back to zero. What it gives up is not tried again by a retry around it.
func (h *hf) retry(ctx context.Context, attempt func(failures *int) error) error {
	for failures := 0; ; {
		err := attempt(&failures)
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.transient {
			return err
		}
		if failures++; failures >= maxTries || e.wait > maxWait {
			e.transient = false
			return err
		}
		wait := e.wait
		if wait == 0 {
			wait = h.pause << (failures - 1)
			wait = wait/2 + rand.N(wait/2+1)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// fetchJSON sends the call, again if need be, decodes the answer into v (nil: it is only read) and returns its header.
func (h *hf) fetchJSON(ctx context.Context, c call, v any) (header http.Header, err error) {
	err = h.retry(ctx, func(*int) error {
		a, err := h.once(ctx, c)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		header = a.Header
		data, err := io.ReadAll(io.LimitReader(a.Body, maxJSON+1))
		switch {
		case err != nil:
			return h.broken(ctx, c.what, err)
		case len(data) > maxJSON:
			return hostile(c.what, fmt.Sprintf("the answer is longer than %d MB", maxJSON>>20))
		case v == nil:
			return nil
		}
		return h.decode(c.what, data, v)
	})
	return header, err
}

// decode reads an answer's JSON.
func (h *hf) decode(what string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return hostile(what, "the answer is not the JSON it should be: "+h.clean(err.Error()))
	}
	return nil
}

// jsonCall makes a call whose body is v as JSON, or one without a body.
func jsonCall(what, method, target string, v any) (call, error) {
	c := call{what: what, method: method, url: target}
	if v == nil {
		return c, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return call{}, err
	}
	c.body("application/json", data)
	return c, nil
}

func (c *call) body(contentType string, data []byte) {
	c.content, c.size = contentType, int64(len(data))
	c.open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil }
}

// request is jsonCall and fetchJSON.
func (h *hf) request(ctx context.Context, what, method, target string, body, v any) (http.Header, error) {
	c, err := jsonCall(what, method, target, body)
	if err != nil {
		return nil, err
	}
	return h.fetchJSON(ctx, c, v)
}
