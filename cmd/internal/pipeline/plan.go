package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval"
	"d2nwg/generator"
	"d2nwg/generator/explore"
	"d2nwg/generator/tokens"
	"d2nwg/generator/vae"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/lora"
)

// Speeds that the plan's times assume, in floating-point operations a second: about what two AVX-512 cores reach with
// small models. They are no promise.
const (
	scoringSpeed  = 60e9
	trainingSpeed = 100e9
)

// Plan is what a run would do. Nothing is trained, scored or written to make it.
type Plan struct {
	Base       string  `json:"base"`
	Parameters int64   `json:"parameters"`
	Target     string  `json:"target"`
	Describe   string  `json:"describe,omitempty"`
	Select     int     `json:"select_items"`
	Confirm    int     `json:"confirm_items"`
	Test       int     `json:"test_items"`
	Relatives  int     `json:"relatives"` // to be read or made
	Values     int64   `json:"values"`    // learned numbers of a weight set
	Tokens     int     `json:"tokens"`    // of a weight set
	Latent     int     `json:"latent"`    // numbers a token is pressed into
	Sources    int     `json:"sources"`
	PerSource  int     `json:"evaluations_per_source"`
	Opening    int     `json:"opening"`         // which look at the test split this would be
	Alpha      float64 `json:"alpha"`           // level left for it
	Gain       float64 `json:"detectable_gain"` // smallest true gain found with power 0.8
	GainUnit   string  `json:"gain_unit"`
	Memory     int64   `json:"memory_bytes"` // rough
	Seconds    []Stage `json:"seconds"`      // rough
}

// Preview makes the plan of a run that would live in dir.
func Preview(ctx context.Context, dir string, given recipe.Improve, opt Options) (*Plan, error) {
	_, rec, err := locate(dir, given, opt.Resolve)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "d2nwg-plan-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	r := &Run{Dir: temp, Recipe: rec, opt: opt}
	if err := r.open(given.Score); err != nil {
		return nil, err
	}
	defer r.base.Close()
	d := r.target.data
	p := &Plan{
		Base: given.Base, Parameters: r.base.Config.Parameters(), Target: d.Name, Describe: r.target.description,
		Select: d.Items(stats.Select), Confirm: d.Items(stats.Confirm), Test: d.Items(stats.Test),
		Latent: rec.Generator.VAE.Latent,
	}
	if rec.Generator.VAE.Kind == vae.Conv {
		p.Latent *= 16 * 16
	}
	if err := r.planTokens(p); err != nil {
		return nil, err
	}
	if err := r.planTest(ctx, p, dir); err != nil {
		return nil, err
	}
	return p, r.planCost(p)
}

// planTokens counts the relatives and what is learned of each.
func (r *Run) planTokens(p *Plan) error {
	rank, err := r.planRelatives(p)
	if err != nil {
		return err
	}
	share := 1.0
	if p.Relatives == 0 || rank == 0 {
		rank, share = 0, float64(r.Recipe.Spectrum.Percent)/100
	}
	var specs []tokens.Spec
	for _, s := range r.base.Config.TensorShapes() {
		if len(s.Shape) != 2 || s.Layer < 0 {
			continue
		}
		shape := s.Shape
		if rank > 0 {
			shape = []int{s.Shape[0], rank}
		}
		specs = append(specs, tokens.Spec{Name: s.Name, Module: s.Module, Layer: s.Layer, Shape: shape})
		p.Values += int64(share * float64(shape[0]*shape[1]))
	}
	m, err := tokens.NewMap(specs, r.Recipe.Generator.ChunkLen)
	if err != nil {
		return err
	}
	p.Tokens = int(share * float64(m.Tokens()))
	return nil
}

// planRelatives counts the relatives and tells the rank of their updates, 0 for whole matrices. It reads no checkpoint.
func (r *Run) planRelatives(p *Plan) (rank int, err error) {
	if len(r.Recipe.Relatives.From) == 0 {
		made, err := r.target.materials(r.Recipe.Relatives.Make, r.Recipe.Seed)
		p.Relatives = len(made)
		return r.Recipe.Relatives.Make.Rank, err
	}
	for _, from := range r.Recipe.Relatives.From {
		dirs, err := r.relativeDirs(from)
		if err != nil {
			return 0, err
		}
		p.Relatives += len(dirs)
		if !lora.IsVariant(dirs[0]) {
			rank = 0
			continue
		}
		v, _, err := lora.Load(r.base, dirs[0])
		if err != nil {
			return 0, err
		}
		rank = 0
		for _, lr := range v.LowRank {
			rank = max(rank, lr.Rank)
		}
	}
	return rank, nil
}

// planTest says what the test split can show.
func (r *Run) planTest(ctx context.Context, p *Plan, dir string) error {
	e := r.Recipe.Explore
	p.PerSource = explore.Budget{Proposals: e.Proposals, Scales: e.Scales, Layers: e.Layers, Tries: e.Tries, Soup: e.Soup}.
		Evaluations(7 * r.base.Config.Layers)
	p.Sources = 3 // generated, decode-only, noise
	if p.Relatives > 0 {
		p.Sources += 3 // mean, nearest, interpolation
		if e.Controls && p.Describe != "" {
			p.Sources += 3
		}
	}
	ledger := (&Run{Dir: dir, Recipe: r.Recipe}).ledger()
	plan := explore.Plan{Base: r.base, Scorer: unscored{r.target.data, r.target}, Alpha: e.Alpha, Ledger: ledger}
	d, err := plan.Detectable(ctx)
	if err != nil {
		return err
	}
	p.Opening, p.Alpha, p.Gain = d.Opening, d.Alpha, d.Gain
	p.GainUnit = fmt.Sprintf("of the questions, if answers differ on %g of them", d.Discordance)
	if len(r.target.data.Documents) > 0 || r.Recipe.Score.Metric == eval.Margin {
		p.Gain, p.GainUnit = d.GainSD, "standard deviations of the items' differences"
	}
	return nil
}

// unscored is a data set as a Scorer that scores nothing: a plan needs its sizes and hashes only.
type unscored struct {
	*eval.Dataset
	target *target
}

func (u unscored) Hash(split stats.Split) string { return u.target.Hash(split) }

func (unscored) Metric() string { return "" }

func (unscored) Score(context.Context, *llm.Variant, stats.Split) (stats.Scores, error) {
	return stats.Scores{}, errors.New("a plan scores nothing")
}

func (u unscored) ScoreItems(ctx context.Context, v *llm.Variant, split stats.Split, _ []int) (stats.Scores, error) {
	return u.Score(ctx, v, split)
}

// planCost estimates memory and seconds.
func (r *Run) planCost(p *Plan) error {
	params := float64(p.Parameters)
	count := func(split stats.Split) (n float64, err error) {
		for _, q := range r.target.data.Questions[split] {
			ids, err := r.tok.Encode(q.Prompt+q.Answer, false)
			if err != nil {
				return 0, err
			}
			n += float64(len(ids)) + 2
		}
		for _, d := range r.target.data.Documents[split] {
			ids, err := r.tok.Encode(d, false)
			if err != nil {
				return 0, err
			}
			n += float64(len(ids)) + 1
		}
		return n, nil
	}
	selected, err := count(stats.Select)
	if err != nil {
		return err
	}
	tested, err := count(stats.Test)
	if err != nil {
		return err
	}
	m, g := r.Recipe.Relatives.Make, r.Recipe.Generator
	made := float64(p.Relatives)
	if len(r.Recipe.Relatives.From) > 0 {
		made = 0
	}
	vaeParams := networkSize(g.VAE.Kind == vae.Conv, g)
	ditParams := 18 * float64(g.Diffusion.Width*g.Diffusion.Width*g.Diffusion.Blocks)
	joint := min(p.Tokens, g.MaxTokens)
	kept := min(r.Recipe.Explore.Proposals, explore.Kept(int(p.Values)))
	p.Seconds = []Stage{ // of exploring the most: races may end sooner
		{"relatives", made * float64(m.Train.Steps*m.Rows*m.Len) * 4 * params / trainingSpeed},
		{"vae", 6 * vaeParams * float64(g.VAE.Steps*g.VAE.Batch) / trainingSpeed},
		{"diffusion", 6 * ditParams * float64(g.Diffusion.Steps*g.Diffusion.Batch*joint) / trainingSpeed},
		{"explore", 2 * params * (float64(p.Sources*p.PerSource)*selected + float64(p.Sources)*2*tested) / scoringSpeed},
	}
	// The scoring copy, the relatives' learned values, the proposals that the search keeps, the candidate it makes of them
	// and a spare, and weights, gradients and two moments of the larger network.
	p.Memory = int64(4*params) + 4*p.Values*int64(p.Relatives+kept+2) + int64(16*max(vaeParams, ditParams)) + int64(4*g.VAE.Batch*g.ChunkLen*8)
	return nil
}

// networkSize is about the number of weights a token meets in the autoencoder.
func networkSize(conv bool, g generator.Config) float64 {
	h, c := float64(g.VAE.Hidden), float64(g.ChunkLen)
	if conv {
		return 100 * h * h * c / 256 // the convolutions at full resolution outweigh the rest
	}
	return 2 * (c*h + 2*float64(g.VAE.Blocks)*h*h + h*float64(g.VAE.Latent))
}
