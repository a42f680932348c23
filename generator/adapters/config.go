// Package adapters generates the low-rank adapter of a task from what is known about it: a description in words, or examples.
//
//	description ─ words ──────► text encoder ──┐
//	examples ─ base's states ─► set encoder ───┼─► latent ─ decoder (module, layer, rank slot) ─► B of every matrix
//	adapter's B ─ tokens ─────► weight encoder ┘     ▲
//	                             diffusion over latents, given the text's or the set's features
//
// All adapters share one frozen factor A (llm.SharedA), so B alone is learned. A token is one column of B: what one rank slot of one
// matrix writes. Beside reconstruction the training has a functional loss: the decoded adapter's loss on the task's examples through the
// frozen base. Reconstruction copies a zoo well; what generalizes to tasks that nobody trained comes from the functional loss.
package adapters

import (
	"fmt"

	"d2nwg/generator/diffusion"
)

// Presets.
const (
	Modern = "modern" // functional loss, v-prediction, few steps
	Paper  = "paper"  // reconstruction and contrastive alignment only, ε-prediction, 1,000 ancestral steps
)

// Config describes a generator of adapters and its training. Default gives complete values.
type Config struct {
	Preset string `json:"preset" yaml:"preset" doc:"modern | paper"`
	Seed   uint64 `json:"seed" yaml:"seed" doc:"of the generator"`

	Latent  int `json:"latent" yaml:"latent" doc:"numbers an adapter is pressed into"`
	Feature int `json:"feature" yaml:"feature" doc:"numbers of a condition: what the text and the set encoder give"`
	Width   int `json:"width" yaml:"width" doc:"hidden units of the decoder"`

	Text TextConfig `json:"text" yaml:"text" doc:"text encoder"`
	Set  SetConfig  `json:"set" yaml:"set" doc:"set encoder of examples"`

	Functional     float64 `json:"functional" yaml:"functional" doc:"weight of the task's loss through the frozen base"`
	Reconstruction float64 `json:"reconstruction" yaml:"reconstruction" doc:"weight of the squared error of an encoded and decoded adapter"`
	Align          float64 `json:"align" yaml:"align" doc:"weight of the distance between a task's latents from words, from examples and from weights"`
	Contrast       float64 `json:"contrast" yaml:"contrast" doc:"weight of the symmetric cross-entropy between conditions and weight latents (CLIP)"`
	SetShare       float64 `json:"set_share" yaml:"set_share" doc:"share of the adapters that are decoded from examples"`
	WeightShare    float64 `json:"weight_share" yaml:"weight_share" doc:"share that is decoded from a trained adapter of the task, where there is one; the rest from words"`
	Noise          float64 `json:"noise" yaml:"noise" doc:"deviation of what is added to latents in training; their own is 1"`

	Steps        int     `json:"steps" yaml:"steps" doc:"optimizer steps"`
	Groups       int     `json:"groups" yaml:"groups" doc:"adapters a step"`
	Rows         int     `json:"rows" yaml:"rows" doc:"rows of examples an adapter and step"`
	Length       int     `json:"length" yaml:"length" doc:"tokens a row"`
	LearningRate float64 `json:"learning_rate" yaml:"learning_rate" doc:"peak learning rate"`
	Warmup       int     `json:"warmup" yaml:"warmup" doc:"steps"`

	Diffusion   diffusion.Config `json:"diffusion" yaml:"diffusion" doc:"diffusion over latents"`
	Guidance    float64          `json:"guidance" yaml:"guidance" doc:"classifier-free guidance; 1 = the conditional model alone"`
	SampleSteps int              `json:"sample_steps" yaml:"sample_steps" doc:"denoising steps"`
	Temperature float64          `json:"temperature" yaml:"temperature" doc:"scale of the sampler's noise"`
}

// TextConfig describes the text encoder: a small transformer over hashed words.
type TextConfig struct {
	Buckets int `json:"buckets" yaml:"buckets" doc:"hash buckets of words and their letter trigrams"`
	Words   int `json:"words" yaml:"words" doc:"most words read of a description"`
	Width   int `json:"width" yaml:"width" doc:"numbers a word"`
	Blocks  int `json:"blocks" yaml:"blocks" doc:"transformer blocks"`
	Heads   int `json:"heads" yaml:"heads" doc:"attention heads"`

	Dropout float64 `json:"dropout" yaml:"dropout" doc:"share of the words that training leaves out or replaces by unknown ones, in every second description"`
}

// SetConfig describes the set encoder (Lee et al. 2019, Set Transformer).
type SetConfig struct {
	Examples int `json:"examples" yaml:"examples" doc:"most examples read at once"`
	Width    int `json:"width" yaml:"width" doc:"numbers an example"`
	Inducing int `json:"inducing" yaml:"inducing" doc:"inducing points"`
	Heads    int `json:"heads" yaml:"heads" doc:"attention heads"`
}

// Default is the configuration of a preset.
func Default(preset string) (Config, error) {
	c := Config{
		Preset: preset, Latent: 64, Feature: 128, Width: 256,
		Text:       TextConfig{Buckets: 2048, Words: 64, Width: 96, Blocks: 2, Heads: 4, Dropout: 0.15},
		Set:        SetConfig{Examples: 16, Width: 96, Inducing: 8, Heads: 4},
		Functional: 1, Reconstruction: 0.1, Align: 0.1, Contrast: 0.02, SetShare: 0.3, WeightShare: 0.2, Noise: 0.1,
		Steps: 4000, Groups: 64, Rows: 2, Length: 32, LearningRate: 2e-3, Warmup: 100,
		Diffusion: diffusion.Default(preset), Guidance: 1, SampleSteps: 25, Temperature: 1,
	}
	switch preset {
	case Modern:
		c.Diffusion.Width, c.Diffusion.Blocks, c.Diffusion.Steps, c.Diffusion.Batch = 192, 3, 2000, 128
	case Paper:
		c.Functional, c.Align, c.Contrast, c.Noise = 0, 0, 1, 0
		c.Diffusion.Net, c.SampleSteps = diffusion.DiT, 1000 // a latent vector is no picture for the U-Net
	default:
		return c, fmt.Errorf("adapters: unknown preset %q; use %s or %s", preset, Modern, Paper)
	}
	return c, nil
}

// Check refuses values that no generator can have.
func (c Config) Check() error {
	for _, v := range []struct {
		key   string
		value int
	}{
		{"latent", c.Latent}, {"feature", c.Feature}, {"width", c.Width}, {"text.buckets", c.Text.Buckets}, {"text.words", c.Text.Words},
		{"text.width", c.Text.Width}, {"text.heads", c.Text.Heads}, {"set.examples", c.Set.Examples}, {"set.width", c.Set.Width},
		{"set.inducing", c.Set.Inducing}, {"set.heads", c.Set.Heads}, {"steps", c.Steps}, {"groups", c.Groups}, {"rows", c.Rows},
		{"length", c.Length}, {"sample_steps", c.SampleSteps},
	} {
		if v.value < 1 {
			return fmt.Errorf("adapters: %s is %d; it has to be at least 1", v.key, v.value)
		}
	}
	if c.Text.Width%c.Text.Heads != 0 || c.Set.Width%c.Set.Heads != 0 {
		return fmt.Errorf("adapters: the widths %d of text and %d of set have to be multiples of their heads", c.Text.Width, c.Set.Width)
	}
	for _, v := range []struct {
		key   string
		value float64
	}{
		{"functional", c.Functional}, {"reconstruction", c.Reconstruction}, {"align", c.Align}, {"contrast", c.Contrast}, {"set_share", c.SetShare}, {"weight_share", c.WeightShare}, {"noise", c.Noise},
		{"guidance", c.Guidance}, {"temperature", c.Temperature}, {"learning_rate", c.LearningRate},
	} {
		if !(v.value >= 0) || v.value > 1e6 {
			return fmt.Errorf("adapters: %s is %v; it has to be a number from 0 on", v.key, v.value)
		}
	}
	if !(c.Text.Dropout >= 0) || c.Text.Dropout >= 1 {
		return fmt.Errorf("adapters: text.dropout is %v; it has to be a share from 0 up to but not 1", c.Text.Dropout)
	}
	if c.SetShare+c.WeightShare > 1 {
		return fmt.Errorf("adapters: set_share %v and weight_share %v leave nothing for words", c.SetShare, c.WeightShare)
	}
	if c.Functional+c.Reconstruction == 0 {
		return fmt.Errorf("adapters: functional and reconstruction are both 0: nothing would be learned")
	}
	return c.Diffusion.Check()
}
