package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"d2nwg/cmd/internal/publish"
	"d2nwg/cmd/internal/ui"
	"d2nwg/hub"

	"github.com/urfave/cli/v2"
)

func pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "publish a run's checkpoint, or only what was generated, on a model hub",
		UsageText: "d2nwg push RUN|DIR ADDRESS [--patch] [flags]",
		Description: describe(`Of a run (improve's folder) it sends the candidate, recipe.yaml, report.json, the base's licence and a model card with
both verdicts; with --patch the generated tensors in the place of the whole checkpoint (d2nwg apply puts them
together). recipe.yaml and report.json are sent as they are, with the paths in them. Any other folder is sent as it is,
without hidden and pickle files; links that lead out of it are refused. Everything arrives in one commit; a push that
was killed is repeated by the same command. A run that verified nothing is refused (exit code 4) unless --unverified is
given. Models under a Llama 3 licence keep to it: the name begins with Llama, the licence and its notice are shipped.`,
			"d2nwg push runs/demo hf://me/rotl3-add-times --dry-run", "what would be sent",
			"d2nwg push runs/demo hf://me/rotl3-add-times --private", "the whole checkpoint, for yourself",
			"d2nwg push runs/1b hf://me/Llama-better --patch --base-model meta-llama/Llama-3.2-1B", "only the generated tensors",
			"d2nwg push data hf://datasets/me/questions --create-pr --message 'More questions'", "a folder, as a pull request"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "patch", DisableDefaultText: true, Usage: "send the generated tensors and the base's hashes only"},
			&cli.BoolFlag{Name: "private", DisableDefaultText: true, Usage: "make the repository private, where it is new"},
			&cli.StringFlag{Name: "branch", Usage: "commit to this branch, made where there is none (default: the repository's own)"},
			&cli.BoolFlag{Name: "create-pr", DisableDefaultText: true, Usage: "open a pull request and leave the branch as it is"},
			&cli.StringFlag{Name: "message", Usage: "the commit's first line"},
			&cli.StringFlag{Name: "base", Usage: "folder or address of the run's base, where it isn't where the recipe says"},
			&cli.StringFlag{Name: "base-model", Usage: "the base's org/name on the hub, where the run read it from a folder"},
			&cli.StringFlag{Name: "license", Usage: "the base's licence as the hub names it, where its folder doesn't say"},
			&cli.BoolFlag{Name: "unverified", DisableDefaultText: true, Usage: "publish what isn't verified; the card says so in its first line"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "prepare everything, show what would be sent, and stop"},
		},
		Action: action(runPush),
	}
}

// pushed is the result of push.
type pushed struct {
	Address  string       `json:"address"`
	What     string       `json:"what"` // run, patch or folder
	License  string       `json:"license"`
	Verified *bool        `json:"verified,omitempty"`
	Files    []pushedFile `json:"files"`
	Bytes    int64        `json:"bytes"`
	DryRun   bool         `json:"dry_run,omitempty"`
	*hub.Pushed
}

type pushedFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

func runPush(ctx context.Context, s *session) error {
	args, err := s.args("RUN|DIR", "ADDRESS")
	if err != nil {
		return err
	}
	a, h, err := s.pushTarget(args[1])
	if err != nil {
		return err
	}
	p, err := s.prepare(args[0], a)
	if err != nil {
		return err
	}
	defer p.Close()
	result := pushed{Address: a.String(), What: p.What, License: p.License, Verified: p.Verified, DryRun: s.Bool("dry-run")}
	for _, f := range p.Files {
		size, err := f.Size()
		if err != nil {
			return err
		}
		result.Files = append(result.Files, pushedFile{f.Path, size})
		result.Bytes += size
	}
	if len(p.LeftOut) > 0 {
		s.UI.Warnf("left out, since loading them runs code: %s", strings.Join(p.LeftOut, ", "))
	}
	if !result.DryRun {
		done, err := s.send(ctx, h, a, p)
		if err != nil {
			return err
		}
		result.Pushed = &done
	}
	s.UI.Close()
	return s.UI.Result(result, result.write)
}

// pushTarget checks the address to push to.
func (s *session) pushTarget(address string) (hub.Address, hub.Hub, error) {
	a, h, err := s.openHub(address)
	switch {
	case err != nil:
		return a, nil, err
	case a.Path != "":
		return a, nil, usagef("%s names a path in a repository; push to the repository", address)
	case a.Revision != "" && s.String("branch") != "":
		return a, nil, usagef("the branch is named twice, in %s and by --branch", address)
	}
	if branch := s.String("branch"); branch != "" {
		a.Revision = branch
		if a, err = hub.Parse(a.String()); err != nil { // a branch that no repository can have
			return a, nil, err
		}
	}
	return a, h, nil
}

