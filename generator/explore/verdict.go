package explore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// confirm puts every source's winner through the gate and chooses the candidate, before anything of test is known.
func (r *run) confirm(ctx context.Context, report *Report) error {
	base, err := r.full(ctx, &llm.Variant{Base: r.plan.Base}, stats.Confirm)
	if err != nil {
		return err
	}
	report.BaseScores[stats.Confirm] = Summary{base.Mean(), base.TieMean()}
	for i := range report.Sources {
		s := &report.Sources[i]
		if s.confirm, err = r.full(ctx, s.variant, stats.Confirm); err != nil {
			return err
		}
		s.Confirm = Summary{s.confirm.Mean(), s.confirm.TieMean()}
		if s.ConfirmGain, err = r.compare(s.confirm, base, "base", r.plan.Alpha); err != nil {
			return err
		}
		s.Passed = s.ConfirmGain.Gain.Gain > 0
	}
	report.Candidate = best(report.Sources, func(s Result) bool {
		return s.Kind == Generator || s.Kind == Baseline && (r.plan.AcceptBaselines || !r.hasGenerator())
	})
	report.Generator.Candidate = best(report.Sources, func(s Result) bool { return s.Kind == Generator })
	return nil
}

func (r *run) hasGenerator() bool {
	return slices.ContainsFunc(r.sources, func(s Source) bool { return s.Kind() == Generator })
}

// best names the source with the best winner on confirm among those that passed the gate; "" if there is none.
func best(results []Result, eligible func(Result) bool) string {
	var top *Result
	for i, s := range results {
		if !s.Passed || !eligible(s) {
			continue
		}
		if top == nil || s.Confirm.Mean > top.Confirm.Mean || s.Confirm.Mean == top.Confirm.Mean && s.Confirm.Tie > top.Confirm.Tie {
			top = &results[i]
		}
	}
	if top == nil {
		return ""
	}
	return top.Name
}

// test opens the test split, once, if there is a candidate, and reaches the verdicts.
func (r *run) test(ctx context.Context, report *Report) error {
	if report.Candidate == "" {
		report.Checkpoint.Reason = r.noCandidate(report)
		report.Generator.Reason = r.noGenerator()
		return nil
	}
	opening := Opening{
		Base: report.Base, Test: r.plan.Scorer.Hash(stats.Test), Metric: report.Metric,
		Candidate: report.Candidate, Winners: map[string]string{},
	}
	for _, s := range report.Sources {
		opening.Winners[s.Name] = s.Winner
	}
	k, err := opening.open(ctx, r.plan.Ledger)
	if err != nil {
		return err
	}
	report.Opening, report.OpeningAlpha = k, stats.SpendAlpha(r.plan.Alpha, k)
	base, err := r.full(ctx, &llm.Variant{Base: r.plan.Base}, stats.Test)
	if err != nil {
		return err
	}
	report.BaseScores[stats.Test] = Summary{base.Mean(), base.TieMean()}
	if err := r.scoreWinners(ctx, report, base); err != nil {
		return err
	}
	gain := *report.result(report.Candidate).TestGain
	report.Checkpoint = judge(report.Candidate, []Comparison{gain})
	return r.judgeGenerator(report)
}

// noCandidate says why test stays closed.
func (r *run) noCandidate(report *Report) string {
	const closed = "; test was not opened"
	if name := best(report.Sources, func(s Result) bool { return s.Kind == Baseline }); name != "" {
		return fmt.Sprintf("no generated candidate passed the confirm gate, but the baseline %s did (gain %+.4f): accept baselines to have it tested%s",
			name, report.result(name).ConfirmGain.Gain.Gain, closed)
	}
	return "no candidate passed the confirm gate" + closed
}

func (r *run) noGenerator() string {
	if !r.hasGenerator() {
		return "there was no generator among the sources"
	}
	return "no generated candidate passed the confirm gate"
}

// scoreWinners scores every source's winner on test and compares it with the base.
func (r *run) scoreWinners(ctx context.Context, report *Report, base Scores) error {
	p := make([]float64, len(report.Sources))
	for i := range report.Sources {
		s := &report.Sources[i]
		var err error
		if s.test, err = r.full(ctx, s.variant, stats.Test); err != nil {
			return err
		}
		gain, err := r.compare(s.test, base, "base", report.OpeningAlpha)
		if err != nil {
			return err
		}
		s.Test, s.TestGain = &Summary{s.test.Mean(), s.test.TieMean()}, &gain
		p[i] = gain.P()
	}
	for i, adjusted := range stats.Holm(p) {
		report.Sources[i].HolmP = &adjusted
	}
	return nil
}

// judgeGenerator compares the generator's winner with the base and every baseline's winner: all must hold
// (intersection-union), so no correction for their number is due.
func (r *run) judgeGenerator(report *Report) error {
	generator := report.result(report.Generator.Candidate)
	if generator == nil {
		report.Generator.Reason = r.noGenerator()
		return nil
	}
	comparisons := []Comparison{*generator.TestGain}
	for _, s := range report.Sources {
		if s.Kind != Baseline {
			continue
		}
		c, err := r.compare(generator.test, s.test, s.Name, report.OpeningAlpha)
		if err != nil {
			return err
		}
		comparisons = append(comparisons, c)
	}
	report.Generator = judge(generator.Name, comparisons)
	if report.Generator.Verified && !report.Checkpoint.Verified {
		report.Generator.Verified = false
		report.Generator.Reason = "the checkpoint verdict, which comes first, does not hold"
	}
	return nil
}

// judge verifies a candidate against all comparisons.
func judge(candidate string, comparisons []Comparison) Verdict {
	v := Verdict{Verified: true, Candidate: candidate, Comparisons: comparisons}
	var lost []string
	for i, c := range comparisons {
		if v.Weakest == nil || c.Gain.Lower < v.Weakest.Gain.Lower {
			v.Weakest = &comparisons[i]
		}
		if !c.Better() {
			lost = append(lost, c.Against)
		}
	}
	if v.Verified = len(lost) == 0; v.Verified {
		v.Reason = fmt.Sprintf("%s gains at least %+.4f over %s (lower bound, level %.4g)",
			candidate, v.Weakest.Gain.Lower, v.Weakest.Against, v.Weakest.Gain.Alpha)
		return v
	}
	v.Reason = fmt.Sprintf("no verified gain of %s over %s (smallest lower bound %+.4f, against %s)",
		candidate, strings.Join(lost, ", "), v.Weakest.Gain.Lower, v.Weakest.Against)
	return v
}

// compare is the paired comparison of two candidates' scores.
func (r *run) compare(a, b Scores, against string, alpha float64) (Comparison, error) {
	gain, err := stats.PairedBootstrap(a.Items, b.Items, a.Weights, r.plan.Resamples, r.plan.Seed, alpha)
	if err != nil {
		return Comparison{}, fmt.Errorf("explore: comparing with %s: %w", against, err)
	}
	c := Comparison{Against: against, Gain: gain}
	if a.Binary() && b.Binary() {
		wins, losses, p, err := stats.McNemar(a.Items, b.Items)
		if err != nil {
			return Comparison{}, err
		}
		c.Wins, c.Losses, c.McNemar = wins, losses, &p
	}
	return c, nil
}
