package recipe

import (
	"math"
	"slices"

	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/eval/task"
	"d2nwg/generator"
	"d2nwg/llm/engine"
)

// Bundled names what ships with d2nwg: the small base model, and its relatives.
const Bundled = "bundled"

// Prompt forms of a mix.
const (
	Bare      = "bare"
	Described = "described"
)

// Improve is the recipe of one run of `d2nwg improve`: everything that decides its outcome, and what it may use (Keep),
// nothing else. A copy with every default filled in is saved beside the run's outputs.
type Improve struct {
	Base      string           `yaml:"base" json:"base" doc:"checkpoint folder to improve or its address (hf://org/name@revision), or 'bundled' for the small model that ships with d2nwg"`
	Seed      uint64           `yaml:"seed" json:"seed" doc:"every other seed is derived from this one; same seed, same bytes"`
	Backend   string           `yaml:"backend" json:"backend" doc:"training backend: auto, go, onnx or xla"`
	Describe  string           `yaml:"describe" json:"describe" doc:"what is wanted, in words: the text condition (empty: the mix's own description, or none)"`
	Score     Score            `yaml:"score" json:"score" doc:"what a candidate is judged by; exactly one of mix, tasks, task and text"`
	Relatives Relatives        `yaml:"relatives" json:"relatives" doc:"checkpoints related to the base: what the generator learns from, and what it has to beat"`
	Spectrum  Spectrum         `yaml:"spectrum" json:"spectrum" doc:"layer ranking by signal-to-noise ratio (Spectrum)"`
	Generator generator.Config `yaml:"generator" json:"generator" doc:"layer-wise VAE and latent diffusion"`
	Explore   Explore          `yaml:"explore" json:"explore" doc:"the search, equal for every source of proposals, and the verdicts"`
	// Resolved is empty in a recipe that is written by hand.
	Resolved map[string]string `yaml:"resolved" json:"resolved,omitempty" doc:"hub addresses of this recipe, each with the same address at the commit that is read; a run fills it in (empty: the commit of today)"`
}

// Score names the data a run is judged on.
type Score struct {
	Mix        string `yaml:"mix" json:"mix,omitempty" doc:"procedural tasks joined by '+', one for each kind of input (see 'd2nwg tasks')"`
	Form       string `yaml:"form" json:"form,omitempty" doc:"prompt form of the mix: bare (x>) or described (description, newline, x>)"`
	Tasks      string `yaml:"tasks" json:"tasks,omitempty" doc:"JSONL file of {\"prompt\",\"answer\"}, or its address (hf://datasets/org/name/file)"`
	Task       string `yaml:"task" json:"task,omitempty" doc:"a task of lm-evaluation-harness, by name or as the path of its file; its documents are cut by hash"`
	Harness    string `yaml:"harness" json:"harness,omitempty" doc:"folder of an lm-evaluation-harness with the task's file (empty: LM_EVAL_PATH, or beside Python)"`
	Data       string `yaml:"data" json:"data,omitempty" doc:"folder or address with the task's data, as <dataset_path>/<dataset_name>/<split>.jsonl (empty: the hub's data set)"`
	Profile    string `yaml:"profile" json:"profile,omitempty" doc:"the era of the harness whose prompts and tokens the task has: v1, v2 or current"`
	Text       string `yaml:"text" json:"text,omitempty" doc:"text file (.gz too) or its address, scored by bits per byte"`
	Arithmetic string `yaml:"arithmetic" json:"arithmetic,omitempty" doc:"what weights are multiplied with: f32, or bf16 where they are stored so (faster, less exact)"`
	Metric     string `yaml:"metric" json:"metric,omitempty" doc:"exact, margin or bits_per_byte (empty: by kind of data); of a task, one of its own (empty: its first)"`
	Keep       Keep   `yaml:"keep" json:"keep" doc:"room for the base's activations, from which candidates start that differ in later layers only; changes no score"`
	Items      Items  `yaml:"items" json:"items" doc:"most items of each cut (of each task, for a mix); 0 = 200, 200 and 600 questions, or 60, 120 and 300 documents"`
}

// Keep says how much of the base's activations is kept. It decides no outcome, so it may change while a run is continued.
type Keep struct {
	Memory int `yaml:"memory" json:"memory" doc:"megabytes in memory"`
	Disk   int `yaml:"disk" json:"disk" doc:"megabytes in files in the run's folder that are gone when the run ends, for what memory has no room for"`
}

// Items caps the number of items of each cut.
type Items struct {
	Select  int `yaml:"select" json:"select" doc:"ranks candidates"`
	Confirm int `yaml:"confirm" json:"confirm" doc:"the gate before the test"`
	Test    int `yaml:"test" json:"test" doc:"opened once, for the verdicts"`
}

// Relatives says where the training set of the generator comes from. With neither From nor Make.Count the generator
// learns the base's own selected layers, as the paper does with a single model.
type Relatives struct {
	From []string      `yaml:"from" json:"from,omitempty" doc:"folders or their addresses: checkpoints of the base's shape, variants, or folders of those; 'bundled' for what ships with the bundled model"`
	Make MakeRelatives `yaml:"make" json:"make" doc:"relatives to make when 'from' is empty: low-rank fine-tunes of the base on the train cut, many in one batch"`
}

