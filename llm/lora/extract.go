package lora

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/internal/progress"
	"d2nwg/llm"
)

// ExtractOptions say what of a difference is kept, and how.
type ExtractOptions struct {
	Rank     int           // of every update; less where the matrix is smaller
	Whole    []string      // matrices to keep whole: modules ("embed_tokens") or tensors
	Ignore   []string      // what to leave as the base has it: modules or tensors
	Progress progress.Func // tensors done, stage "extract"
}

// Kinds of an Extracted tensor.
const (
	KindLowRank = "low rank"
	KindWhole   = "whole"
	KindIgnored = "ignored"
)

// Extracted tells what became of one tensor that differs.
type Extracted struct {
	Tensor string  `json:"tensor"`
	Kind   string  `json:"kind"`
	Norm   float64 `json:"norm"` // of the difference (Frobenius)
	Kept   float64 `json:"kept"` // share of the squared norm that the variant keeps
}

// Extract returns the difference of two checkpoints of one shape as a variant of base: for every matrix the update of
// at most opt.Rank that is nearest to the difference, with canonical factors, and vectors whole. Matrices of more than
// 128 rows and columns go through subspace iteration, which holds a few blocks of rows in memory; where the difference
// has no more than that rank, the update is exact up to rounding, elsewhere it is near the best one and Extracted says
// how much it keeps. Every tensor that differs is listed, in the order of the model.
func Extract(ctx context.Context, base, tuned *llm.Checkpoint, opt ExtractOptions) (*llm.Variant, []Extracted, error) {
	if opt.Rank < 1 {
		return nil, nil, fmt.Errorf("rank is %d, want 1 or more", opt.Rank)
	}
	if err := sameModel(base, tuned); err != nil {
		return nil, nil, err
	}
	if err := known(base, slices.Concat(opt.Whole, opt.Ignore)); err != nil {
		return nil, nil, err
	}
	v := &llm.Variant{Base: base, Replace: map[string][]float32{}, LowRank: map[string]llm.LowRank{}}
	var report []Extracted
	all := base.Config.TensorShapes()
	for i, t := range all {
		opt.Progress.Report(progress.Event{Stage: "extract", Done: int64(i), Total: int64(len(all)), Note: t.Name})
		e, err := extractTensor(ctx, v, tuned, t, opt)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if e.Norm > 0 {
			report = append(report, e)
		}
	}
	opt.Progress.Report(progress.Event{Stage: "extract", Done: int64(len(all)), Total: int64(len(all))})
	if len(report) == 0 {
		return nil, nil, fmt.Errorf("%s has the same weights as its base %s: there is nothing to extract", tuned.Dir, base.Dir)
	}
	return v, report, nil
}

// sameModel requires what an adapter can't hold to be equal: everything that computes but the weights.
func sameModel(base, tuned *llm.Checkpoint) error {
	b, t := base.Config, tuned.Config
	if (b.RopeScaling == nil) != (t.RopeScaling == nil) || b.RopeScaling != nil && *b.RopeScaling != *t.RopeScaling {
		return fmt.Errorf("%s and %s scale their rotary embedding differently, which no adapter holds", base.Dir, tuned.Dir)
	}
	for _, d := range []struct {
		what string
		x, y any
	}{
		{"vocab_size", b.VocabSize, t.VocabSize}, {"hidden_size", b.HiddenSize, t.HiddenSize},
		{"intermediate_size", b.IntermediateSize, t.IntermediateSize}, {"num_hidden_layers", b.Layers, t.Layers},
		{"num_attention_heads", b.Heads, t.Heads}, {"num_key_value_heads", b.KVHeads, t.KVHeads}, {"head_dim", b.HeadDim, t.HeadDim},
		{"rms_norm_eps", b.RMSNormEps, t.RMSNormEps}, {"rope_theta", b.RopeTheta, t.RopeTheta},
		{"tie_word_embeddings", b.TieWordEmbeddings, t.TieWordEmbeddings},
		{"attention_bias", b.AttentionBias, t.AttentionBias}, {"mlp_bias", b.MLPBias, t.MLPBias},
	} {
		if d.x != d.y {
			return fmt.Errorf("%s has %s %v and %s %v: an adapter needs two checkpoints of one shape", base.Dir, d.what, d.x, tuned.Dir, d.y)
		}
	}
	return nil
}

// known requires names to be modules or tensors of the base.
func known(base *llm.Checkpoint, names []string) error {
	all := base.Config.TensorShapes()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(t llm.NamedShape) bool { return t.Name == name || t.Module == name }) {
			return fmt.Errorf("%s has no module and no tensor %q", base.Dir, name)
		}
	}
	return nil
}

// extractTensor puts one tensor's difference into v.
func extractTensor(ctx context.Context, v *llm.Variant, tuned *llm.Checkpoint, t llm.NamedShape, opt ExtractOptions) (Extracted, error) {
	e := Extracted{Tensor: t.Name, Kind: KindLowRank}
	d, err := newChange(v.Base, tuned, t)
	if err != nil {
		return e, err
	}
	if e.Norm, err = d.norm(); err != nil || e.Norm == 0 {
		return e, err
	}
	named := func(names []string) bool { return slices.Contains(names, t.Name) || slices.Contains(names, t.Module) }
	switch {
	case named(opt.Ignore):
		e.Kind = KindIgnored
	case named(opt.Whole) || len(t.Shape) != 2:
		e.Kind, e.Kept = KindWhole, 1
		v.Replace[t.Name], err = tuned.Float32(t.Name)
	default:
		var lr llm.LowRank
		if lr, err = d.nearest(ctx, min(opt.Rank, t.Shape[0], t.Shape[1])); err != nil {
			return e, err
		}
		if lr, err = Canonical(lr); err != nil {
			return e, err
		}
		v.LowRank[t.Name] = lr
		e.Kept, err = d.kept(lr, e.Norm)
	}
	return e, err
}

// kept is 1 − ‖ΔW−BA‖²/‖ΔW‖², from the inner products of the nearest update.
func (d *change) kept(lr llm.LowRank, norm float64) (float64, error) {
	own, err := Inner(lr, lr)
	if err != nil {
		return 0, err
	}
	cross := 0.0
	row := 0
	err = d.blocks(func(block []float64) error {
		for ; len(block) > 0; block = block[d.cols:] {
			for k, b := range lr.B[row*lr.Rank : (row+1)*lr.Rank] {
				for j, a := range lr.A[k*d.cols : (k+1)*d.cols] {
					cross += float64(b) * float64(a) * block[j]
				}
			}
			row++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return max(0, min(1, (2*cross-own)/(norm*norm))), nil
}

// norm is the Frobenius norm of the whole difference.
func (d *change) norm() (float64, error) {
	sum := 0.0
	err := d.blocks(func(block []float64) error {
		sum += dot(block, block)
		return nil
	})
	if err == nil && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
		err = errors.New("its values aren't finite")
	}
	return math.Sqrt(sum), err
}
