package zoo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"d2nwg/internal/journal"
	"d2nwg/llm"
	"d2nwg/llm/lora"
)

// Files and folders that building adds to a folder of tasks.
const (
	ManifestName = "manifest.json"
	AdaptersDir  = "adapters"
	OraclesDir   = "oracles"
	StateDir     = ".zoo"
	journalName  = "journal.jsonl"
)

// format is the version of the manifest that is written and read.
const format = 2

// A Manifest says what a zoo's adapters are of, how they were trained and what they score.
type Manifest struct {
	Format     int      `json:"d2nwg_zoo"`
	Base       string   `json:"base_sha256"`
	Rank       int      `json:"rank"`          // of the trained adapters; 0 before any was trained
	SharedSeed uint64   `json:"shared_a_seed"` // of the factors A that the trained adapters share
	Modules    []string `json:"modules"`       // that they change
	Splits     []string `json:"splits"`        // whose tasks a generator learns from
	Training   Training `json:"training"`
	Members    []Member `json:"members"`           // what a generator learns from
	Oracles    []Member `json:"oracles,omitempty"` // adapters of held-out tasks, to measure against
}

// Training says how the adapters were trained.
type Training struct {
	Seed         uint64  `json:"seed"` // all others are derived from it
	Steps        int     `json:"steps"`
	Warmup       int     `json:"warmup"`
	LearningRate float64 `json:"learning_rate"` // at the end of the warm-up; a cosine goes down from there to a tenth
	Rows         int     `json:"rows"`          // of a batch of one adapter
	Length       int     `json:"length"`        // tokens of a row; 0 = what the longest question of a group needs
}

// A Member is one adapter.
type Member struct {
	Task         string   `json:"task"`
	Seed         int      `json:"seed"` // counts the adapters of a task
	Dir          string   `json:"dir"`  // below the zoo, with slashes
	Split        string   `json:"split"`
	Descriptions []string `json:"descriptions"`
	Hash         string   `json:"sha256"`                // llm.Variant.Hash, of the values as they are stored
	Data         string   `json:"data_sha256,omitempty"` // of the task's file; "" where there is none
	Bytes        int64    `json:"bytes"`                 // of the folder
	Steps        int      `json:"steps,omitempty"`
	Loss         float64  `json:"loss,omitempty"` // mean of the last tenth of the steps, nats per answer token
	Held         int      `json:"held"`           // questions of the test split that it was asked
	Accuracy     float64  `json:"accuracy"`       // share of them that it answers exactly
	BaseAccuracy float64  `json:"base_accuracy"`  // the base's
	P            float64  `json:"p"`              // one-sided exact McNemar's test of the two; 1 where nothing was asked
	From         string   `json:"from,omitempty"` // where an imported one comes from
}

// A Zoo is an open folder.
type Zoo struct {
	Dir   string
	Tasks []Task
	Manifest
	base *llm.Checkpoint
}

// Open reads a zoo of adapters of base.
func Open(dir string, base *llm.Checkpoint) (*Zoo, error) {
	z, err := Read(dir, base)
	if err == nil && z.Format == 0 {
		err = fmt.Errorf("%s has no %s; 'd2nwg zoo build %s' trains its adapters: %w", dir, ManifestName, dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return z, nil
}

// Read is Open that takes a folder of tasks without a manifest, too; Format then is 0.
func Read(dir string, base *llm.Checkpoint) (*Zoo, error) {
	z := &Zoo{Dir: dir, base: base}
	var err error
	if z.Tasks, err = ReadTasks(dir); err != nil {
		return nil, err
	}
	hash, err := base.Hash()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ManifestName)
	if err := readJSON(path, &z.Manifest); errors.Is(err, fs.ErrNotExist) {
		z.Base, z.Splits = hash, []string{TrainSplit}
		return z, nil
	} else if err != nil {
		return nil, err
	}
	if z.Format != format {
		return nil, badf("%s has the format %d, this version knows %d; remove it and build the zoo again", path, z.Format, format)
	}
	if z.Base != hash {
		return nil, fmt.Errorf("%s holds adapters of another base than %s; name the one it was built with by --base", dir, base.Dir)
	}
	for _, m := range slices.Concat(z.Members, z.Oracles) {
		if !filepath.IsLocal(filepath.FromSlash(m.Dir)) {
			return nil, badf("%s: the folder %q of an adapter is not below it", path, m.Dir)
		}
	}
	return z, nil
}

// Lock keeps other writers away until the journal it returns is closed.
func Lock(dir string) (*journal.Journal, error) {
	return journal.Open(filepath.Join(dir, StateDir, journalName))
}

// Save writes the manifest, whole or not at all.
func (z *Zoo) Save() error {
	z.Format = format
	if z.Members == nil {
		z.Members = []Member{}
	}
	return writeJSON(filepath.Join(z.Dir, ManifestName), z.Manifest)
}

// Learns tells whether a generator may learn from a task.
func (z *Zoo) Learns(t Task) bool { return slices.Contains(z.Splits, t.Split) }

// Variant reads a member's adapter.
func (z *Zoo) Variant(m Member) (*llm.Variant, error) {
	v, _, err := lora.Load(z.base, z.path(m))
	return v, err
}

func (z *Zoo) path(m Member) string { return filepath.Join(z.Dir, filepath.FromSlash(m.Dir)) }

// Shared tells whether a variant is an update on the zoo's shared factors A alone, so that its B says all of it.
func (z *Zoo) Shared(v *llm.Variant) bool {
	for _, l := range v.LowRank {
		if l.Seed == nil || *l.Seed != z.SharedSeed || l.Rank != z.Rank {
			return false
		}
	}
	return len(v.Replace) == 0
}
