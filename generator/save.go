package generator

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/generator/diffusion"
	"d2nwg/generator/tokens"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/files"
	"d2nwg/safetensors"
)

// Files of a saved generator.
const (
	configName  = "config.json"
	weightsName = "generator.safetensors"
)

// saved is config.json.
type saved struct {
	Format  int         `json:"d2nwg_generator"` // version of this layout
	Config  Config      `json:"config"`
	Tokens  *tokens.Map `json:"tokens"`
	Cond    int         `json:"cond"`
	Ridge   bool        `json:"ridge"` // whether the conditional mean depends on the condition
	Trained bool        `json:"diffusion_trained"`
	Summary Summary     `json:"summary"`
}

// Save writes the generator to dir: config.json, and generator.safetensors with every number. A generator without a trained diffusion
// can be saved too; it reconstructs.
func (g *Generator) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	arrays := map[string][]float32{}
	add := func(prefix string, values map[string][]float32) {
		for k, v := range values {
			arrays[prefix+k] = v
		}
	}
	add("vae/", g.vae.Params())
	add("center/", g.center)
	out := saved{Format: 1, Config: g.cfg, Tokens: g.m, Cond: g.cond, Trained: g.diffusion != nil, Summary: g.summary}
	if g.diffusion != nil {
		add("diffusion/", g.diffusion.Params())
		add("space/", map[string][]float32{"mean": g.space.mean.mean, "spread": g.space.spread})
		if g.cond > 0 {
			add("space/", map[string][]float32{"cond_mean": g.space.condMean, "cond_scale": g.space.scale})
		}
		if g.space.mean.dual != nil {
			out.Ridge = true
			add("space/", map[string][]float32{"ridge_x": g.space.mean.x, "ridge_dual": g.space.mean.dual})
		}
	}
	if err := optim.WriteArrays(filepath.Join(dir, weightsName), map[string]string{"format": "d2nwg"}, arrays); err != nil {
		return err
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(filepath.Join(dir, configName), append(data, '\n'))
}

// Open loads a generator that Save wrote. On the same kind of backend it samples the same weights as the saved one.
func Open(dir string, backend *compute.Backend) (*Generator, error) {
	path := filepath.Join(dir, configName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var in saved
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", safetensors.ErrFormat, path, err)
	}
	if in.Format != 1 || in.Tokens == nil {
		return nil, fmt.Errorf("%w: %s is not the configuration of a generator that this version knows", safetensors.ErrFormat, path)
	}
	if err := in.Config.Check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", safetensors.ErrFormat, path, err)
	}
	_, arrays, err := optim.ReadArrays(filepath.Join(dir, weightsName))
	if err != nil {
		return nil, err
	}
	g, err := restore(in, arrays, backend)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", safetensors.ErrFormat, dir, err)
	}
	return g, nil
}

// restore rebuilds a generator from its saved parts.
func restore(in saved, arrays map[string][]float32, backend *compute.Backend) (*Generator, error) {
	g := &Generator{cfg: in.Config, cond: in.Cond, summary: in.Summary, backend: backend}
	if err := g.restoreTokens(in.Tokens, arrays); err != nil {
		return nil, err
	}
	if err := g.buildVAE(below(arrays, "vae/")); err != nil || !in.Trained {
		return g, err
	}
	size, latent := g.m.Tokens()*g.vae.LatentLen(), g.vae.LatentLen()
	s := &space{tokens: g.m.Tokens(), latent: latent, mean: &ridge{Lambda: math.Inf(1), R2: in.Summary.RidgeR2}}
	need := map[string]*[]float32{"mean": &s.mean.mean, "spread": &s.spread}
	sizes := map[string]int{"mean": size, "spread": latent}
	if in.Cond > 0 {
		need["cond_mean"], need["cond_scale"] = &s.condMean, &s.scale
		sizes["cond_mean"], sizes["cond_scale"] = in.Cond, in.Cond
	}
	if in.Ridge {
		sets := len(arrays["space/ridge_x"]) / max(1, in.Cond)
		need["ridge_x"], need["ridge_dual"] = &s.mean.x, &s.mean.dual
		sizes["ridge_x"], sizes["ridge_dual"] = sets*in.Cond, sets*size
		s.mean.Lambda = in.Summary.RidgeLambda
	}
	for name, dst := range need {
		v, ok := arrays["space/"+name]
		if !ok || len(v) != sizes[name] {
			return nil, fmt.Errorf("array space/%s has %d values, %d are needed", name, len(v), sizes[name])
		}
		*dst = v
	}
	g.space = s
	return g, g.buildDiffusion(below(arrays, "diffusion/"))
}

// restoreTokens takes the token map over after checking that it is what NewMap would lay out.
func (g *Generator) restoreTokens(m *tokens.Map, arrays map[string][]float32) error {
	var specs []tokens.Spec
	for _, t := range m.Tensors {
		specs = append(specs, t.Spec)
	}
	fresh, err := tokens.NewMap(specs, m.ChunkLen)
	if err != nil {
		return err
	}
	if m.ChunkLen != g.cfg.ChunkLen {
		return fmt.Errorf("the token map has chunks of %d, the configuration of %d", m.ChunkLen, g.cfg.ChunkLen)
	}
	for i, t := range m.Tensors {
		f := fresh.Tensors[i]
		if t.First != f.First || t.Count != f.Count || t.Padding != f.Padding || !(t.Std > 0) {
			return fmt.Errorf("the token map is inconsistent at tensor %s", t.Name)
		}
		if c, ok := arrays["center/"+t.Name]; ok {
			if len(c) != t.Elements() {
				return fmt.Errorf("array center/%s has %d values, %d are needed", t.Name, len(c), t.Elements())
			}
			if g.center == nil {
				g.center = map[string][]float32{}
			}
			g.center[t.Name] = c
		}
	}
	g.m = m
	g.arch, g.width = architecture(m)
	return nil
}

// below takes the arrays below a prefix.
func below(arrays map[string][]float32, prefix string) map[string][]float32 {
	out := map[string][]float32{}
	for k, v := range arrays {
		if name, ok := strings.CutPrefix(k, prefix); ok {
			out[name] = v
		}
	}
	return out
}

// checkpoints names the file that keeps the state of a stage. Its key binds the state to the configuration and the training set, so that a
// changed recipe never continues from a foreign state; weights that are loaded lazily are bound by their names alone.
func (o TrainOptions) checkpoints(stage string, cfg Config, set Set) (*optim.Checkpoints, error) {
	if o.StateDir == "" {
		return nil, nil
	}
	h := sha256.New()
	// Sampling settings don't touch training.
	cfg.Guidance, cfg.SampleSteps, cfg.Temperature = 0, 0, 0
	if stage == "vae" { // nor do the later stage's settings touch the first one
		cfg.Diffusion, cfg.Scope, cfg.MaxTokens, cfg.ConditionMean, set.Conditions = diffusion.Config{}, "", 0, "", nil
	}
	if err := json.NewEncoder(h).Encode([]any{stage, cfg, set.Specs, set.Names, set.Conditions}); err != nil {
		return nil, err
	}
	for _, w := range set.Weights {
		for _, name := range slices.Sorted(maps.Keys(w)) {
			h.Write([]byte(name))
			if err := binary.Write(h, binary.LittleEndian, w[name]); err != nil {
				return nil, err
			}
		}
	}
	every := o.SaveEvery
	if every == 0 {
		every = 500
	}
	return &optim.Checkpoints{Path: filepath.Join(o.StateDir, stage+".state.safetensors"), Key: fmt.Sprintf("%x", h.Sum(nil)), Every: every}, nil
}
