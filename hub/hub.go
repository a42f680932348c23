// Package hub reads and writes repositories of models and data sets: on the Hugging Face Hub and servers that speak its
// protocol, and in plain folders. Open gives the Hub behind an address; Resolve turns an address into a local path.
//
// Nothing a server says is believed: names, ETags and commits are checked before they become file names, every file is
// hashed while it streams, answers are bounded, and the token goes to the endpoint's own host only.
package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"d2nwg/internal/progress"
)

// A Hub is a place that keeps repositories. Its methods take the address of one; Address.Revision "" means the default
// branch. They are safe for concurrent use, and their errors match the Err… values of this package with errors.Is.
type Hub interface {
	// WhoAmI tells whom the token belongs to; ErrUnauthorized without a valid one.
	WhoAmI(ctx context.Context) (User, error)

	// Create makes a repository. One that is there already is ErrExists, or fine with CreateOptions.ExistOK.
	Create(ctx context.Context, a Address, o CreateOptions) error
	// Delete removes a repository with everything in it.
	Delete(ctx context.Context, a Address) error
	// Info describes a repository at a revision, with the commit the revision stands for now.
	Info(ctx context.Context, a Address) (Info, error)

	// List lists files and folders below a.Path ("" is all), folders' contents too when recursive, in the server's order.
	List(ctx context.Context, a Address, recursive bool) ([]Entry, error)
	// Pull brings the files of a revision (below a.Path, and chosen by the options) onto this machine, verified.
	// What is there already isn't fetched again, and what an earlier, killed Pull left is continued.
	Pull(ctx context.Context, a Address, o PullOptions) (Snapshot, error)

	// Push adds, replaces and deletes files in one atomic commit on the branch a.Revision. When nothing would change there
	// is no commit (Pushed.Unchanged), so repeating a push after a crash is safe.
	Push(ctx context.Context, a Address, c Commit) (Pushed, error)
	// Commits lists up to limit commits (0: all) of a revision, newest first.
	Commits(ctx context.Context, a Address, limit int) ([]CommitInfo, error)

	// Refs lists branches, tags and pull requests with the commits they stand for.
	Refs(ctx context.Context, a Address) ([]Ref, error)
	// CreateBranch makes the branch a.Revision from the revision from ("": the default branch).
	CreateBranch(ctx context.Context, a Address, from string) error
	// DeleteBranch removes the branch a.Revision.
	DeleteBranch(ctx context.Context, a Address) error
	// PullRequests lists the repository's pull requests, newest first. Commit.CreatePR opens one.
	PullRequests(ctx context.Context, a Address) ([]PullRequest, error)
}

// Options say how to reach a hub. The zero value takes everything from the environment, as the official clients do.
type Options struct {
	Endpoint  string            // base URL; "": HF_ENDPOINT, then https://huggingface.co
	Token     string            // "": LookupToken; it is sent to Endpoint's host only
	Anonymous bool              // send no token, even if there is one
	CacheDir  string            // "": CacheDir()
	Offline   bool              // use the cache only; also set by HF_HUB_OFFLINE
	Parallel  int               // files (and parts of big ones) in flight; 0: 8
	Transport http.RoundTripper // nil: one of this package's own, which never decompresses
	Progress  progress.Func     // stages "pull" and "push" in bytes, Note is the file; called from many goroutines
}

// String leaves the token out, so that options may be printed.
func (o Options) String() string {
	return fmt.Sprintf("{Endpoint:%s CacheDir:%s Offline:%v Parallel:%d}", o.Endpoint, o.CacheDir, o.Offline, o.Parallel)
}

// GoString is String.
func (o Options) GoString() string { return o.String() }

// User is the owner of a token.
type User struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"` // "user" or "org"
	Orgs  []string `json:"orgs,omitempty"`
	Token string   `json:"token,omitempty"` // the token's display name, never the token
	Role  string   `json:"role,omitempty"`  // "read", "write" or "fineGrained"
}

// CreateOptions say how a new repository is made.
type CreateOptions struct {
	Private bool
	ExistOK bool // a repository that is there already is no error; its visibility stays
}

// Info describes a repository at a revision.
type Info struct {
	Address      Address   `json:"-"`
	ID           string    `json:"id"`               // "org/name", as the server spells it
	Commit       string    `json:"commit,omitempty"` // 40 hex digits; "" for a folder
	Private      bool      `json:"private"`
	Gated        string    `json:"gated,omitempty"` // "", "auto" or "manual"
	LastModified time.Time `json:"last_modified"`
	Tags         []string  `json:"tags,omitempty"`
	Files        []string  `json:"files"` // every file of the revision
}

