package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"d2nwg/internal/progress"
)

func (h *hf) Pull(ctx context.Context, a Address, o PullOptions) (Snapshot, error) {
	if err := a.check(); err != nil {
		return Snapshot{}, err
	}
	if h.offline {
		return h.cached(a, o)
	}
	whole := a
	whole.Path, whole.Revision = "", a.rev()
	info, err := h.Info(ctx, whole)
	if err != nil {
		return Snapshot{}, err
	}
	entries, err := h.tree(ctx, whole, info.Commit, true)
	if err != nil {
		return Snapshot{}, err
	}
	chosen, refused, err := choose(a, o, entries)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := openStore(h.cache, a, true)
	if err != nil {
		return Snapshot{}, fmt.Errorf("open the cache in %s: %w; HF_HUB_CACHE says where else it may be", h.cache, err)
	}
	defer s.close()
	fetched, err := h.fetchAll(ctx, s, a, info.Commit, chosen)
	if err != nil {
		return Snapshot{Fetched: fetched}, err
	}
	if err := s.setRef(a.rev(), info.Commit); err != nil {
		return Snapshot{Fetched: fetched}, err
	}
	return newSnapshot(s.snapshot(info.Commit), a, info.Commit, chosen, refused, fetched), nil
}

func newSnapshot(dir string, a Address, commit string, chosen []Entry, refused []string, fetched int64) Snapshot {
	snapshot := Snapshot{Dir: dir, Path: filepath.Join(dir, filepath.FromSlash(a.Path)), Commit: commit, Refused: refused, Fetched: fetched}
	for _, e := range chosen {
		snapshot.Files = append(snapshot.Files, e.Path)
	}
	slices.Sort(snapshot.Files)
	return snapshot
}

