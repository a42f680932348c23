package metric

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Value is what a metric gives for a document: a float64, or what its aggregation takes: a Ratio, a Label, a Choice,
// a Translation or a list of floats.
type Value any

// A Ratio is a log-likelihood and the number of words or bytes it is spread over.
type Ratio struct {
	Sum    float64
	Weight int
}

// A Label is the index of the right choice and that of the most likely one.
type Label struct{ Gold, Picked int }

// A Choice is the index of the right choice and the probability of each.
type Choice struct {
	Gold          int
	Probabilities []float64
}

// An Aggregation turns a metric's values of all documents into one number.
type Aggregation struct {
	Name    string
	of      func(values []Value) (float64, error)
	samples bool // its standard error comes from resampling
}

// NewAggregation finds an aggregation by the name that task files use.
func NewAggregation(name string) (Aggregation, error) {
	for _, a := range aggregations {
		if a.Name == name {
			return a, nil
		}
	}
	return Aggregation{}, fmt.Errorf("there is no aggregation %q", name)
}

var aggregations = []Aggregation{
	{Name: "mean", of: numbers(mean)},
	{Name: "nanmean", of: numbers(nanMean), samples: true},
	{Name: "median", of: numbers(median), samples: true},
	{Name: "perplexity", of: numbers(func(x []float64) float64 { return math.Exp(-mean(x)) }), samples: true},
	{Name: "weighted_perplexity", of: ratios(func(r float64) float64 { return math.Exp(-r) })},
	{Name: "bits_per_byte", of: ratios(func(r float64) float64 { return -r / math.Ln2 })},
	{Name: "f1", of: labels(f1), samples: true},
	{Name: "matthews_corrcoef", of: labels(matthews), samples: true},
	{Name: "brier_score", of: brier},
	{Name: "bleu", of: translations(bleu), samples: true},
	{Name: "chrf", of: translations(chrf), samples: true},
	{Name: "ter", of: translations(ter), samples: true},
	{Name: "bypass", of: func([]Value) (float64, error) { return 999, nil }},
	// The helper of the leaderboard's IFEval: every instruction counts alike.
	{Name: "agg_inst_level_acc", of: func(values []Value) (float64, error) {
		var all []float64
		for _, v := range values {
			list, ok := v.([]float64)
			if !ok {
				return 0, wrong(v)
			}
			all = append(all, list...)
		}
		return mean(all), nil
	}},
}

// Of aggregates the values of all documents.
func (a Aggregation) Of(values []Value) (float64, error) {
	if len(values) == 0 {
		return 0, fmt.Errorf("%s of no document", a.Name)
	}
	return a.of(values)
}

// StdErr is the aggregate's standard error: from the values' spread for a mean, by resampling for those that need it.
// It is false where the aggregation has none, or there are fewer than two values.
func (a Aggregation) StdErr(values []Value, resamples int) (float64, bool, error) {
	if len(values) < 2 || resamples <= 0 {
		return 0, false, nil
	}
	if a.Name == "bleu" || a.Name == "chrf" || a.Name == "ter" {
		resamples = min(resamples, 100)
	}
	switch {
	case a.Name == "mean":
		x, err := floats(values)
		return sampleDeviation(x) / math.Sqrt(float64(len(x))), true, err
	case a.samples:
		e, err := bootstrap(a.of, values, resamples)
		return e, true, err
	}
	return 0, false, nil
}

func wrong(v Value) error { return fmt.Errorf("a value of %T doesn't fit the aggregation", v) }

func floats(values []Value) ([]float64, error) {
	x := make([]float64, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case float64:
			x[i] = v
		case int64:
			x[i] = float64(v)
		case bool:
			x[i] = float64(number(v))
		default:
			return nil, wrong(v)
		}
	}
	return x, nil
}

func numbers(f func([]float64) float64) func([]Value) (float64, error) {
	return func(values []Value) (float64, error) {
		x, err := floats(values)
		if err != nil {
			return 0, err
		}
		return f(x), nil
	}
}

