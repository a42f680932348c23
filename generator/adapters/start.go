package adapters

import (
	"encoding/json"
	"fmt"

	"d2nwg/internal/compute/optim"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// Start is what a generator's training can begin with: the text encoder, the latents and the decoder that the base was trained together with.
type Start struct {
	Base    string           `json:"base"` // hash of the base
	Config  Config           `json:"config"`
	Rank    int              `json:"rank"`
	Seed    uint64           `json:"shared_a_seed"`
	Factors []llm.NamedShape `json:"factors"`

	params map[string][]float32
}

const startKey = "d2nwg_start"

// Save writes the start to a file, in bfloat16: training goes on from it anyway.
func (s *Start) Save(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return optim.WriteArraysAs(path, safetensors.BF16, map[string]string{"format": "d2nwg", startKey: string(data)}, s.params)
}

// OpenStart reads what Save wrote.
func OpenStart(path string) (*Start, error) {
	meta, arrays, err := optim.ReadArrays(path)
	if err != nil {
		return nil, err
	}
	s := &Start{params: arrays}
	if err := json.Unmarshal([]byte(meta[startKey]), s); err != nil {
		return nil, fmt.Errorf("%w: %s is no start of a generator: %v", safetensors.ErrFormat, path, err)
	}
	return s, nil
}

// Shape sets what of a configuration has to be as the start has it.
func (s *Start) Shape(c *Config) {
	c.Text, c.Latent, c.Feature, c.Width = s.Config.Text, s.Config.Latent, s.Config.Feature, s.Config.Width
}
