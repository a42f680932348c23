// Package pipeline carries out an improve recipe, stage by stage:
//
//	base → relatives → spectrum → vae → gate → diffusion → explore → candidate
//
// Every stage leaves its result in the run's folder and is skipped when it is there, so a killed run continues where it
// was. The commands train, sample and improve are this line, entered and left at different stages.
package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"d2nwg/cmd/internal/bundled"
	"d2nwg/cmd/internal/evaluation"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/internal/compute"
	"d2nwg/internal/files"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// Files and folders of a run.
const (
	RecipeFile   = "recipe.yaml"
	JournalFile  = "journal.jsonl"
	ReportFile   = "report.json"
	CandidateDir = "candidate"
	GeneratorDir = "generator"
	RelativesDir = "relatives"
	stateDir     = "state"
	spectrumFile = "spectrum.json"
	BaseDir      = "base"              // the bundled base, in a run that has it
	bundledDir   = "bundled-relatives" // and its relatives
)

// Options say how a run speaks.
type Options struct {
	Progress progress.Func
	Note     func(format string, args ...any) // may be nil
	Force    bool                             // start anew where the folder holds a run
	Resolve  Resolver                         // of the recipe's addresses; nil: they are paths
	Dataset  evaluation.Fetch                 // brings a task's data from a hub; nil: only folders hold data
}

// Run is an open run. Close it.
type Run struct {
	Dir    string
	Recipe recipe.Improve // with paths in the place of addresses

	opt     Options
	journal *journal.Journal
	base    *llm.Checkpoint
	model   *engine.Model
	tok     tokenizer.Tokenizer
	backend *compute.Backend // opened at first use
	target  *target
	layers  []ranked // Spectrum's ranking, nil before it was needed
}

// Open opens the run in dir, or begins it. A folder that holds the run of another recipe is an error.
func Open(dir string, r recipe.Improve, opt Options) (*Run, error) {
	if opt.Note == nil {
		opt.Note = func(string, ...any) {}
	}
	if opt.Force {
		if err := clearRun(dir, r); err != nil {
			return nil, err
		}
	}
	full, local, err := locate(dir, r, opt.Resolve)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	begun, err := keepRecipe(dir, full)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(dir, JournalFile))
	if err != nil {
		return nil, err
	}
	j.SyncEvery(32) // a killed process loses nothing; a machine that dies loses at most these steps
	run := &Run{Dir: dir, Recipe: local, opt: opt, journal: j}
	if err := run.open(r.Score); err != nil {
		err = errors.Join(err, run.Close())
		if begun { // a mistyped path must not leave a run that refuses the corrected one
			err = errors.Join(err, os.Remove(filepath.Join(dir, RecipeFile)), os.Remove(filepath.Join(dir, JournalFile)))
			_ = os.Remove(dir) // where nothing else is in it
		}
		return nil, err
	}
	if err := run.bindInputs(); err != nil {
		return nil, errors.Join(err, run.Close())
	}
	return run, nil
}