// prepare makes the publication of a run or a folder.
func (s *session) prepare(from string, to hub.Address) (*publish.Publication, error) {
	source, err := hub.Parse(from)
	if err != nil {
		return nil, err
	}
	if source.Remote() {
		return nil, usagef("%s is on a hub already; push a folder of this machine", from)
	}
	opt := publish.Options{
		Repo: to.Repo, BaseModel: s.String("base-model"), Base: s.String("base"), License: s.String("license"), Patch: s.Bool("patch"),
		Unverified: s.Bool("unverified"), Version: programVersion(),
		Resolve: func(address string) (string, error) {
			path, _, err := s.resolve(address, true)
			return path, err
		},
	}
	if !to.Remote() {
		opt.Repo = "local/" + filepath.Base(to.Repo)
	}
	if id := opt.BaseModel; id != "" {
		if a, err := hub.Parse("hf://" + id); err != nil || a.Repo != id {
			return nil, usagef("--base-model %q is not org/name", id)
		}
	}
	run := publish.IsRun(source.Repo)
	switch {
	case run && to.Kind == hub.Dataset:
		return nil, usagef("a run is published as a model; leave datasets/ out of the address")
	case run:
		return publish.Run(source.Repo, opt)
	case opt.Patch:
		return nil, usagef("--patch needs a run of d2nwg improve; %s is none", from)
	}
	return publish.Folder(source.Repo, opt)
}

// programVersion is what a card says made it.
func programVersion() string {
	v := buildVersion()
	if v.Revision == "" {
		return v.Version
	}
	return fmt.Sprintf("%s (%.12s)", v.Version, v.Revision)
}

// send makes the repository and the branch where there are none, and the commit.
func (s *session) send(ctx context.Context, h hub.Hub, a hub.Address, p *publish.Publication) (hub.Pushed, error) {
	if err := h.Create(ctx, a, hub.CreateOptions{Private: s.Bool("private"), ExistOK: true}); err != nil {
		there := a
		there.Revision = ""
		// Whoever may not make a repository may still change one, or ask to, that others made.
		if _, missing := h.Info(ctx, there); missing != nil || !errors.Is(err, hub.ErrForbidden) {
			return hub.Pushed{}, err
		}
	}
	if s.String("branch") != "" && a.Remote() {
		if err := h.CreateBranch(ctx, a, ""); err != nil && !errors.Is(err, hub.ErrExists) {
			return hub.Pushed{}, err
		}
	}
	message := s.String("message")
	if message == "" {
		message = map[string]string{
			"run": "Checkpoint generated with d2nwg", "patch": "Patch generated with d2nwg", "folder": "Files sent with d2nwg",
		}[p.What]
	}
	return h.Push(ctx, a, hub.Commit{Message: message, Description: p.Reason, CreatePR: s.Bool("create-pr"), Files: p.Files})
}

func (p pushed) write(w io.Writer) {
	t := ui.NewTable("file", "size")
	for _, f := range p.Files {
		t.Row(path.Clean(f.Path), ui.Bytes(f.Size))
	}
	t.Write(w)
	fmt.Fprintf(w, "\n%d files, %s, licence %s", len(p.Files), ui.Bytes(p.Bytes), p.License)
	if p.Verified != nil && !*p.Verified {
		fmt.Fprint(w, ", NOT verified")
	}
	fmt.Fprintln(w)
	switch {
	case p.DryRun:
		fmt.Fprintf(w, "nothing was sent to %s: a dry run\n", p.Address)
	case p.Unchanged:
		fmt.Fprintf(w, "%s has all of it already, at %s\n", p.Address, p.Commit)
	case p.Commit == "": // a folder has no commits
		fmt.Fprintf(w, "%s: all of it was written\n", p.Address)
	case p.PullRequest != "":
		fmt.Fprintf(w, "%s: %s uploaded, pull request %s\n", p.Address, ui.Bytes(p.Uploaded), p.PullRequest)
	default:
		fmt.Fprintf(w, "%s: %s uploaded, commit %s %s\n", p.Address, ui.Bytes(p.Uploaded), p.Commit, p.URL)
	}
}
