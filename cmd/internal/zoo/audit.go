package zoo

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/generator"
	"d2nwg/generator/adapters"
	"d2nwg/internal/compute"
	"d2nwg/llm"
)

// AuditOptions say how a generator is asked for copies.
type AuditOptions struct {
	Base, Generator string // folders
	Samples         int
	Seed            uint64
	Backend         *compute.Backend
}

// Audit tells whether a generator memorized its zoo.
type Audit struct {
	Adapters int `json:"adapters"` // that it learned from
	generator.Novelty
	Median    float64 `json:"median_l2"` // of the samples' distances to their nearest trained adapter
	Share     float64 `json:"copy_share"`
	Memorized bool    `json:"memorized"`
}

// maxCopies is the share of samples that may be copies before a generator counts as having memorized its zoo.
const maxCopies = 0.1

// RunAudit samples from the words of tasks whose trained adapters the generator learned from, which is where copies are to be expected, and
// compares what comes with all of them.
func RunAudit(ctx context.Context, opt AuditOptions) (*Audit, error) {
	base, err := llm.Open(opt.Base)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	g, err := openGenerator(opt.Generator, base, opt.Backend)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	members := g.Members()
	if len(members) < 2 {
		return nil, fmt.Errorf("the generator %s learned from %d trained adapters; an audit needs at least 2", opt.Generator, len(members))
	}
	features := map[string][][]float32{}
	for _, k := range g.Known() {
		features[k.Name] = k.Features
	}
	var samples []map[string][]float32
	for i := range opt.Samples {
		of := features[members[i*len(members)/opt.Samples].Task]
		some, err := g.Sample(ctx, of[i%len(of)], 1, pipeline.Seed(opt.Seed, "audit", i), adapters.SampleOptions{})
		if err != nil {
			return nil, err
		}
		samples = append(samples, some[0])
	}
	novelty, err := g.Audit(base, samples)
	if err != nil {
		return nil, err
	}
	a := &Audit{Adapters: len(members), Novelty: *novelty, Share: float64(novelty.Copies) / float64(len(samples))}
	var distances []float64
	for _, n := range a.Samples {
		distances = append(distances, n.L2)
	}
	slices.Sort(distances)
	a.Median = distances[len(distances)/2]
	a.Memorized = a.Share > maxCopies
	return a, nil
}
