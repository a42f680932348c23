package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "bring a repository of a model hub onto this machine, verified",
		UsageText: "d2nwg pull ADDRESS [--out DIR] [--include PATTERN]... [--exclude PATTERN]...",
		Description: describe(`ADDRESS is hf://[datasets/]org/name[@revision][/path]. Files go into the cache that the official clients share
(HF_HUB_CACHE, HF_HOME), their hashes are verified, a pull that was killed continues; pickle files are left out. In
patterns * matches slashes too. Other commands take addresses themselves: d2nwg chat hf://org/name.`,
			"d2nwg pull hf://org/name", "into the cache; prints where",
			"d2nwg pull hf://org/name@v1.0 --out models/name --exclude 'original/*'", "a tag, as a folder of your own",
			"d2nwg pull hf://datasets/org/name/data/test.jsonl --out test", "one file of a data set"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "also copy the files into this folder; there they are yours to change"},
			&cli.StringSliceFlag{Name: "include", Usage: "only files that match (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "no files that match (repeatable)"},
			&cli.BoolFlag{Name: "allow-pickle", DisableDefaultText: true, Usage: "also bring files that run code when they are loaded"},
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "overwrite files in OUT that differ"},
		},
		Action: action(runPull),
	}
}

// pulled is the result of pull.
type pulled struct {
	Address string   `json:"address"` // with the commit
	Path    string   `json:"path"`
	Files   []string `json:"files"`
	Bytes   int64    `json:"bytes"`   // of the files
	Fetched int64    `json:"fetched"` // bytes that went over the network
	Refused []string `json:"refused,omitempty"`
}

func runPull(ctx context.Context, s *session) error {
	args, err := s.args("ADDRESS")
	if err != nil {
		return err
	}
	a, h, err := s.openHub(args[0])
	if err != nil {
		return err
	}
	if a.Scheme == "" {
		return usagef("%s is a path; an address to pull is hf://org/name", args[0])
	}
	snapshot, err := h.Pull(ctx, a, hub.PullOptions{
		Include: s.StringSlice("include"), Exclude: s.StringSlice("exclude"), AllowPickle: s.Bool("allow-pickle"),
	})
	if err != nil {
		return err
	}
	if a.Remote() {
		a.Revision = snapshot.Commit
	}
	result := pulled{Address: a.String(), Path: snapshot.Path, Files: snapshot.Files, Fetched: snapshot.Fetched, Refused: snapshot.Refused}
	if out := s.String("out"); out != "" {
		if err := copySnapshot(ctx, snapshot, out, s.Bool("force")); err != nil {
			return err
		}
		result.Path = filepath.Join(out, filepath.FromSlash(a.Path))
	}
	for _, name := range snapshot.Files {
		if st, err := os.Stat(filepath.Join(snapshot.Dir, filepath.FromSlash(name))); err == nil {
			result.Bytes += st.Size()
		}
	}
	s.UI.Close()
	if len(result.Refused) > 0 {
		s.UI.Warnf("left out, since loading them runs code: %s", strings.Join(result.Refused, ", "))
	}
	return s.UI.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n%d files, %s, %s fetched: %s\n", result.Path, len(result.Files), ui.Bytes(result.Bytes), ui.Bytes(result.Fetched), result.Address)
	})
}

// openHub opens the hub behind an address.
func (s *session) openHub(address string) (hub.Address, hub.Hub, error) {
	a, err := hub.Parse(address)
	if err != nil {
		return a, nil, err
	}
	h, err := hub.Open(a, s.hubOptions())
	return a, h, err
}

// copySnapshot copies a snapshot's files into a folder, each whole or not at all. One that is there with the same
// contents stays; with others it is an error, unless force is set.
func copySnapshot(ctx context.Context, snapshot hub.Snapshot, out string, force bool) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range snapshot.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		local := filepath.FromSlash(name)
		source := filepath.Join(snapshot.Dir, local)
		switch same, err := sameContents(root, local, source); {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s can't be compared with the one in the repository, choose another --out: %w", filepath.Join(out, local), err)
		case err == nil && same:
			continue
		case err == nil && !force:
			return fmt.Errorf("%s differs from the one in the repository; overwrite it with --force, or choose another --out: %w",
				filepath.Join(out, local), fs.ErrExist)
		}
		if err := copyInto(root, local, source); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}

func sameContents(root *os.Root, name, source string) (bool, error) {
	have, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer have.Close()
	want, err := os.Open(source)
	if err != nil {
		return false, err
	}
	defer want.Close()
	a, errA := have.Stat()
	b, errB := want.Stat()
	if err := errors.Join(errA, errB); err != nil || a.Size() != b.Size() {
		return false, err
	}
	return equalReaders(have, want)
}

func equalReaders(a, b io.Reader) (bool, error) {
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if n != m || string(x[:n]) != string(y[:m]) {
			return false, nil
		}
		if errA == io.EOF || errA == io.ErrUnexpectedEOF {
			return true, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
	}
}

// copyInto copies a file under a temporary name beside its own until it is whole.
func copyInto(root *os.Root, name, source string) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	partial := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".partial")
	dst, err := root.Create(partial)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Sync(), dst.Close()); err == nil {
		err = root.Rename(partial, name)
	}
	if err != nil {
		err = errors.Join(err, root.Remove(partial))
	}
	return err
}
