package publish

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/hub"
	"d2nwg/hub/card"
	"d2nwg/llm"
)

// run is a finished run and where its base is.
type run struct {
	dir         string
	recipe      recipe.Improve
	report      *card.Report
	base        string // folder of the base, or of the candidate where the base is gone
	baseModel   string // hub id
	baseAddress string // published place with its commit, "bundled", or ""
	gone        error  // why the base's folder can't be used
}

// Run prepares a run: its candidate, or the patch to it, the model card, recipe.yaml, report.json and what the base's
// licence wants shipped. A run without a verified improvement is ErrUnverified, unless the options allow it.
func Run(dir string, opt Options) (_ *Publication, err error) {
	r, err := openRun(dir, opt)
	if err != nil {
		return nil, err
	}
	if !r.report.Verified() && !opt.Unverified {
		return nil, fmt.Errorf("%s has %w (%s); --unverified publishes it all the same, and its card says so in the first line", dir, ErrUnverified, r.report.Checkpoint.Reason)
	}
	license, err := card.FindLicense(r.base, cmp.Or(r.baseModel, r.recipe.Base), opt.License)
	if err != nil {
		return nil, err
	}
	verified := r.report.Verified()
	p := &Publication{What: "run", License: license.ID, Verified: &verified, Reason: r.report.Checkpoint.Reason}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	c := &card.Card{Repo: opt.Repo, BaseModel: r.baseModel, BaseAddress: r.baseAddress, License: license, Report: r.report, Version: opt.Version}
	if opt.Patch {
		err = r.patch(p, c)
	} else {
		err = p.addFolder(filepath.Join(dir, pipeline.CandidateDir))
	}
	if err != nil {
		return nil, err
	}
	for _, name := range []string{pipeline.RecipeFile, pipeline.ReportFile} {
		p.add(hub.File{Path: name, Source: filepath.Join(dir, name)})
	}
	for _, f := range license.Files {
		p.add(hub.File{Path: f.Name, Data: f.Data})
	}
	if c.Files, err = p.hashes(); err != nil {
		return nil, err
	}
	if c.Recipe, err = os.ReadFile(filepath.Join(dir, pipeline.RecipeFile)); err != nil {
		return nil, err
	}
	text, err := c.Render()
	if err != nil {
		return nil, err
	}
	p.add(hub.File{Path: "README.md", Data: text})
	return p, p.checkLicense(license, opt.Repo)
}

func openRun(dir string, opt Options) (*run, error) {
	r := &run{dir: dir}
	var err error
	if r.recipe, err = recipe.LoadImprove(filepath.Join(dir, pipeline.RecipeFile), nil); err != nil {
		return nil, err
	}
	if r.report, err = card.ReadReport(filepath.Join(dir, pipeline.ReportFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the run in %s isn't finished, run the same improve command again: %w", dir, err)
	} else if err != nil {
		return nil, err
	}
	return r, r.findBase(opt)
}

// findBase locates the base: the folder the options name, or what the recipe says. Where that is gone, the candidate's
// folder stands in for the licence, since the base's texts came along into it.
func (r *run) findBase(opt Options) error {
	r.baseModel = opt.BaseModel
	a, err := hub.Parse(r.recipe.Base)
	if err != nil {
		return err
	}
	from := r.recipe.Base
	switch {
	case from == recipe.Bundled:
		r.baseAddress, from = recipe.Bundled, filepath.Join(r.dir, pipeline.BaseDir)
		if r.baseModel != "" {
			r.baseAddress = "hf://" + r.baseModel
		}
	case a.Remote():
		from = cmp.Or(r.recipe.Resolved[from], from)
		r.baseAddress, r.baseModel = from, cmp.Or(r.baseModel, a.Repo)
	case r.baseModel != "":
		r.baseAddress = "hf://" + r.baseModel
	}
	if r.base, r.gone = opt.Resolve(cmp.Or(opt.Base, from)); r.gone == nil {
		_, r.gone = os.Stat(filepath.Join(r.base, llm.ConfigName))
	}
	if r.gone != nil && opt.Base == "" {
		r.base = filepath.Join(r.dir, pipeline.CandidateDir)
		return nil
	}
	return r.gone
}

// patch makes the patch from the base to the candidate in a temporary folder.
func (r *run) patch(p *Publication, c *card.Card) error {
	if r.gone != nil {
		return fmt.Errorf("a patch needs the run's base, name its folder with --base: %w", r.gone)
	}
	base, err := llm.Open(r.base)
	if err != nil {
		return err
	}
	defer base.Close()
	if hash, err := base.Hash(); err != nil {
		return err
	} else if hash != r.report.Base {
		return fmt.Errorf("%s is not the base of the run in %s: its weights have the sha256 %s, the run's base had %s; name the right one with --base",
			r.base, r.dir, hash, r.report.Base)
	}
	candidate, err := llm.Open(filepath.Join(r.dir, pipeline.CandidateDir))
	if err != nil {
		return err
	}
	defer candidate.Close()
	if p.temp, err = os.MkdirTemp("", "d2nwg-push-*"); err != nil {
		return err
	}
	dir := filepath.Join(p.temp, "patch")
	address := r.baseAddress
	if address == recipe.Bundled {
		address = "" // no hub has it
	}
	if err := llm.SavePatch(base, candidate, dir, llm.PatchOptions{Description: r.report.Describe, BaseAddress: address}); err != nil {
		return err
	}
	info, err := llm.ReadPatch(dir)
	if err != nil {
		return err
	}
	p.What, c.Patch = "patch", &card.Patch{Base: info.Base, Result: info.Result}
	return p.addFolder(dir)
}
