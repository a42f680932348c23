package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"d2nwg/hub/internal/names"
)

// errNoRanges is the answer 200 to a request for a part: the server can only send all of it.
var errNoRanges = errors.New("the hub sends no parts of files")

// source is a file on the hub.
type source struct {
	h      *hf
	what   string
	url    string
	commit string
	want   Entry

	mu     sync.Mutex
	direct string // where url redirects to, as long as that answers
}

func (h *hf) source(a Address, commit string, e Entry) *source {
	return &source{
		h: h, what: "download " + e.Path + " of " + a.String(), commit: commit, want: e,
		url: h.page(a) + "/resolve/" + commit + "/" + escapePath(e.Path),
	}
}

// get asks for the bytes from first up to end (exclusive).
func (s *source) get(ctx context.Context, first, end int64) (*answer, error) {
	c := call{what: s.what, method: "GET", url: s.url, missing: ErrEntryNotFound}
	if first > 0 || end < s.want.Size {
		c.span = fmt.Sprintf("bytes=%d-%d", first, end-1)
	}
	s.mu.Lock()
	direct := s.direct
	s.mu.Unlock()
	if direct != "" {
		c.url = direct
	}
	a, err := s.h.once(ctx, c)
	var refused *Error
	if direct != "" && errors.As(err, &refused) && refused.Status/100 == 4 && !refused.transient {
		s.mu.Lock() // its signature has expired
		s.direct = ""
		s.mu.Unlock()
		return s.get(ctx, first, end)
	}
	if err != nil {
		return nil, err
	}
	if direct == "" {
		err = s.checkHeader(a.first)
	}
	if err == nil {
		err = s.checkSpan(a, first, end)
	}
	if err != nil {
		a.Body.Close()
		return nil, err
	}
	if final := a.final.String(); final != s.url {
		s.mu.Lock()
		s.direct = final
		s.mu.Unlock()
	}
	return a, nil
}