// clearRun removes the run in dir, if there is one that no process has open, and nothing else: the folder may hold other
// files, even the ledger or what recipe r reads.
func clearRun(dir string, r recipe.Improve) error {
	path := filepath.Join(dir, JournalFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	j, err := journal.Open(path)
	switch {
	case err == nil:
		defer j.Close() // the lock is held until the run is gone
	case !errors.Is(err, journal.ErrCorrupt):
		return err
	}
	names := []string{ReportFile, CandidateDir, GeneratorDir, stateDir, spectrumFile, bundledDir}
	if r.Base == recipe.Bundled {
		names = append(names, BaseDir)
	}
	if len(r.Relatives.From) == 0 {
		names = append(names, RelativesDir)
	}
	for _, name := range append(names, RecipeFile, JournalFile) { // the journal last: it tells that there is a run
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// keepRecipe saves the complete recipe in a folder without one, which begins a run, and compares it in an old one.
func keepRecipe(dir string, r recipe.Improve) (begun bool, err error) {
	const title = "The recipe of this run, complete. d2nwg improve --recipe recipe.yaml repeats it."
	text, err := recipe.Commented(title, r)
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, RecipeFile)
	old, err := recipe.LoadImprove(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return true, files.Write(path, text)
	}
	if err != nil {
		return false, err
	}
	old.Score.Keep = r.Score.Keep // decides no outcome
	// Compared as they would be written now: what a key's comment says may have changed since.
	if again, err := recipe.Commented(title, old); err != nil || !bytes.Equal(again, text) {
		return false, errors.Join(err, fmt.Errorf("%s holds a run of another recipe; choose another --out, or --force to start it anew", dir))
	}
	return false, nil
}

// bindInputs ties the run to the contents of its base and data: a stage that is done must not be taken for one of others.
func (r *Run) bindInputs() error {
	hash, err := r.base.Hash()
	if err != nil {
		return err
	}
	if err := r.bind("the base", hash); err != nil {
		return err
	}
	for _, split := range stats.Splits {
		if err := r.bind("the data to "+string(split), r.target.Hash(split)); err != nil {
			return err
		}
	}
	return nil
}

// bind records what an input is when the run begins, and refuses another later.
func (r *Run) bind(what, hash string) error {
	first, err := journal.Do(r.journal, "input", what, func() (string, error) { return hash, nil })
	if err == nil && first != hash {
		err = fmt.Errorf("%s changed after the run in %s began; choose another --out, or --force to start it anew", what, r.Dir)
	}
	return err
}

// largeModel is the number of parameters above which a heap must not double before it is collected.
const largeModel = 200e6

// open reads the base, its tokenizer and the target's data, which is called as the user's recipe calls it.
func (r *Run) open(given recipe.Score) error {
	dir := r.Recipe.Base
	if dir == recipe.Bundled {
		dir = r.path(BaseDir)
		if err := bundled.Base(dir); err != nil {
			return err
		}
	}
	var err error
	if r.base, err = llm.Open(dir); err != nil {
		return err
	}
	if r.base.Config.Parameters() > largeModel {
		debug.SetGCPercent(10)
	}
	if r.tok, err = tokenizer.Open(dir); err != nil {
		return err
	}
	if r.target, err = newTarget(r.Recipe, r.tok, r.opt.Dataset); err != nil {
		return err
	}
	if given.Mix == "" {
		r.target.data.Name = cmp.Or(given.Task, given.Tasks, given.Text)
	}
	return nil
}

// Close frees what the run holds.
func (r *Run) Close() error {
	err := r.journal.Close()
	if r.base != nil {
		err = errors.Join(err, r.base.Close())
	}
	return err
}

// engine decodes the base for scoring, once.
func (r *Run) engine() (*engine.Model, error) {
	if r.model == nil {
		arithmetic, err := engine.ParseArithmetic(r.Recipe.Score.Arithmetic)
		if err != nil {
			return nil, err
		}
		k := r.Recipe.Score.Keep
		keep := engine.Budget{Memory: int64(k.Memory) << 20, Disk: int64(k.Disk) << 20, Dir: r.Dir}
		m, err := engine.New(r.base, engine.Options{Arithmetic: arithmetic, Keep: &keep})
		if err != nil {
			return nil, err
		}
		r.model = m
	}
	return r.model, nil
}

// training opens the training backend, once.
func (r *Run) training(ctx context.Context) (*compute.Backend, error) {
	if r.backend == nil {
		b, err := compute.Open(ctx, r.Recipe.Backend)
		if err != nil {
			return nil, err
		}
		r.opt.Note("backend %s: %s", b.Name, b.Why)
		if b.Warning != "" {
			r.opt.Note("%s", b.Warning)
		}
		first, err := journal.Do(r.journal, "input", "backend", func() (string, error) { return b.Name, nil })
		if err != nil {
			return nil, err
		}
		if first != b.Name {
			r.opt.Note("this run began on backend %s: on %s the same seed gives other weights", first, b.Name)
		}
		r.backend = b
	}
	return r.backend, nil
}

// Stage is how long a part of a run took when it was done first.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// stageNames is the order of the line.
var stageNames = []string{"relatives", "spectrum", "vae", "gate", "diffusion", "explore", "candidate"}

// stage runs f and remembers how long it took the first time it came to its end, interruptions left out.
func (r *Run) stage(name string, f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	_, err := journal.Do(r.journal, "stage", name, func() (Stage, error) {
		return Stage{name, time.Since(start).Seconds()}, nil
	})
	return err
}

// Stages lists the stages that are done, with their times.
func (r *Run) Stages() ([]Stage, error) {
	var all []Stage
	for _, name := range stageNames {
		var s Stage
		ok, err := r.journal.Get("stage", name, &s)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// seed derives the seed of one purpose from the run's seed; item tells apart several of one purpose.
func (r *Run) seed(purpose string, item int) uint64 { return Seed(r.Recipe.Seed, purpose, item) }

// path is a path inside the run's folder.
func (r *Run) path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

// saveJSON writes a small file whole.
func saveJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(path, append(data, '\n'))
}

// loadJSON reads a file that saveJSON wrote; ok is false when there is none.
func loadJSON(path string, v any) (ok bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w; remove it to make it anew", path, err)
	}
	return true, nil
}
