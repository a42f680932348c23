package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// hostile is the error for a server that breaks a rule no honest one breaks.
func hostile(what, message string) *Error {
	return &Error{Kind: ErrHostile, What: what, Message: message, Remedy: "do not use this hub"}
}

// broken is the error for a request or a body that failed on the way; it leaves the URL out, whose query may be a key.
func (h *hf) broken(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var certificate *tls.CertificateVerificationError
	return &Error{
		Kind: ErrUnavailable, What: what, Message: h.clean(err.Error()), transient: !errors.As(err, &certificate),
		Remedy: "check the network and HF_ENDPOINT, or use what is cached with HF_HUB_OFFLINE=1",
	}
}

// codes are the values of X-Error-Code.
var codes = map[string]error{
	"RepoNotFound":     ErrRepoNotFound,
	"RevisionNotFound": ErrRevisionNotFound,
	"EntryNotFound":    ErrEntryNotFound,
	"GatedRepo":        ErrGated,
}

// statuses say what a status means that comes without a code.
var statuses = map[int]error{
	http.StatusUnauthorized:       ErrUnauthorized,
	http.StatusForbidden:          ErrForbidden,
	http.StatusConflict:           ErrExists,
	http.StatusPreconditionFailed: ErrConflict,
	http.StatusTooManyRequests:    ErrRateLimited,
	http.StatusRequestTimeout:     ErrUnavailable,
}

// remedies say what to do about a kind of error.
var remedies = map[error]string{
	ErrRepoNotFound:     "check the address; a private repository needs a token that may read it",
	ErrRevisionNotFound: "list revisions with `d2nwg hub info`",
	ErrEntryNotFound:    "list files with `d2nwg hub ls`",
	ErrGated:            "accept the conditions on its page and use a token of that account",
	ErrUnauthorized:     "log in with `d2nwg hub login`, or set HF_TOKEN",
	ErrForbidden:        "use a token with the right to do it",
	ErrConflict:         "pull the newest revision and push again",
	ErrRateLimited:      "wait some minutes",
	ErrUnavailable:      "try again later",
	ErrRefused:          "check HF_ENDPOINT if this is no hub's answer",
}

// refusal reads why a server said no.
func (h *hf) refusal(c call, resp *http.Response) *Error {
	e := &Error{What: c.what, Status: resp.StatusCode, Message: resp.Header.Get("X-Error-Message")}
	if e.Message == "" {
		var body struct{ Error any }
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		if json.Unmarshal(data, &body) == nil {
			e.Message, _ = body.Error.(string)
		}
	}
	if e.Message = h.clean(e.Message); e.Message == "" {
		e.Message = resp.Proto + " " + strconv.Itoa(resp.StatusCode)
	}
	if e.Kind = codes[resp.Header.Get("X-Error-Code")]; e.Kind == nil {
		e.Kind = statuses[resp.StatusCode]
	}
	if e.Kind == nil && (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone) {
		if e.Kind = c.missing; e.Kind == nil {
			e.Kind = ErrRepoNotFound
		}
	}
	if e.Kind == nil && resp.StatusCode >= 500 {
		e.Kind = ErrUnavailable
	}
	if e.Kind == nil {
		e.Kind = ErrRefused
	}
	e.Remedy = remedies[e.Kind]
	switch resp.StatusCode {
	case 408, 429, 500, 502, 503, 504:
		e.transient, e.wait = true, waitFor(resp.Header)
	}
	return e
}

var resetIn = regexp.MustCompile(`(?:^|;)\s*t=([0-9]{1,9})`)

// waitFor reads how long the server wants to be left alone: Retry-After (seconds or a date), or the t of RateLimit when
// nothing remains; 0 if it doesn't say.
func waitFor(header http.Header) time.Duration {
	if after := header.Get("Retry-After"); after != "" {
		if s, err := strconv.ParseUint(after, 10, 31); err == nil {
			return time.Duration(s) * time.Second
		}
		if date, err := http.ParseTime(after); err == nil {
			return max(time.Until(date), 0)
		}
	}
	limit := header.Get("RateLimit")
	if m := resetIn.FindStringSubmatch(limit); m != nil && strings.Contains(limit, ";r=0") {
		s, _ := strconv.ParseUint(m[1], 10, 31)
		return time.Duration(s) * time.Second
	}
	return 0
}

// clean makes a server's words fit for an error: one line, not long, nothing that moves a terminal's cursor, and not the
// token, should they repeat it.
func (h *hf) clean(s string) string {
	if h.token != "" {
		s = strings.ReplaceAll(s, string(h.token), h.token.String())
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return strings.TrimSpace(s)
}

// cleanLines is clean for text of several lines.
func (h *hf) cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = h.clean(line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