// checkHeader compares what the endpoint says of the file with what its list said.
func (s *source) checkHeader(header http.Header) error {
	if commit := header.Get("X-Repo-Commit"); commit != "" && commit != s.commit {
		if !names.SHA1(commit) {
			return hostile(s.what, "the commit it names is none")
		}
		return s.corrupt("it comes from another commit")
	}
	etag := header.Get("X-Linked-Etag")
	if etag == "" {
		etag = header.Get("ETag")
	}
	if etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`); etag != "" && etag != s.want.etag() {
		if !names.SHA1(etag) && !names.SHA256(etag) {
			return hostile(s.what, "its ETag is no hash")
		}
		return s.corrupt("its ETag is that of another file")
	}
	if size := header.Get("X-Linked-Size"); size != "" && size != strconv.FormatInt(s.want.Size, 10) {
		return s.corrupt("its size is not the listed one")
	}
	return nil
}

// checkSpan compares the bytes announced with those asked for.
func (s *source) checkSpan(a *answer, first, end int64) error {
	length := end - first
	switch a.StatusCode {
	case http.StatusOK:
		length = s.want.Size
	case http.StatusPartialContent:
		span, total, _ := strings.Cut(a.Header.Get("Content-Range"), "/")
		if span != fmt.Sprintf("bytes %d-%d", first, end-1) || (total != "*" && total != strconv.FormatInt(s.want.Size, 10)) {
			return s.corrupt("it sends another part than the one asked for")
		}
	default:
		return s.corrupt("it answers with status " + strconv.Itoa(a.StatusCode))
	}
	if a.ContentLength >= 0 && a.ContentLength != length {
		return s.corrupt(fmt.Sprintf("it sends %d bytes where %d were listed", a.ContentLength, length))
	}
	return nil
}

func (s *source) corrupt(message string) *Error {
	return &Error{Kind: ErrCorrupt, What: s.what, Message: message, Remedy: "nothing was kept; try again, or report it to the hub"}
}

// fetch brings an entry's blob into the cache, continuing what is there, and returns how many bytes were fetched.
func (h *hf) fetch(ctx context.Context, s *store, src *source, report func(int64)) (fetched int64, err error) {
	unlock, err := s.lock(ctx, src.want.etag())
	if err != nil {
		return 0, err
	}
	defer unlock()
	if s.has(src.want) { // another process was faster
		report(src.want.Size)
		return 0, nil
	}
	p, err := s.openPartial(src.want)
	if err != nil {
		return 0, err
	}
	defer p.file.Close()
	report(p.done)
	t := &transfer{h: h, src: src, p: p, report: report}
	err = t.run(ctx)
	if err == nil && !p.good() && p.resumed { // what an earlier process left may have been wrong
		if err = t.restart(); err == nil {
			err = t.run(ctx)
		}
	}
	if err == nil && !p.good() {
		err = src.corrupt("its hash is not the listed one")
	}
	if err == nil {
		err = p.finish()
	} else if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrHostile) {
		report(-p.done)
		s.root.Remove(p.name)
	}
	return t.fetched, err
}

// transfer moves a file into its partial.
type transfer struct {
	h       *hf
	src     *source
	p       *partial
	report  func(int64)
	fetched int64
}

func (t *transfer) run(ctx context.Context) error {
	if t.src.want.Size-t.p.done > 2*t.h.piece {
		err := t.parts(ctx)
		if !errors.Is(err, errNoRanges) {
			return err
		}
	}
	return t.stream(ctx)
}

func (t *transfer) restart() error {
	t.report(-t.p.done)
	return t.p.restart()
}

func (t *transfer) Write(b []byte) (int, error) {
	n, err := t.p.Write(b)
	t.fetched += int64(n)
	t.report(int64(n))
	return n, err
}

// stream fetches all that is missing with one request, and again from where it broke off.
func (t *transfer) stream(ctx context.Context) error {
	best, size := t.p.done, t.src.want.Size
	return t.h.retry(ctx, func(failures *int) error {
		if t.p.done == size {
			return nil
		}
		a, err := t.src.get(ctx, t.p.done, size)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if a.StatusCode == http.StatusOK && t.p.done > 0 {
			if err := t.restart(); err != nil {
				return err
			}
		}
		err = t.copy(ctx, a.Body)
		if t.p.done > best { // an attempt that begins anew and again comes no further counts as failed
			best, *failures = t.p.done, 0
		}
		return err
	})
}

// copy writes a body that has to end where the file ends.
func (t *transfer) copy(ctx context.Context, body io.Reader) error {
	buf := make([]byte, 256<<10)
	for left := t.src.want.Size - t.p.done; ; left = t.src.want.Size - t.p.done {
		n, err := body.Read(buf[:min(int64(len(buf)), left+1)])
		if int64(n) > left {
			return t.src.corrupt("it sends more bytes than were listed")
		}
		if _, err := t.Write(buf[:n]); err != nil {
			return err
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && int64(n) == left {
			return nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return t.h.broken(ctx, t.src.what, err)
	}
}

// part is a piece of a file that has arrived, or failed to.
type part struct {
	buf []byte
	err error
}

// parts fetches what is missing in pieces, several at a time, and writes them in order: so the partial file is always a
// prefix, its hash is known at the end, and memory is bounded by the hub's buffers. Buffers are taken in the order of
// pieces, so the piece that is waited for always has one.
func (t *transfer) parts(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan part, cap(t.h.pieces))
	go t.ask(ctx, queue)
	var failed error
	for result := range queue {
		r := <-result
		if failed == nil {
			if failed = r.err; failed == nil {
				_, failed = t.Write(r.buf)
			}
			if failed != nil {
				cancel()
			}
		}
		t.h.pieces <- r.buf[:cap(r.buf)]
	}
	if failed == nil && t.p.done < t.src.want.Size {
		failed = context.Cause(ctx)
	}
	return failed
}

// ask requests one piece after the other and hands on, in order, where each will arrive.
func (t *transfer) ask(ctx context.Context, queue chan<- chan part) {
	defer close(queue)
	size := t.src.want.Size
	for first := t.p.done; first < size; first += t.h.piece {
		var buf []byte
		select {
		case buf = <-t.h.pieces:
		case <-ctx.Done():
			return
		}
		if buf == nil {
			buf = make([]byte, t.h.piece)
		}
		result := make(chan part, 1)
		queue <- result // never blocks for long: there are as many places as buffers
		go func() {
			buf = buf[:min(t.h.piece, size-first)]
			result <- part{buf, t.piece(ctx, first, buf)}
		}()
	}
}

// piece fills buf with the file's bytes from first on.
func (t *transfer) piece(ctx context.Context, first int64, buf []byte) error {
	return t.h.retry(ctx, func(*int) error {
		a, err := t.src.get(ctx, first, first+int64(len(buf)))
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if a.StatusCode == http.StatusOK {
			return errNoRanges
		}
		if _, err := io.ReadFull(a.Body, buf); err != nil {
			return t.h.broken(ctx, t.src.what, err)
		}
		if n, _ := io.ReadFull(a.Body, make([]byte, 1)); n > 0 {
			return t.src.corrupt("it sends more bytes than were asked for")
		}
		return nil
	})
}
