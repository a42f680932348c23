// Package diffusion learns the distribution of latent tokens and samples from it.
//
// The 'modern' preset is a DiT-style transformer over all tokens of a group with v-prediction, min-SNR weighting, condition dropout,
// classifier-free guidance and few DDIM steps; the 'paper' preset is the DDPM of latent diffusion over one token at a time, with
// ε-prediction and ancestral sampling. Sampling loops run on the host, and so does every random number: same seed, same noise on every
// backend.
package diffusion

import "fmt"

// Networks, targets, schedules and samplers.
const (
	DiT  = "dit"
	UNet = "unet"

	PredictV       = "v"
	PredictEpsilon = "epsilon"

	Cosine       = "cosine"
	ScaledLinear = "scaled_linear"

	DDIM      = "ddim"
	Ancestral = "ancestral"
)

// Config describes a diffusion model and its training.
type Config struct {
	Net      string `json:"net" yaml:"net" doc:"dit | unet"`
	Predict  string `json:"predict" yaml:"predict" doc:"v | epsilon"`
	Schedule string `json:"schedule" yaml:"schedule" doc:"cosine | scaled_linear"`
	Sampler  string `json:"sampler" yaml:"sampler" doc:"ddim | ancestral"`
	Width    int    `json:"width" yaml:"width" doc:"dit: model width; unet: channels"`
	Blocks   int    `json:"blocks" yaml:"blocks" doc:"transformer or residual blocks"`
	Heads    int    `json:"heads" yaml:"heads" doc:"attention heads"`

	Timesteps   int     `json:"timesteps" yaml:"timesteps" doc:"of the schedule"`
	MinSNR      float64 `json:"min_snr" yaml:"min_snr" doc:"γ of min-SNR weighting, 0 = plain L2"`
	CondDropout float64 `json:"cond_dropout" yaml:"cond_dropout" doc:"share of training examples that get the null condition"`
	Mixup       float64 `json:"mixup" yaml:"mixup" doc:"share of training examples that are mixes of two weight sets"`

	Steps        int     `json:"steps" yaml:"steps" doc:"optimizer steps"`
	Batch        int     `json:"batch" yaml:"batch" doc:"groups a step"`
	LearningRate float64 `json:"learning_rate" yaml:"learning_rate" doc:"peak learning rate"`
	Warmup       int     `json:"warmup" yaml:"warmup" doc:"steps"`
	Beta1        float64 `json:"beta1" yaml:"beta1" doc:"of AdamW"`
	Beta2        float64 `json:"beta2" yaml:"beta2" doc:"of AdamW"`
	WeightDecay  float64 `json:"weight_decay" yaml:"weight_decay" doc:"decoupled"`
	Clip         float64 `json:"clip" yaml:"clip" doc:"largest gradient norm, 0 = none"`
	EMA          float64 `json:"ema" yaml:"ema" doc:"decay of the averaged weights that sample"`
	CosineDecay  bool    `json:"cosine_decay" yaml:"cosine_decay" doc:"decay the learning rate along a cosine"`
}

// Default is the configuration of a preset: "modern" or "paper".
func Default(preset string) Config {
	if preset == "paper" {
		return Config{Net: UNet, Predict: PredictEpsilon, Schedule: ScaledLinear, Sampler: Ancestral, Width: 64, Blocks: 2, Heads: 1,
			Timesteps: 1000, Steps: 20000, Batch: 32, LearningRate: 1e-4, Warmup: 10000, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01,
			EMA: 0.9999}
	}
	return Config{Net: DiT, Predict: PredictV, Schedule: Cosine, Sampler: DDIM, Width: 96, Blocks: 3, Heads: 4,
		Timesteps: 1000, MinSNR: 5, CondDropout: 0.1, Mixup: 0.5, Steps: 1200, Batch: 32, LearningRate: 1e-3, Warmup: 100,
		Beta1: 0.9, Beta2: 0.99, WeightDecay: 0.01, Clip: 1, EMA: 0.999, CosineDecay: true}
}

// Check refuses values that no diffusion model can have.
func (c Config) Check() error {
	if c.Net != DiT && c.Net != UNet {
		return fmt.Errorf("diffusion: unknown net %q; use dit or unet", c.Net)
	}
	if c.Predict != PredictV && c.Predict != PredictEpsilon {
		return fmt.Errorf("diffusion: unknown predict %q; use v or epsilon", c.Predict)
	}
	if c.Schedule != Cosine && c.Schedule != ScaledLinear {
		return fmt.Errorf("diffusion: unknown schedule %q; use cosine or scaled_linear", c.Schedule)
	}
	if c.Sampler != DDIM && c.Sampler != Ancestral {
		return fmt.Errorf("diffusion: unknown sampler %q; use ddim or ancestral", c.Sampler)
	}
	for _, v := range []struct {
		name  string
		value int
	}{{"width", c.Width}, {"blocks", c.Blocks}, {"heads", c.Heads}, {"timesteps", c.Timesteps}, {"steps", c.Steps}, {"batch", c.Batch}} {
		if v.value < 1 {
			return fmt.Errorf("diffusion: %s is %d; it has to be at least 1", v.name, v.value)
		}
	}
	if c.Net == DiT && c.Width%(2*c.Heads) != 0 {
		return fmt.Errorf("diffusion: width %d is not a multiple of 2·heads = %d", c.Width, 2*c.Heads)
	}
	for _, v := range []struct {
		name  string
		value float64
	}{{"cond_dropout", c.CondDropout}, {"mixup", c.Mixup}, {"ema", c.EMA}, {"beta1", c.Beta1}, {"beta2", c.Beta2}} {
		if v.value < 0 || v.value > 1 {
			return fmt.Errorf("diffusion: %s is %v; it has to lie between 0 and 1", v.name, v.value)
		}
	}
	if c.LearningRate <= 0 {
		return fmt.Errorf("diffusion: learning_rate is %v; it has to be above 0", c.LearningRate)
	}
	return nil
}
