package hub

import (
	"errors"
	"fmt"
	"time"
)

// What can go wrong, to be matched with errors.Is. The error itself is one sentence with the address and the remedy.
var (
	ErrAddress          = errors.New("not an address")         // a malformed or hostile address or file name
	ErrRepoNotFound     = errors.New("no such repository")     // or a private one, seen without access
	ErrRevisionNotFound = errors.New("no such revision")       // branch, tag, pull request or commit
	ErrEntryNotFound    = errors.New("no such file")           // in that revision
	ErrExists           = errors.New("exists already")         // the repository or branch to create
	ErrGated            = errors.New("access is gated")        // the repository's conditions have to be accepted first
	ErrUnauthorized     = errors.New("not logged in")          // no token, or one the server doesn't know
	ErrForbidden        = errors.New("no right to do this")    // the token's rights don't reach
	ErrConflict         = errors.New("the branch has moved")   // a commit's parent is no longer the head
	ErrRateLimited      = errors.New("too many requests")      // still so after waiting and retrying
	ErrUnavailable      = errors.New("the hub doesn't answer") // network or server failure after retries
	ErrCorrupt          = errors.New("corrupt content")        // size or hash differ from what was promised
	ErrOffline          = errors.New("not in the cache")       // and the hub may not be asked
	ErrHostile          = errors.New("hostile answer")         // the server broke a rule no honest one breaks
	ErrPickle           = errors.New("pickle file refused")    // loading it would run code
	ErrRefused          = errors.New("the hub refuses")        // for a reason of its own, which the error repeats
	ErrUnsupported      = errors.New("not possible here")      // this kind of hub has no such operation
)

// Error is what a hub answered. errors.Is matches its Kind.
type Error struct {
	Kind    error  // one of the Err… values
	What    string // what was attempted and on what, for example "list hf://org/name@main"
	Message string // the server's own words, or what was wrong
	Remedy  string // what to do about it, "" if there is nothing
	Status  int    // HTTP status, 0 if there was none

	transient bool          // worth another attempt
	wait      time.Duration // which the server wants not to come before this
}

// Error is one sentence: what, why, remedy.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", e.What, e.Kind)
	if e.Message != "" {
		s += " (" + e.Message + ")"
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }
