// Package vae learns to press weight tokens into short latents and to decode them again.
//
// Two kinds: "mlp" (residual MLP with a linear path, conditioned on what is known about a token: module, layer, position, shape) and
// "conv" (an LDM-style convolutional autoencoder over a token folded to a square).
package vae

import "fmt"

// Kinds of autoencoder.
const (
	MLP  = "mlp"
	Conv = "conv"
)

// Values of Config.Linear. Auto is token while the maps of all tokens hold at most maxTokenMaps numbers.
const (
	Auto   = "auto"
	Token  = "token"
	Shared = "shared"
)

const maxTokenMaps = 1 << 23

// Config describes an autoencoder and its training.
type Config struct {
	Kind   string  `json:"kind" yaml:"kind" doc:"mlp | conv"`
	Latent int     `json:"latent" yaml:"latent" doc:"mlp: numbers a token; conv: channels of the 16×16 latent"`
	Hidden int     `json:"hidden" yaml:"hidden" doc:"mlp: width; conv: channels at full resolution"`
	Blocks int     `json:"blocks" yaml:"blocks" doc:"residual blocks, in the encoder and in the decoder (conv: at each resolution)"`
	Embed  int     `json:"embed" yaml:"embed" doc:"width of the learned architecture embedding"`
	Linear string  `json:"linear" yaml:"linear" doc:"mlp: auto | token | shared; token keeps a linear map for every token beside the MLP"`
	Beta   float64 `json:"beta" yaml:"beta" doc:"weight of the KL divergence, 1e-6…1e-4"`
	Mixup  float64 `json:"mixup" yaml:"mixup" doc:"share of training tokens that are mixes of the same token of two weight sets"`

	Steps        int     `json:"steps" yaml:"steps" doc:"optimizer steps"`
	Batch        int     `json:"batch" yaml:"batch" doc:"tokens a step"`
	LearningRate float64 `json:"learning_rate" yaml:"learning_rate" doc:"peak learning rate"`
	Warmup       int     `json:"warmup" yaml:"warmup" doc:"steps"`
	Beta1        float64 `json:"beta1" yaml:"beta1" doc:"of AdamW"`
	Beta2        float64 `json:"beta2" yaml:"beta2" doc:"of AdamW"`
	WeightDecay  float64 `json:"weight_decay" yaml:"weight_decay" doc:"decoupled"`
	Clip         float64 `json:"clip" yaml:"clip" doc:"largest gradient norm, 0 = none"`
	Cosine       bool    `json:"cosine" yaml:"cosine" doc:"decay the learning rate along a cosine"`
}

// Default is the configuration of a preset: "modern" or "paper".
func Default(preset string) Config {
	if preset == "paper" {
		return Config{Kind: Conv, Latent: 4, Hidden: 32, Blocks: 1, Embed: 32, Linear: Auto, Beta: 1e-6,
			Steps: 3000, Batch: 8, LearningRate: 1.5e-4, Warmup: 0, Beta1: 0.5, Beta2: 0.9}
	}
	return Config{Kind: MLP, Latent: 64, Hidden: 256, Blocks: 2, Embed: 64, Linear: Auto, Beta: 1e-5, Mixup: 0.5,
		Steps: 1000, Batch: 256, LearningRate: 1e-3, Warmup: 50, Beta1: 0.9, Beta2: 0.99, WeightDecay: 1e-4, Clip: 1, Cosine: true}
}

// Check refuses values that no autoencoder can have.
func (c Config) Check() error {
	if c.Kind != MLP && c.Kind != Conv {
		return fmt.Errorf("vae: unknown kind %q; use mlp or conv", c.Kind)
	}
	if c.Linear != Auto && c.Linear != Token && c.Linear != Shared {
		return fmt.Errorf("vae: unknown linear %q; use auto, token or shared", c.Linear)
	}
	for _, v := range []struct {
		name  string
		value int
	}{{"latent", c.Latent}, {"hidden", c.Hidden}, {"blocks", c.Blocks}, {"embed", c.Embed}, {"steps", c.Steps}, {"batch", c.Batch}} {
		if v.value < 1 {
			return fmt.Errorf("vae: %s is %d; it has to be at least 1", v.name, v.value)
		}
	}
	if c.LearningRate <= 0 || c.Beta < 0 || c.Beta1 < 0 || c.Beta1 >= 1 || c.Beta2 < 0 || c.Beta2 >= 1 {
		return fmt.Errorf("vae: learning_rate %v, beta %v, beta1 %v or beta2 %v is out of range", c.LearningRate, c.Beta, c.Beta1, c.Beta2)
	}
	return nil
}
