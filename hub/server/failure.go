package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// failure is an answer other than success, as the Hub words it. Clients look at the status and at X-Error-Code.
type failure struct {
	status  int
	code    string // X-Error-Code, "" where the Hub sends none
	message string
}

func (f *failure) Error() string { return f.message }

func failf(status int, format string, args ...any) error {
	return &failure{status: status, message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return failf(http.StatusBadRequest, format, args...)
}

var (
	errNoPage = &failure{http.StatusNotFound, "", "There is no such page"}
	errLogin  = &failure{http.StatusUnauthorized, "", "Invalid username or password."}
	// Without a valid token, what is missing and what is private look the same.
	errLoginRepo    = &failure{http.StatusUnauthorized, "RepoNotFound", "Invalid username or password."}
	errRepoNotFound = &failure{http.StatusNotFound, "RepoNotFound", "Repository not found"}
	errEntry        = &failure{http.StatusNotFound, "EntryNotFound", "Entry not found"}
	errStale        = &failure{http.StatusPreconditionFailed, "", "A commit has happened since. Please refresh and try again."}
)

func revisionNotFound(rev string) error {
	return &failure{http.StatusNotFound, "RevisionNotFound", "Invalid rev id: " + rev}
}

func noFile(path string) error {
	return &failure{http.StatusNotFound, "EntryNotFound", "A file with this name doesn't exist: " + path}
}

// fail answers with an error. What is no failure is this server's own trouble: the client learns that there was some, and
// the log what it was.
func (q *request) fail(err error) {
	var f *failure
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &f):
	case errors.As(err, &tooLarge):
		f = &failure{http.StatusRequestEntityTooLarge, "", fmt.Sprintf("The request's body is over %d bytes", tooLarge.Limit)}
	case q.r.Context().Err() != nil:
		return // the client is gone
	default:
		f = &failure{http.StatusInternalServerError, "", "Internal error, see the server's log"}
		q.s.logf("%s %s: %v", q.r.Method, q.r.URL.Path, err)
	}
	h := q.w.Header()
	if f.code != "" {
		h.Set("X-Error-Code", f.code)
	}
	h.Set("X-Error-Message", headerText(f.message))
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="Authentication required", charset="UTF-8"`)
	}
	body := map[string]any{"error": f.message}
	if f.status == http.StatusConflict && q.conflict != "" {
		body["url"] = q.conflict
	}
	q.answer(f.status, body)
}

// answer writes value as JSON.
func (q *request) answer(status int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	h := q.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	h.Set("Content-Length", fmt.Sprint(len(data)))
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		q.w.Write(data) // a failed write is the client's end of the connection
	}
	return nil
}

// headerText makes a message fit for a header: names in it may hold anything.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
