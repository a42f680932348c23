package zoo

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"d2nwg/cmd/internal/pipeline"
	"d2nwg/eval"
	"d2nwg/generator/adapters"
	"d2nwg/generator/zoo"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// candidate is what task i is scored with for a source; nil where it has none.
func (m *measurer) candidate(ctx context.Context, i int, source string, set *eval.Dataset) (*llm.Variant, error) {
	t := m.tasks[i]
	switch source {
	case SourceBase:
		return &llm.Variant{Base: m.base}, nil
	case SourceMean:
		return m.g.Variant(m.base, m.mean), nil
	case SourceNoise:
		return m.g.Variant(m.base, m.around(i)), nil
	case SourceMultitask:
		return m.multitask, nil
	case SourceNearest:
		return m.nearest(t)
	case SourceGenerated:
		return m.fromWords(ctx, t.Descriptions[0], source, i)
	case SourceUnseen:
		return m.fromWords(ctx, t.Unseen, source, i)
	case SourceShuffled:
		return m.fromWords(ctx, m.tasks[(i+len(m.tasks)/2)%len(m.tasks)].Descriptions[0], source, i)
	case SourceExamples:
		return m.fromExamples(ctx, set.Questions[stats.Train], i)
	case SourceOracle:
		if member := m.z.First(t.Name); member != nil {
			return m.z.Variant(*member)
		}
	}
	return nil, nil
}

// nearest is the trained adapter of the other task whose description is most similar.
func (m *measurer) nearest(t zoo.Task) (*llm.Variant, error) {
	features, err := m.g.TextFeatures(t.Descriptions[0])
	if err != nil {
		return nil, err
	}
	for _, k := range m.g.Nearest(features) {
		name := m.g.Known()[k].Name
		if b := m.g.MemberOf(name); b != nil && name != t.Name {
			return m.g.Variant(m.base, b), nil
		}
	}
	return nil, nil
}

func (m *measurer) fromWords(ctx context.Context, words, source string, i int) (*llm.Variant, error) {
	if words == "" {
		return nil, nil
	}
	features, err := m.g.TextFeatures(words)
	if err != nil {
		return nil, err
	}
	return m.sample(ctx, features, source, i)
}

func (m *measurer) fromExamples(ctx context.Context, some []eval.Question, i int) (*llm.Variant, error) {
	if len(some) == 0 || m.opt.Shots == 0 {
		return nil, nil
	}
	states, err := States(m.model, m.tok, some[:min(len(some), m.opt.Shots)])
	if err != nil {
		return nil, err
	}
	features, err := m.g.SetFeatures(states)
	if err != nil {
		return nil, err
	}
	return m.sample(ctx, features, SourceExamples, i)
}

func (m *measurer) sample(ctx context.Context, features []float32, source string, i int) (*llm.Variant, error) {
	all, err := m.g.Sample(ctx, features, 1, pipeline.Seed(m.opt.Seed, source, i), adapters.SampleOptions{})
	if err != nil {
		return nil, err
	}
	return m.g.Variant(m.base, all[0]), nil
}

// deviations are how far trained adapters lie from their mean, a value, tensor by tensor.
func (m *measurer) deviations() map[string]float64 {
	out := map[string]float64{}
	for name, mean := range m.mean {
		sum := 0.0
		for _, member := range m.g.Members() {
			for k, x := range member.Weights[name] {
				d := float64(x - mean[k])
				sum += d * d
			}
		}
		out[name] = math.Sqrt(sum / float64(len(mean)*len(m.g.Members())))
	}
	return out
}

// around adds Gaussian noise to the mean adapter, as far as trained adapters lie from it on average, tensor by tensor.
func (m *measurer) around(i int) map[string][]float32 {
	r := rand.New(rand.NewPCG(pipeline.Seed(m.opt.Seed, SourceNoise, i), 0))
	out := map[string][]float32{}
	for _, name := range slices.Sorted(maps.Keys(m.mean)) {
		out[name] = slices.Clone(m.mean[name])
		for k := range out[name] {
			out[name][k] += float32(m.deviation[name] * r.NormFloat64())
		}
	}
	return out
}
