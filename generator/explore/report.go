package explore

import (
	"fmt"

	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// SplitInfo identifies a split.
type SplitInfo struct {
	Hash  string `json:"hash"`
	Items int    `json:"items"`
}

// Summary is a candidate's result on a split.
type Summary struct {
	Mean float64 `json:"mean"` // of the metric
	Tie  float64 `json:"tie"`  // of the tie-break
}

// Comparison is a paired comparison of two candidates on one split.
type Comparison struct {
	Against string         `json:"against"`
	Gain    stats.Interval `json:"gain"`
	// Of a 0/1 metric only: items won and lost, and the exact one-sided p of McNemar's test.
	Wins    int      `json:"wins,omitempty"`
	Losses  int      `json:"losses,omitempty"`
	McNemar *float64 `json:"mcnemar_p,omitempty"`
}

// Better reports whether the comparison shows a gain at the level it was made with: the lower bound is above zero
// and, where an exact test exists, that agrees.
func (c Comparison) Better() bool {
	return c.Gain.Lower > 0 && (c.McNemar == nil || *c.McNemar <= c.Gain.Alpha)
}

// P is the p-value of the comparison, exact where the metric allows it.
func (c Comparison) P() float64 {
	if c.McNemar != nil {
		return *c.McNemar
	}
	return c.Gain.P
}

// Result is a source's winner.
type Result struct {
	Name        string      `json:"name"`
	Kind        string      `json:"kind"`
	Evaluations int         `json:"evaluations"` // candidates tried on select; the same for all sources
	Items       int         `json:"items"`       // items of select they were scored on
	FullItems   int         `json:"full_items"`  // the same without races
	Better      int         `json:"better"`      // whole proposals that a race showed to be better than the base; no claim
	Winner      string      `json:"winner"`      // hash of its weights
	How         string      `json:"how"`         // last step that improved it
	Blend       Blend       `json:"blend"`       // what it is made of
	Select      Summary     `json:"select"`
	Confirm     Summary     `json:"confirm"`
	Passed      bool        `json:"passed"` // the gate: a gain over the base on confirm
	ConfirmGain Comparison  `json:"confirm_gain"`
	Test        *Summary    `json:"test,omitempty"`
	TestGain    *Comparison `json:"test_gain,omitempty"` // over the base; a claim only in a verdict
	HolmP       *float64    `json:"holm_p,omitempty"`    // of TestGain, corrected for the number of sources

	variant *llm.Variant
	confirm Scores
	test    Scores
}

// Verdict is one of the two questions a run answers.
type Verdict struct {
	Verified    bool         `json:"verified"`
	Candidate   string       `json:"candidate,omitempty"` // source whose winner it is about
	Reason      string       `json:"reason"`              // one sentence
	Weakest     *Comparison  `json:"weakest,omitempty"`   // the comparison with the smallest lower bound
	Comparisons []Comparison `json:"comparisons,omitempty"`
}

// Report is all that a run found.
type Report struct {
	Run          string              `json:"run"`
	Base         string              `json:"base"`
	Metric       string              `json:"metric"`
	Seed         uint64              `json:"seed"`
	Budget       Budget              `json:"budget"`
	Splits       map[Split]SplitInfo `json:"splits"`
	BaseScores   map[Split]Summary   `json:"base_scores"`
	Alpha        float64             `json:"alpha"`
	RaceAlpha    float64             `json:"race_alpha"`
	Opening      int                 `json:"opening"`       // number of this look at test; 0 = not opened
	OpeningAlpha float64             `json:"opening_alpha"` // what is left of Alpha for it
	Sources      []Result            `json:"sources"`
	Candidate    string              `json:"candidate,omitempty"` // source of the checkpoint verdict's candidate
	Checkpoint   Verdict             `json:"checkpoint"`
	Generator    Verdict             `json:"generator"`
	Notes        []string            `json:"notes"`
}

// Variant returns the winner of a source.
func (r *Report) Variant(source string) (*llm.Variant, error) {
	if s := r.result(source); s != nil {
		return s.variant, nil
	}
	return nil, fmt.Errorf("explore: the run had no source %q", source)
}

func (r *Report) result(source string) *Result {
	for i := range r.Sources {
		if r.Sources[i].Name == source {
			return &r.Sources[i]
		}
	}
	return nil
}

// conclude adds the plain sentences a reader must not miss.
func (r *Report) conclude() {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if r.Opening > 1 {
		note("This test split was opened %d times before for this base; the level is now %.4g instead of %.4g.",
			r.Opening-1, r.OpeningAlpha, stats.SpendAlpha(r.Alpha, 1))
	}
	var generator *Result
	for i, s := range r.Sources {
		if !s.Passed && s.Kind != Control {
			note("%s did not pass the confirm gate: its winner gains %+.4f over the base there.", s.Name, s.ConfirmGain.Gain.Gain)
		}
		if s.Name == r.Generator.Candidate {
			generator = &r.Sources[i]
		}
	}
	if generator == nil {
		return
	}
	for _, s := range r.Sources {
		if s.Kind != Baseline {
			continue
		}
		on, a, b := stats.Confirm, s.Confirm, generator.Confirm
		if s.Test != nil && generator.Test != nil {
			on, a, b = stats.Test, *s.Test, *generator.Test
		}
		if a.Mean > b.Mean {
			note("The baseline %s is better than the generator on %s: %.4f against %.4f.", s.Name, on, a.Mean, b.Mean)
		}
	}
}