// Entry is a file or a folder of a repository.
type Entry struct {
	Path   string `json:"path"`
	Dir    bool   `json:"dir,omitempty"`
	Size   int64  `json:"size"`             // bytes; 0 for a folder
	OID    string `json:"oid,omitempty"`    // git's SHA-1 of the blob (of the pointer, for an LFS file) or tree; "" in a folder hub
	SHA256 string `json:"sha256,omitempty"` // of the content, for LFS files only
}

// PullOptions choose what Pull brings.
type PullOptions struct {
	// Include and Exclude are patterns as in the official clients: "*" and "?" match any characters, "/" too, [abc] one of
	// them, and "folder/" everything in it. Without Include everything is included; Exclude wins.
	Include, Exclude []string
	// AllowPickle also brings files that run code when they are loaded (.bin, .pt, .pth, .ckpt, .pkl, …). Without it they
	// are left out and named in Snapshot.Refused, and one that Path or Include names exactly is ErrPickle.
	AllowPickle bool
}

// Snapshot is a revision's files on this machine.
type Snapshot struct {
	Dir     string   `json:"dir"`               // the folder that stands for the repository's root; treat it as read-only
	Path    string   `json:"path"`              // Dir joined with the address' Path: what the address stands for
	Commit  string   `json:"commit"`            // "" for a folder
	Files   []string `json:"files"`             // names below Dir that are there now, sorted
	Refused []string `json:"refused,omitempty"` // pickle files left out
	Fetched int64    `json:"fetched"`           // bytes that went over the network
}

// Commit is what Push changes.
type Commit struct {
	Message     string // one line; "": derived from the number of files
	Description string
	Parent      string // the commit expected at the branch's head: ErrConflict if it moved. "": the head when Push begins
	CreatePR    bool   // open a pull request with this commit and leave the branch as it is
	Files       []File
	Delete      []string // files; a name ending in "/" is a folder
}

// File is a file to push: Data, or the file on disk at Source when that is set.
type File struct {
	Path   string // in the repository
	Source string
	Data   []byte
}

// Size is the file's length in bytes.
func (f File) Size() (int64, error) {
	if f.Source == "" {
		return int64(len(f.Data)), nil
	}
	info, err := os.Stat(f.Source)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Pushed is what Push did.
type Pushed struct {
	Commit      string `json:"commit"`                 // the branch's (or pull request's) head now
	URL         string `json:"url,omitempty"`          // its page
	PullRequest string `json:"pull_request,omitempty"` // the pull request's page
	Unchanged   bool   `json:"unchanged,omitempty"`    // everything was there already: no commit was made
	Uploaded    int64  `json:"uploaded"`               // bytes of LFS files that went over the network
}

// CommitInfo is one commit in a repository's history.
type CommitInfo struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Message string    `json:"message,omitempty"`
	Authors []string  `json:"authors,omitempty"`
	Date    time.Time `json:"date"`
}

// Ref is a name for a commit.
type Ref struct {
	Kind   string `json:"kind"` // "branch", "tag" or "pull request"
	Name   string `json:"name"` // to be used as Address.Revision: "main", "v1", "refs/pr/1"
	Commit string `json:"commit"`
}

// PullRequest is a proposed change.
type PullRequest struct {
	Number int       `json:"number"`
	Title  string    `json:"title"`
	Status string    `json:"status"` // "draft", "open", "merged" or "closed"
	Author string    `json:"author,omitempty"`
	Date   time.Time `json:"date"`
}

// Open returns the hub that holds address a: Hugging Face's protocol for hf://, a folder otherwise. It makes no request.
func Open(a Address, o Options) (Hub, error) {
	if !a.Remote() {
		return folder{}, nil
	}
	return newHF(o)
}

// Resolve turns an address, or a plain path, into a path on this machine: a path stays as it is, whether it exists or not;
// what is remote is pulled into the cache (all of it, or what its Path and the options choose), verified.
func Resolve(ctx context.Context, address string, o Options, p PullOptions) (path string, err error) {
	a, err := Parse(address)
	if err != nil {
		return "", err
	}
	if !a.Remote() {
		return a.Repo, nil
	}
	h, err := Open(a, o)
	if err != nil {
		return "", err
	}
	snapshot, err := h.Pull(ctx, a, p)
	return snapshot.Path, err
}