// ratios applies f to the sum of all log-likelihoods over the sum of all weights.
func ratios(f func(float64) float64) func([]Value) (float64, error) {
	return func(values []Value) (float64, error) {
		var sum, weight float64
		for _, v := range values {
			r, ok := v.(Ratio)
			if !ok {
				return 0, wrong(v)
			}
			sum, weight = sum+r.Sum, weight+float64(r.Weight)
		}
		if weight == 0 {
			return 0, errors.New("the texts have no words or bytes to spread a log-likelihood over")
		}
		return f(sum / weight), nil
	}
}

func labels(f func([]Label) (float64, error)) func([]Value) (float64, error) {
	return func(values []Value) (float64, error) {
		all := make([]Label, len(values))
		for i, v := range values {
			var ok bool
			if all[i], ok = v.(Label); !ok {
				return 0, wrong(v)
			}
		}
		return f(all)
	}
}

func translations(f func([]Translation) float64) func([]Value) (float64, error) {
	return func(values []Value) (float64, error) {
		all := make([]Translation, len(values))
		for i, v := range values {
			var ok bool
			if all[i], ok = v.(Translation); !ok {
				return 0, wrong(v)
			}
		}
		return f(all), nil
	}
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func nanMean(x []float64) float64 {
	return mean(slices.DeleteFunc(slices.Clone(x), math.IsNaN)) // of none it is NaN
}

// median is the upper one of an even number of values.
func median(x []float64) float64 {
	sorted := slices.Clone(x)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// sampleDeviation divides by n − 1.
func sampleDeviation(x []float64) float64 {
	m, sum := mean(x), 0.0
	for _, v := range x {
		sum += (v - m) * (v - m)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

// f1 is scikit-learn's for two classes, of which 1 is the one looked for.
func f1(all []Label) (float64, error) {
	both, gold, picked := 0.0, 0.0, 0.0
	seen := map[int]bool{}
	for _, l := range all {
		seen[l.Gold], seen[l.Picked] = true, true
		if l.Gold == 1 {
			gold++
		}
		if l.Picked == 1 {
			picked++
		}
		if l.Gold == 1 && l.Picked == 1 {
			both++
		}
	}
	if len(seen) > 2 || len(seen) == 2 && !seen[1] {
		return 0, fmt.Errorf("f1 is for two classes, 1 among them; there are %d", len(seen))
	}
	if gold+picked == 0 {
		return 0, nil
	}
	return 2 * both / (gold + picked), nil
}

// matthews is scikit-learn's matthews_corrcoef, for any number of classes.
func matthews(all []Label) (float64, error) {
	gold, picked := map[int]float64{}, map[int]float64{}
	n, right := float64(len(all)), 0.0
	for _, l := range all {
		gold[l.Gold]++
		picked[l.Picked]++
		if l.Gold == l.Picked {
			right++
		}
	}
	both, ofGold, ofPicked := 0.0, 0.0, 0.0
	for class, g := range gold {
		both += g * picked[class]
		ofGold += g * g
	}
	for _, p := range picked {
		ofPicked += p * p
	}
	spread := (n*n - ofGold) * (n*n - ofPicked)
	if spread == 0 {
		return 0, nil
	}
	return (right*n - both) / math.Sqrt(spread), nil
}

func brier(values []Value) (float64, error) {
	sum := 0.0
	for _, v := range values {
		c, ok := v.(Choice)
		if !ok {
			return 0, wrong(v)
		}
		if c.Gold < 0 || c.Gold >= len(c.Probabilities) {
			return 0, fmt.Errorf("the right choice is number %d of %d", c.Gold, len(c.Probabilities))
		}
		for i, p := range c.Probabilities {
			if i == c.Gold {
				p--
			}
			sum += p * p
		}
	}
	return sum / float64(len(values)), nil
}

// Numbers are values as numbers, where each of them is one.
func Numbers(values []Value) ([]float64, bool) {
	x, err := floats(values)
	return x, err == nil
}
