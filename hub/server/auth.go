package server

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"d2nwg/hub/internal/names"
)

// Role is what a token allows.
type Role string

// The roles. Every token also reads what its owner may read.
const (
	Read  Role = "read"  // reads the owner's private repositories and those that grant the owner access
	Write Role = "write" // creates, changes and deletes repositories below the owner's name; opens pull requests elsewhere
	Admin Role = "admin" // may do everything everywhere
)

// Token is a secret that stands for a user with a role. Several may belong to one user.
type Token struct {
	Name   string // the user, and the namespace of the user's repositories
	Secret string
	Role   Role
}

// ParseToken reads NAME:TOKEN:ROLE. The error never shows the secret, in whichever place it stands.
func ParseToken(s string) (Token, error) {
	name, rest, ok := strings.Cut(s, ":")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return Token{}, fmt.Errorf("a token has the form NAME:TOKEN:ROLE")
	}
	t := Token{name, rest[:i], Role(rest[i+1:])}
	return t, t.check()
}

func (t Token) check() error {
	switch {
	case names.Repo(t.Name+"/x") != nil || slices.Contains(reserved, t.Name):
		return errors.New("the name of a token's owner consists of letters, digits, single dots, hyphens and underscores, and is none of api, models, datasets and spaces")
	case t.Role != Read && t.Role != Write && t.Role != Admin:
		return errors.New("a token has the form NAME:TOKEN:ROLE, where roles are read, write and admin")
	case t.Secret == "" || strings.ContainsFunc(t.Secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("the token of %s has to be printable ASCII without spaces", t.Name)
	}
	return nil
}

// reserved can't be namespaces, since addresses begin with them.
var reserved = []string{"api", "models", "datasets", "spaces"}

// tokens finds a token by its secret's hash, so that how long a look-up takes says nothing of the secret.
type tokens map[[sha256.Size]byte]*Token

func newTokens(list []Token) (tokens, error) {
	all := tokens{}
	for _, t := range list {
		if err := t.check(); err != nil {
			return nil, err
		}
		key := sha256.Sum256([]byte(t.Secret))
		if all[key] != nil {
			return nil, fmt.Errorf("%s and %s have the same token", all[key].Name, t.Name)
		}
		all[key] = &t
	}
	return all, nil
}

// authenticate finds out who asks: nil for nobody, an error for a token that isn't known.
func (all tokens) authenticate(r *http.Request) (*Token, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, nil
	}
	scheme, secret, _ := strings.Cut(header, " ")
	if _, password, ok := r.BasicAuth(); ok {
		scheme, secret = "Bearer", password // as git-lfs sends it
	}
	t := all[sha256.Sum256([]byte(strings.TrimSpace(secret)))]
	if t == nil || !strings.EqualFold(scheme, "Bearer") {
		return nil, errLogin
	}
	return t, nil
}

// owns tells whether a namespace is the token's own.
func (t *Token) owns(namespace string) bool {
	return t != nil && (t.Name == namespace || t.Role == Admin)
}

// writes tells whether the token may change what is in a namespace.
func (t *Token) writes(namespace string) bool { return t.owns(namespace) && t.Role != Read }

// access is what a request wants of a repository.
type access int

const (
	see     access = iota // that it exists, its names and history
	fetch                 // the content of its files
	propose               // to upload, and to open a pull request
	change                // everything else
)

// permit checks the user's right to a repository.
func (q *request) permit(p *repo, want access) error {
	namespace, _, _ := strings.Cut(p.name, "/")
	s := p.currentSettings()
	owner, granted := q.user.owns(namespace), q.user != nil && s.Access[q.user.Name] == accepted
	if s.Private && !owner && !granted {
		if q.user == nil {
			return errLoginRepo
		}
		return errRepoNotFound
	}
	if want == fetch && s.Gated != "" && !owner && !granted {
		status := http.StatusForbidden
		if q.user == nil {
			status = http.StatusUnauthorized
		}
		return &failure{status, "GatedRepo", fmt.Sprintf("Access to %s %s is restricted. You must have access to it and be authenticated to access it. Please log in.", p.kind, p.name)}
	}
	if want >= propose && q.user == nil {
		return errLogin
	}
	if want == propose && q.user.Role == Read || want == change && !q.user.writes(namespace) {
		return failf(http.StatusForbidden, "You don't have the rights to perform this action: this token is read-only or lacks write access to %s", p.name)
	}
	return nil
}

func (q *request) whoAmI() error {
	if q.user == nil {
		return errLogin
	}
	name := q.user.Name
	id := sha256.Sum256([]byte(name))
	return q.answer(http.StatusOK, map[string]any{
		"type": "user", "id": fmt.Sprintf("%x", id[:12]), "name": name, "fullname": name,
		"email": name + "@localhost", "emailVerified": true, "isPro": false, "canPay": false,
		"periodEnd": nil, "avatarUrl": "", "orgs": []any{},
		"auth": map[string]any{"type": "access_token", "accessToken": map[string]any{
			"displayName": name, "role": q.user.Role, "createdAt": formatTime(q.s.started),
		}},
	})
}