// MakeRelatives describes fine-tunes of the base.
type MakeRelatives struct {
	Count int       `yaml:"count" json:"count" doc:"how many, where mixes is empty; 0 = none"`
	Mixes []string  `yaml:"mixes" json:"mixes,omitempty" doc:"a relative for each of these mixes, tasks joined by '+'; empty: drawn at random, never the target's"`
	Parts int       `yaml:"parts" json:"parts" doc:"for tasks and text: each relative sees this many of 8 parts of the train cut"`
	Rank  int       `yaml:"rank" json:"rank" doc:"of the low-rank update of every linear layer; all relatives share its frozen A"`
	Group int       `yaml:"group" json:"group" doc:"relatives trained in one batch"`
	Rows  int       `yaml:"rows" json:"rows" doc:"rows of a relative's batch"`
	Len   int       `yaml:"length" json:"length" doc:"tokens of a row"`
	Train Optimizer `yaml:"train" json:"train" doc:"AdamW with warm-up, cosine decay and norm clipping"`
}

// Spectrum selects layers.
type Spectrum struct {
	Percent int `yaml:"percent" json:"percent" doc:"top share of each module type that the generator learns when relatives are whole checkpoints (low-rank relatives: all they change)"`
}

// Explore is the search and its budget; every source gets the same.
type Explore struct {
	Proposals       int       `yaml:"proposals" json:"proposals" doc:"whole proposals of each source"`
	Scales          []float64 `yaml:"scales" json:"scales" doc:"strengths at which each proposal is tried"`
	Layers          int       `yaml:"layers" json:"layers" doc:"tensors replaced one by one in Spectrum order"`
	Tries           int       `yaml:"tries" json:"tries" doc:"replacements tried for each of them"`
	Soup            int       `yaml:"soup" json:"soup" doc:"blends with runners-up and the base"`
	Race            Race      `yaml:"race" json:"race" doc:"comparing candidates on growing parts of the select split"`
	Controls        bool      `yaml:"controls" json:"controls" doc:"also search with a shuffled description, with none, and with the conditional mean alone, to see what each part of the generator is worth"`
	Gate            float64   `yaml:"gate" json:"gate" doc:"largest share of the relatives' gain over the base that decoding alone may lose before diffusion is trained"`
	Alpha           float64   `yaml:"alpha" json:"alpha" doc:"chance of any false verdict on this test split, ever"`
	Resamples       int       `yaml:"resamples" json:"resamples" doc:"of the paired bootstrap"`
	AcceptBaselines bool      `yaml:"accept_baselines" json:"accept_baselines" doc:"let a baseline's winner be the candidate; decided before the test is opened"`
	Ledger          string    `yaml:"ledger" json:"ledger" doc:"file that records every opening of a test split (empty: ledger.jsonl beside the run folder)"`
}

// Race says when the search may give a candidate up before it was scored on all of select.
type Race struct {
	Alpha float64 `yaml:"alpha" json:"alpha" doc:"chance that any of a source's races drops a candidate that would have been its best (0: score every candidate in full)"`
}

// LoadImprove reads a recipe with settings on top; see LoadWith. The generator's defaults are those of its preset.
func LoadImprove(path string, sets []string) (Improve, error) {
	r, err := LoadWith[Improve](path, sets)
	if err != nil || r.Generator.Preset != generator.Paper {
		return r, err
	}
	p, err := LoadWith[paperImprove](path, sets)
	return Improve(p), err
}

// paperImprove is Improve with the defaults of the generator's other preset.
type paperImprove Improve

// SetDefaults is Improve's, with the paper preset.
func (p *paperImprove) SetDefaults() {
	(*Improve)(p).SetDefaults()
	p.Generator, _ = generator.Default(generator.Paper) // a preset that exists
}

// Validate is Improve's.
func (p *paperImprove) Validate() error { return (*Improve)(p).Validate() }

// SetDefaults fills in what a recipe need not say.
func (r *Improve) SetDefaults() {
	r.Base, r.Backend = Bundled, "auto"
	r.Score.Form, r.Score.Arithmetic = Bare, "f32"
	r.Score.Keep = Keep{Memory: engine.DefaultMemory >> 20, Disk: 4096}
	r.Relatives.Make = MakeRelatives{Count: 16, Parts: 4, Rank: 4, Group: 16, Rows: 4, Len: 128, Train: Optimizer{
		Steps: 120, Warmup: 10, LearningRate: 5e-3, MinLearningRate: 5e-4, Clip: 1, SaveEvery: 40}}
	r.Spectrum.Percent = 25
	r.Generator, _ = generator.Default(generator.Modern) // a preset that exists
	r.Explore = Explore{Proposals: 24, Scales: []float64{1, 1.5}, Layers: 12, Tries: 2, Soup: 6, Race: Race{Alpha: 0.05}, Controls: true, Gate: 0.25,
		Alpha: 0.05, Resamples: 10000}
}

