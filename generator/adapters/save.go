package adapters

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// FileName is a saved generator's one file: its numbers, and the rest as JSON in the header's metadata.
const FileName = "adapters.safetensors"

const metaKey = "d2nwg_adapters"

// saved is what stands beside the numbers.
type saved struct {
	Format  int                `json:"format"` // version of this layout
	Base    string             `json:"base"`   // hash of the base whose adapters these are
	Config  Config             `json:"config"`
	Rank    int                `json:"rank"`
	Seed    uint64             `json:"shared_a_seed"`
	States  int                `json:"states"`
	Factors []llm.NamedShape   `json:"factors"`
	Scale   map[string]float32 `json:"scale"`
	Known   []Known            `json:"known"`
	Usual   *float64           `json:"usual_similarity"`
	Members []string           `json:"members"` // the tasks of the trained adapters
	Summary Summary            `json:"summary"`
}

// Save writes the generator to dir. base is the hash of the base whose adapters it generates.
func (g *Generator) Save(dir, base string) error {
	arrays := map[string][]float32{}
	for k, v := range g.params {
		arrays["net/"+k] = v
	}
	for k, v := range g.diffusion.Params() {
		arrays["diffusion/"+k] = v
	}
	arrays["states/mean"], arrays["states/deviation"] = g.standard.mean, g.standard.deviation
	for i, k := range g.known {
		arrays[knownArray(i)] = slices.Concat(k.Features...)
	}
	out := saved{Format: 1, Base: base, Config: g.cfg, Rank: g.rank, Seed: g.seed, States: g.states, Factors: g.factors, Scale: g.scale, Known: g.known, Summary: g.summary}
	usual := g.usual()
	out.Usual = &usual
	for i, m := range g.members {
		out.Members = append(out.Members, m.Task)
		for _, f := range g.factors {
			arrays[memberArray(i)+f.Name] = m.Weights[f.Name]
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return optim.WriteArrays(filepath.Join(dir, FileName), map[string]string{"format": "d2nwg", metaKey: string(data)}, arrays)
}

func knownArray(i int) string { return fmt.Sprintf("known/%06d", i) }

func memberArray(i int) string { return fmt.Sprintf("member/%06d/", i) }

// Open loads a generator that Save wrote, and the hash of its base.
func Open(dir string, backend *compute.Backend) (g *Generator, base string, err error) {
	path := filepath.Join(dir, FileName)
	meta, arrays, err := optim.ReadArrays(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s holds no generator of adapters: %w", dir, err)
	}
	if err != nil {
		return nil, "", err
	}
	var in saved
	if err := json.Unmarshal([]byte(meta[metaKey]), &in); err != nil {
		return nil, "", fmt.Errorf("%w: %s: its description: %v", safetensors.ErrFormat, path, err)
	}
	if g, err = restore(in, arrays, backend); err != nil {
		return nil, "", fmt.Errorf("%w: %s: %v", safetensors.ErrFormat, dir, err)
	}
	return g, in.Base, nil
}

// restore rebuilds a generator from its saved parts.
func restore(in saved, arrays map[string][]float32, backend *compute.Backend) (*Generator, error) {
	if in.Format != 1 {
		return nil, fmt.Errorf("its format %d is unknown to this version", in.Format)
	}
	if err := in.Config.Check(); err != nil {
		return nil, err
	}
	if in.Rank < 1 || in.States < 1 || len(in.Factors) == 0 {
		return nil, fmt.Errorf("rank %d, %d states, %d factors are no generator's", in.Rank, in.States, len(in.Factors))
	}
	for _, f := range in.Factors {
		if len(f.Shape) != 2 || f.Shape[0] < 1 || f.Shape[1] != in.Rank || !(in.Scale[f.Name] > 0) {
			return nil, fmt.Errorf("the factor of %s has shape %v and scale %v", f.Name, f.Shape, in.Scale[f.Name])
		}
	}
	g := &Generator{
		net: net{in.Config, in.Factors, in.Rank}, seed: in.Seed, states: in.States, scale: in.Scale, params: below(arrays, "net/"),
		known: in.Known, usually: in.Usual, summary: in.Summary, backend: backend, funcs: map[string]*optim.Func{},
	}
	g.standard = standard{arrays["states/mean"], arrays["states/deviation"]}
	if len(g.standard.mean) != in.States || len(g.standard.deviation) != in.States {
		return nil, fmt.Errorf("the examples' mean and deviation have %d and %d numbers, %d are needed", len(g.standard.mean), len(g.standard.deviation), in.States)
	}
	for i := range g.known {
		all := arrays[knownArray(i)]
		if len(all) == 0 || len(all)%in.Config.Feature != 0 {
			return nil, fmt.Errorf("the features of the task %s are missing", g.known[i].Name)
		}
		for part := range slices.Chunk(all, in.Config.Feature) {
			g.known[i].Features = append(g.known[i].Features, part)
		}
	}
	for i, task := range in.Members {
		m := Member{task, below(arrays, memberArray(i))}
		for _, f := range g.factors {
			if len(m.Weights[f.Name]) != f.Elements() {
				return nil, fmt.Errorf("the trained adapter %d has %d values for %s, shape %v needs %d", i, len(m.Weights[f.Name]), f.Name, f.Shape, f.Elements())
			}
		}
		g.members = append(g.members, m)
	}
	return g, g.buildDiffusion(below(arrays, "diffusion/"))
}

// below takes the arrays below a prefix.
func below(arrays map[string][]float32, prefix string) map[string][]float32 {
	out := map[string][]float32{}
	for _, k := range slices.Sorted(maps.Keys(arrays)) {
		if name, ok := strings.CutPrefix(k, prefix); ok {
			out[name] = arrays[k]
		}
	}
	return out
}
