package generator

import (
	"fmt"

	"d2nwg/generator/diffusion"
	"d2nwg/generator/vae"
)

// Presets.
const (
	Modern = "modern"
	Paper  = "paper"
)

// Values of Config.Scope, Config.Center and Config.ConditionMean.
const (
	Auto = "auto"

	ScopeModel = "model" // all tokens of a weight set are sampled jointly
	ScopeLayer = "layer" // the tokens of one layer are sampled jointly, with the layer as a condition

	CenterElement = "element" // the zoo mean of every single weight is taken off before encoding
	CenterTensor  = "tensor"  // one mean a tensor

	MeanRidge = "ridge" // diffusion learns what ridge regression from the condition leaves
	MeanZoo   = "zoo"   // diffusion learns the deviation from the zoo mean
	MeanNone  = "none"  // like zoo, but dimensions keep their common scale and offset as in the paper
)

// Config describes a generator. Default gives complete values; a recipe overrides single ones.
type Config struct {
	Preset        string  `json:"preset" yaml:"preset" doc:"modern | paper"`
	ChunkLen      int     `json:"chunk_len" yaml:"chunk_len" doc:"values a token"`
	Scope         string  `json:"scope" yaml:"scope" doc:"auto | model | layer; auto is model up to MaxTokens tokens"`
	MaxTokens     int     `json:"max_tokens" yaml:"max_tokens" doc:"most tokens sampled jointly; larger groups are subsampled"`
	Center        string  `json:"center" yaml:"center" doc:"auto | element | tensor"`
	ConditionMean string  `json:"condition_mean" yaml:"condition_mean" doc:"ridge | zoo | none"`
	Guidance      float64 `json:"guidance" yaml:"guidance" doc:"classifier-free guidance; 1 = the conditional model alone"`
	SampleSteps   int     `json:"sample_steps" yaml:"sample_steps" doc:"denoising steps of the sampler"`
	Temperature   float64 `json:"temperature" yaml:"temperature" doc:"scale of the sampler's noise; below 1 draws samples towards the mean"`
	Seed          uint64  `json:"seed" yaml:"seed" doc:"of the generator; mixed with the run's seed"`

	VAE       vae.Config       `json:"vae" yaml:"vae" doc:"autoencoder of weight tokens"`
	Diffusion diffusion.Config `json:"diffusion" yaml:"diffusion" doc:"diffusion over latents"`
}

// Default is the configuration of a preset: "modern" or "paper".
func Default(preset string) (Config, error) {
	c := Config{Preset: preset, VAE: vae.Default(preset), Diffusion: diffusion.Default(preset), Temperature: 1}
	switch preset {
	case Modern:
		c.ChunkLen, c.Scope, c.MaxTokens, c.Center, c.ConditionMean = 512, Auto, 512, Auto, MeanRidge
		c.Guidance, c.SampleSteps = 1, 25
	case Paper:
		c.ChunkLen, c.Scope, c.MaxTokens, c.Center, c.ConditionMean = 4096, ScopeLayer, 1, CenterTensor, MeanNone
		c.Guidance, c.SampleSteps = 1, 1000
	default:
		return Config{}, fmt.Errorf("generator: unknown preset %q; use modern or paper", preset)
	}
	return c, nil
}

// Check refuses values that no generator can have.
func (c Config) Check() error {
	if c.ChunkLen < 1 || c.MaxTokens < 1 || c.SampleSteps < 1 || !(c.Guidance >= 0) || !(c.Temperature >= 0) {
		return fmt.Errorf("generator: chunk_len %d, max_tokens %d, sample_steps %d, guidance %v or temperature %v is out of range",
			c.ChunkLen, c.MaxTokens, c.SampleSteps, c.Guidance, c.Temperature)
	}
	for _, v := range []struct {
		key, value string
		known      []string
	}{
		{"preset", c.Preset, []string{Modern, Paper}},
		{"scope", c.Scope, []string{Auto, ScopeModel, ScopeLayer}},
		{"center", c.Center, []string{Auto, CenterElement, CenterTensor}},
		{"condition_mean", c.ConditionMean, []string{MeanRidge, MeanZoo, MeanNone}},
	} {
		found := false
		for _, k := range v.known {
			found = found || k == v.value
		}
		if !found {
			return fmt.Errorf("generator: unknown %s %q; use one of %v", v.key, v.value, v.known)
		}
	}
	if err := c.VAE.Check(); err != nil {
		return err
	}
	return c.Diffusion.Check()
}