// mostKeep is 1 PB in megabytes: bytes can be counted up to there.
const mostKeep = 1 << 30

// Validate refuses values no run can have.
func (r *Improve) Validate() error {
	chosen := 0
	for _, s := range []string{r.Score.Mix, r.Score.Tasks, r.Score.Task, r.Score.Text} {
		if s != "" {
			chosen++
		}
	}
	if chosen != 1 {
		return Invalid("score", "name exactly one of mix, tasks, task and text")
	}
	if r.Score.Mix != "" {
		if _, err := procedural.ParseMix(r.Score.Mix); err != nil {
			return Invalid("score.mix", "%v", err)
		}
	}
	if r.Score.Form != Bare && r.Score.Form != Described {
		return Invalid("score.form", "%q is neither bare nor described", r.Score.Form)
	}
	if _, err := engine.ParseArithmetic(r.Score.Arithmetic); err != nil {
		return Invalid("score.arithmetic", "%v", err)
	}
	if p := task.Profile(r.Score.Profile); p != "" && p != task.V1 && p != task.V2 && p != task.Current {
		return Invalid("score.profile", "%q is none of v1, v2 and current", p)
	}
	if m := r.Score.Metric; m != "" && r.Score.Task == "" && !slices.Contains([]string{eval.Exact, eval.Margin, eval.BitsPerByte}, m) {
		return Invalid("score.metric", "%q is none of %s, %s and %s", m, eval.Exact, eval.Margin, eval.BitsPerByte)
	}
	if m := r.Score.Metric; m != "" && r.Score.Task == "" && (m == eval.BitsPerByte) != (r.Score.Text != "") {
		return Invalid("score.metric", "text is scored by %s, questions by %s or %s", eval.BitsPerByte, eval.Exact, eval.Margin)
	}
	if k := r.Score.Keep; min(k.Memory, k.Disk) < 0 || max(k.Memory, k.Disk) > mostKeep {
		return Invalid("score.keep", "%d and %d megabytes are not between 0 and %d", k.Memory, k.Disk, mostKeep)
	}
	if n := r.Score.Items; min(n.Select, n.Confirm, n.Test) < 0 {
		return Invalid("score.items", "counts can't be negative")
	}
	if p := r.Spectrum.Percent; p < 1 || p > 100 {
		return Invalid("spectrum.percent", "%d is not between 1 and 100", p)
	}
	if err := r.Relatives.Make.validate(); err != nil {
		return err
	}
	if err := r.Generator.Check(); err != nil {
		return Invalid("generator", "%v", err)
	}
	return r.Explore.validate()
}

func (m MakeRelatives) validate() error {
	for key, v := range map[string]int{"rank": m.Rank, "group": m.Group, "rows": m.Rows, "length": m.Len} {
		if v < 1 {
			return Invalid("relatives.make."+key, "%d has to be at least 1", v)
		}
	}
	if m.Parts < 1 || m.Parts > RelativeParts {
		return Invalid("relatives.make.parts", "%d is not between 1 and %d", m.Parts, RelativeParts)
	}
	if m.Count < 0 {
		return Invalid("relatives.make.count", "%d is negative", m.Count)
	}
	if m.Train.Steps < 1 {
		return Invalid("relatives.make.train.steps", "%d has to be at least 1", m.Train.Steps)
	}
	for _, name := range m.Mixes {
		mix, err := procedural.ParseMix(name)
		if err == nil {
			_, err = mix.Training()
		}
		if err != nil {
			return Invalid("relatives.make.mixes", "%v", err)
		}
	}
	return nil
}

// RelativeParts is the number of parts the train cut is divided into for relatives.
const RelativeParts = 8

func (e Explore) validate() error {
	switch {
	case e.Proposals < 1 || len(e.Scales) == 0:
		return Invalid("explore", "the search needs at least one proposal and one scale")
	case min(e.Layers, e.Tries, e.Soup) < 0:
		return Invalid("explore", "counts can't be negative")
	case e.Tries > e.Proposals*len(e.Scales):
		return Invalid("explore.tries", "%d tries of a tensor need as many proposals; proposals × scales is %d", e.Tries, e.Proposals*len(e.Scales))
	case slices.ContainsFunc(e.Scales, func(s float64) bool { return math.IsNaN(s) || math.IsInf(s, 0) }):
		return Invalid("explore.scales", "%v are not all finite", e.Scales)
	case !(e.Alpha > 0 && e.Alpha < 0.5): // NaN neither
		return Invalid("explore.alpha", "%g is not between 0 and 0.5", e.Alpha)
	case !(e.Race.Alpha >= 0 && e.Race.Alpha < 0.5):
		return Invalid("explore.race.alpha", "%g is not between 0 and 0.5", e.Race.Alpha)
	case !(e.Gate >= 0):
		return Invalid("explore.gate", "%g is not zero or more", e.Gate)
	case e.Resamples < 1000:
		return Invalid("explore.resamples", "%d is too few for an interval; use 1000 or more", e.Resamples)
	}
	return nil
}
