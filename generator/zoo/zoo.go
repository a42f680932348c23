package zoo

import (
	"fmt"
	"path/filepath"

	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/safetensors"
)

// Manifest is what a zoo's adapters were made of.
type Manifest struct {
	Format  int      `json:"d2nwg_zoo"` // version of this layout
	Base    string   `json:"base_sha256"`
	Rank    int      `json:"rank"`
	SharedA uint64   `json:"shared_a_seed"`
	Modules []string `json:"modules,omitempty"` // adapted ones; none = every linear layer
	Options any      `json:"options,omitempty"` // of the training
	Members []Member `json:"members"`
}

// Member is one adapter.
type Member struct {
	Task     string  `json:"task"`
	Seed     int     `json:"seed"`
	Dir      string  `json:"dir"` // below the zoo, with slashes
	Split    string  `json:"split"`
	Data     string  `json:"data_sha256,omitempty"` // of the task's file
	Hash     string  `json:"sha256"`                // of the adapter's values (llm.Variant.Hash)
	Steps    int     `json:"steps,omitempty"`
	Loss     float64 `json:"loss,omitempty"` // of the last tenth of the steps, nats a token
	Accuracy float64 `json:"accuracy"`       // share of held questions answered exactly
	Base     float64 `json:"base_accuracy"`  // the base's
	N        int     `json:"n"`              // held questions
	Bytes    int64   `json:"bytes"`          // of the stored factors
	From     string  `json:"from,omitempty"` // where an imported one comes from
}

// Zoo is an open folder.
type Zoo struct {
	Dir      string
	Tasks    []Task
	Manifest Manifest
	base     *llm.Checkpoint
}

// Open reads a zoo whose manifest is there, made of adapters of base.
func Open(dir string, base *llm.Checkpoint) (*Zoo, error) {
	z := &Zoo{Dir: dir, base: base}
	var err error
	if z.Tasks, err = ReadTasks(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ManifestName)
	if err := readJSON(path, &z.Manifest); err != nil {
		return nil, fmt.Errorf("%w; 'd2nwg zoo build %s' makes it", err, dir)
	}
	if z.Manifest.Format != 1 || z.Manifest.Rank < 1 {
		return nil, fmt.Errorf("%w: %s is no manifest that this version knows", safetensors.ErrFormat, path)
	}
	hash, err := base.Hash()
	if err != nil {
		return nil, err
	}
	if z.Manifest.Base != hash {
		return nil, fmt.Errorf("%s holds adapters of another base than %s; name the one it was built with", dir, base.Dir)
	}
	for _, m := range z.Manifest.Members {
		if !filepath.IsLocal(filepath.FromSlash(m.Dir)) {
			return nil, fmt.Errorf("%w: %s: the folder %q of an adapter is not below it", safetensors.ErrFormat, path, m.Dir)
		}
	}
	return z, nil
}

// Save writes the manifest.
func (z *Zoo) Save() error { return writeJSON(filepath.Join(z.Dir, ManifestName), z.Manifest) }

// Variant reads a member.
func (z *Zoo) Variant(m Member) (*llm.Variant, error) {
	v, _, err := lora.Load(z.base, filepath.Join(z.Dir, filepath.FromSlash(m.Dir)))
	return v, err
}

// Shared tells whether a variant is a low-rank update on the zoo's shared factors A alone, so that B says all of it.
func (m Manifest) Shared(v *llm.Variant) bool {
	for _, l := range v.LowRank {
		if l.Seed == nil || *l.Seed != m.SharedA || l.Rank != m.Rank {
			return false
		}
	}
	return len(v.Replace) == 0
}

// MemberDir is the folder of a task's adapter below the zoo.
func MemberDir(task string, seed int) string {
	return fmt.Sprintf("%s/%s-s%d", AdaptersDir, task, seed)
}

// Member is a task's first adapter; nil when it has none.
func (z *Zoo) Member(task string) *Member {
	for i, m := range z.Manifest.Members {
		if m.Task == task {
			return &z.Manifest.Members[i]
		}
	}
	return nil
}