// fetchAll brings the blobs of all entries into the cache, equal ones once, and links them into the commit's snapshot.
func (h *hf) fetchAll(ctx context.Context, s *store, a Address, commit string, entries []Entry) (fetched int64, err error) {
	groups := map[string][]Entry{}
	var etags []string
	m := &meter{report: h.report, event: progress.Event{Stage: "pull"}}
	for _, e := range entries {
		tag := e.etag()
		if groups[tag] == nil {
			etags = append(etags, tag)
			m.event.Total += e.Size
		} else if groups[tag][0].Size != e.Size {
			return 0, hostile("pull "+a.String(), "two sizes are listed for the same hash")
		}
		groups[tag] = append(groups[tag], e)
	}
	var mu sync.Mutex
	err = forEach(ctx, h.parallel, etags, func(ctx context.Context, tag string) error {
		e := groups[tag][0]
		report := func(n int64) { m.add(n, e.Path) }
		if s.has(e) {
			report(e.Size)
		} else {
			n, err := h.fetch(ctx, s, h.source(a, commit, e), report)
			mu.Lock()
			fetched += n
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		for _, e := range groups[tag] {
			if err := s.link(commit, e.Path, tag); err != nil {
				return fmt.Errorf("link %s into the snapshot: %w", e.Path, err)
			}
		}
		return nil
	})
	return fetched, err
}

// meter adds up progress from many goroutines.
type meter struct {
	mu     sync.Mutex
	event  progress.Event
	report progress.Func
}

func (m *meter) add(n int64, note string) {
	m.mu.Lock()
	m.event.Done += n
	e := m.event
	m.mu.Unlock()
	e.Note = note
	m.report.Report(e)
}

// grow adds to what is to be done.
func (m *meter) grow(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Total += n
}

// forEach runs f for all items, n at a time, and stops at the first error.
func forEach[T any](ctx context.Context, n int, items []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var all sync.WaitGroup
	for range min(n, len(items)) {
		all.Go(func() {
			for item := range work {
				if ctx.Err() == nil {
					if err := f(ctx, item); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, item := range items {
		select {
		case work <- item:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(work)
	all.Wait()
	return context.Cause(ctx)
}

// cached finds a pulled revision without asking the hub.
func (h *hf) cached(a Address, o PullOptions) (Snapshot, error) {
	absent := &Error{
		Kind: ErrOffline, What: "pull " + a.String(), Message: "looked in " + filepath.Join(h.cache, storeName(a)),
		Remedy: "pull it once with the network, or unset HF_HUB_OFFLINE",
	}
	s, err := openStore(h.cache, a, false)
	if errors.Is(err, os.ErrNotExist) {
		return Snapshot{}, absent
	} else if err != nil {
		return Snapshot{}, err
	}
	defer s.close()
	commit, err := s.commit(a.rev())
	if errors.Is(err, os.ErrNotExist) {
		return Snapshot{}, absent
	} else if err != nil {
		return Snapshot{}, err
	}
	entries, err := s.files(commit)
	if errors.Is(err, os.ErrNotExist) {
		return Snapshot{}, absent
	} else if err != nil {
		return Snapshot{}, err
	}
	chosen, refused, err := choose(a, o, entries)
	if errors.Is(err, ErrEntryNotFound) || (err == nil && len(chosen) == 0) {
		return Snapshot{}, absent
	} else if err != nil {
		return Snapshot{}, err
	}
	return newSnapshot(s.snapshot(commit), a, commit, chosen, refused, 0), nil
}

// files lists a snapshot's files. A link without its blob doesn't count.
func (s *store) files(commit string) ([]Entry, error) {
	base := path.Join("snapshots", commit)
	var entries []Entry
	err := fs.WalkDir(s.root.FS(), base, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := s.root.Stat(name)
		if err == nil && info.Mode().IsRegular() {
			entries = append(entries, Entry{Path: strings.TrimPrefix(name, base+"/"), Size: info.Size()})
		}
		return nil
	})
	return entries, err
}

// pickles are the endings of files that run code when they are loaded.
var pickles = []string{".bin", ".pt", ".pth", ".pt2", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"}

// IsPickle tells whether a file is of a kind that can run code when it is loaded.
func IsPickle(name string) bool {
	return slices.Contains(pickles, strings.ToLower(path.Ext(name)))
}

// choose picks the files of a that the options want, and names the pickle files left out.
func choose(a Address, o PullOptions, entries []Entry) (chosen []Entry, refused []string, err error) {
	include, err := patterns(o.Include)
	if err != nil {
		return nil, nil, err
	}
	exclude, err := patterns(o.Exclude)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		switch {
		case e.Dir,
			a.Path != "" && e.Path != a.Path && !strings.HasPrefix(e.Path, a.Path+"/"),
			include != nil && !include.MatchString(e.Path),
			exclude != nil && exclude.MatchString(e.Path):
		case !IsPickle(e.Path) || o.AllowPickle:
			chosen = append(chosen, e)
		case e.Path == a.Path || slices.Contains(o.Include, e.Path):
			return nil, nil, &Error{
				Kind: ErrPickle, What: "pull " + e.Path + " of " + a.String(), Message: "loading it would run code",
				Remedy: "use a repository with safetensors files",
			}
		default:
			refused = append(refused, e.Path)
		}
	}
	if len(chosen) == 0 && len(refused) == 0 && (a.Path != "" || include != nil) {
		return nil, nil, &Error{Kind: ErrEntryNotFound, What: "pull " + a.String(), Message: "nothing matches", Remedy: remedies[ErrEntryNotFound]}
	}
	return chosen, refused, nil
}

// patterns makes one expression of shell patterns whose * matches slashes too; nil for none.
func patterns(all []string) (*regexp.Regexp, error) {
	if len(all) == 0 {
		return nil, nil
	}
	var alternatives []string
	for _, p := range all {
		if strings.HasSuffix(p, "/") {
			p += "*"
		}
		alternatives = append(alternatives, translate(p))
	}
	expression, err := regexp.Compile(`(?s)^(?:` + strings.Join(alternatives, "|") + `)$`)
	if err != nil {
		return nil, fmt.Errorf("the patterns %q are not understood: %w", all, err)
	}
	return expression, nil
}

// translate writes a shell pattern as a regular expression.
func translate(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		end := strings.IndexByte(p[min(i+2, len(p)):], ']')
		switch {
		case p[i] == '*':
			b.WriteString(".*")
		case p[i] == '?':
			b.WriteString(".")
		case p[i] == '[' && end >= 0:
			class := p[i+1 : i+2+end]
			class = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(class)
			if rest, ok := strings.CutPrefix(class, "!"); ok {
				class = "^" + rest
			}
			b.WriteString("[" + class + "]")
			i += 2 + end
		default:
			r, n := utf8.DecodeRuneInString(p[i:])
			b.WriteString(regexp.QuoteMeta(string(r)))
			i += n - 1
		}
		i++
	}
	return b.String()
}
