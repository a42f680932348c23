package explore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

var testBudget = Budget{Proposals: 4, Scales: []float64{0.7, 1}, Layers: 3, Tries: 2, Soup: 5}

func testPlan(t *testing.T, base *llm.Checkpoint, scorer Scorer) Plan {
	return Plan{
		Base: base, Relatives: relatives(base, 5, 3), Scorer: scorer, Budget: testBudget, Seed: 11, Resamples: 1000, RaceAlpha: 0.05,
		Order: []string{tinyNames[2], "not.in.the.space", tinyNames[0]}, Ledger: filepath.Join(t.TempDir(), "ledger.jsonl"),
	}
}

func mustRun(t *testing.T, plan Plan) *Report {
	t.Helper()
	report, err := Run(context.Background(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// A generator that knows the goal must be found, verified against everything, and written as the candidate.
func TestPlantedGeneratorIsVerified(t *testing.T) {
	base := tinyBase(t)
	plan := testPlan(t, base, &fakeScorer{items: 300, f: plantedScore(1)})
	plan.Sources = []Source{
		generatorOf(base, "generated", Generator, 0.8, 0.3),
		generatorOf(base, "shuffled", Control, 0, 1),
	}
	var last progress.Event
	plan.Progress = func(e progress.Event) { last = e }
	report := mustRun(t, plan)
	if !report.Checkpoint.Verified || !report.Generator.Verified || report.Candidate != "generated" {
		t.Fatalf("checkpoint %+v, generator %+v", report.Checkpoint, report.Generator)
	}
	names := []string{}
	for _, s := range report.Sources {
		names = append(names, s.Name)
		if want := testBudget.Evaluations(len(tinyNames)); s.Evaluations != want || want != 8+6+5 {
			t.Errorf("%s had %d evaluations, want %d", s.Name, s.Evaluations, want)
		}
	}
	if got := strings.Join(names, " "); got != "noise mean nearest interpolation generated shuffled" {
		t.Errorf("sources %s", got)
	}
	if last.Done != last.Total || last.Total != int64(6*19) {
		t.Errorf("progress ended at %d of %d", last.Done, last.Total)
	}
	var against []string
	for _, c := range report.Generator.Comparisons {
		against = append(against, c.Against)
		if c.Gain.Lower < report.Generator.Weakest.Gain.Lower || c.McNemar == nil || c.Gain.Alpha != report.OpeningAlpha {
			t.Errorf("comparison %+v", c)
		}
	}
	if got := strings.Join(against, " "); got != "base noise mean nearest interpolation" {
		t.Errorf("compared with %s", got)
	}
	if report.Opening != 1 || report.OpeningAlpha != 0.025 {
		t.Errorf("opening %d at %g", report.Opening, report.OpeningAlpha)
	}
	v, err := report.Variant("generated")
	if err != nil {
		t.Fatal(err)
	}
	if hash, _ := v.Hash(); hash != report.result("generated").Winner {
		t.Error("the winner's weights are not those that were scored")
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

// Relatives that are simply good make the mean win. The program must say so, refuse to call it the generator's
// success, and verify the baseline when that was asked for beforehand.
func TestBetterBaselineIsSaidPlainly(t *testing.T) {
	base := tinyBase(t)
	plan := testPlan(t, base, &fakeScorer{items: 300, f: plantedScore(1)})
	for i := range plan.Relatives { // noisy around the goal: their mean is nearer to it than any
		g := generatorOf(base, "", "", 1, 1)
		plan.Relatives[i].Variant, _ = g.Propose(context.Background(), 100+i)
	}
	plan.Sources = []Source{generatorOf(base, "generated", Generator, 0.3, 0.3)}
	report := mustRun(t, plan)
	if report.Candidate != "generated" || !report.Checkpoint.Verified || report.Generator.Verified {
		t.Errorf("candidate %s, checkpoint %+v, generator %+v", report.Candidate, report.Checkpoint, report.Generator)
	}
	if !slices.ContainsFunc(report.Notes, func(n string) bool { return strings.HasPrefix(n, "The baseline mean is better") }) {
		t.Errorf("notes %q", report.Notes)
	}
	if d, err := plan.Detectable(context.Background()); err != nil || d.Opening != 2 || d.Items != 300 || d.Gain < 0.05 || d.Gain > 0.15 {
		t.Errorf("the next opening could show %+v (%v)", d, err)
	}
	plan.AcceptBaselines = true
	report = mustRun(t, plan)
	if report.Candidate != "mean" || !report.Checkpoint.Verified || report.Generator.Verified {
		t.Errorf("candidate %s, checkpoint %+v, generator %+v", report.Candidate, report.Checkpoint, report.Generator)
	}
	if report.Opening != 2 || math.Abs(report.OpeningAlpha-0.05/6) > 1e-15 {
		t.Errorf("the second look was opening %d at %g", report.Opening, report.OpeningAlpha)
	}
}

// Whatever the call at which a run dies, the next one must end with the same report, weights and ledger, and no
// candidate may be scored twice on an item.
func TestResumeEndsTheSame(t *testing.T) {
	base := tinyBase(t)
	type ending struct{ report, ledger, winner []byte }
	carry := func(stopAt int) (ending, int) {
		scorer := &fakeScorer{items: 60, f: plantedScore(1), stopAt: stopAt, seen: map[string]int{}}
		dir := t.TempDir()
		var report *Report
		for range 2 {
			j, err := journal.Open(filepath.Join(dir, "journal"))
			if err != nil {
				t.Fatal(err)
			}
			j.SyncEvery(100)
			plan := testPlan(t, base, scorer)
			plan.Sources = []Source{generatorOf(base, "generated", Generator, 0.8, 0.3)}
			plan.Journal, plan.Ledger = j, filepath.Join(dir, "ledger")
			report, err = Run(context.Background(), plan)
			if stopAt > 0 && scorer.calls == stopAt && !errors.Is(err, errStopped) || stopAt == 0 && err != nil {
				t.Fatalf("stopped at %d: %v", stopAt, err)
			}
			j.Close()
		}
		for item, n := range scorer.seen {
			if n != 1 {
				t.Fatalf("stopped at %d: %s was scored %d times", stopAt, item, n)
			}
		}
		var e ending
		e.report, _ = json.Marshal(report)
		e.ledger, _ = os.ReadFile(filepath.Join(dir, "ledger"))
		v, err := report.Variant("generated")
		if err != nil {
			t.Fatal(err)
		}
		hash, _ := v.Hash()
		e.winner = []byte(hash)
		return e, scorer.calls
	}
	want, calls := carry(0)
	if len(want.ledger) == 0 {
		t.Fatal("the test never opened its ledger")
	}
	for stopAt := 1; stopAt <= calls; stopAt += 23 {
		got, _ := carry(stopAt)
		if !bytes.Equal(got.report, want.report) || !bytes.Equal(got.ledger, want.ledger) || !bytes.Equal(got.winner, want.winner) {
			t.Fatalf("stopped at call %d of %d: another ending", stopAt, calls)
		}
	}
	got, _ := carry(calls)
	if !bytes.Equal(got.ledger, want.ledger) {
		t.Fatal("stopped at the last call: another ledger")
	}
	t.Logf("%d scorings, interrupted at every 23rd", calls)
}

// With every source worthless, false verdicts must stay below alpha for 0/1 and for continuous metrics.
func TestNullRunsRarelyVerify(t *testing.T) {
	base := tinyBase(t)
	plan := testPlan(t, base, nil)
	plan.Sources = []Source{generatorOf(base, "generated", Generator, 0, 1)}
	plan.Budget = Budget{Proposals: 3, Scales: []float64{1}, Layers: 2, Tries: 1, Soup: 2}
	plan.Resamples, plan.AcceptBaselines, plan.Alpha = 400, true, 0.2
	const runs = 120
	for name, f := range map[string]func(*llm.Variant, uint64, Split, int) float64{
		"0/1":        nullScore,
		"continuous": func(_ *llm.Variant, hash uint64, split Split, item int) float64 { return uniform(hash, split, item) },
	} {
		checkpoint, generator, opened := 0, 0, 0
		for k := range runs {
			plan.Scorer = &fakeScorer{items: 50, salt: fmt.Sprint(name, k), f: f}
			plan.Seed = uint64(k)
			report := mustRun(t, plan)
			if report.Opening > 0 {
				opened++
			}
			if report.Checkpoint.Verified {
				checkpoint++
			}
			if report.Generator.Verified {
				generator++
			}
		}
		t.Logf("%s: %d null runs at alpha %g: %d opened test, %d false checkpoint and %d false generator verdicts",
			name, runs, plan.Alpha, opened, checkpoint, generator)
		first := stats.SpendAlpha(plan.Alpha, 1)
		if limit := first + 3*math.Sqrt(first*(1-first)/runs); float64(checkpoint) > runs*limit || generator > checkpoint {
			t.Errorf("%s: %d false checkpoint verdicts of %d, at most %.3f allowed", name, checkpoint, runs, limit)
		}
		if opened < runs/2 {
			t.Errorf("only %d runs opened test: the simulation shows nothing", opened)
		}
	}
}

// All relatives worse than the base: nothing passes the gate, and test must stay closed.
func TestNothingPassedLeavesTestClosed(t *testing.T) {
	base := tinyBase(t)
	plan := testPlan(t, base, &fakeScorer{items: 100, f: plantedScore(0)})
	report := mustRun(t, plan)
	if report.Checkpoint.Verified || report.Candidate != "" || report.Opening != 0 || report.Checkpoint.Reason == "" || report.Generator.Reason == "" {
		t.Errorf("report %+v", report)
	}
	if _, err := os.Stat(plan.Ledger); !errors.Is(err, os.ErrNotExist) {
		t.Error("the ledger was written")
	}
	for _, s := range report.Sources {
		if s.Test != nil {
			t.Errorf("%s was scored on test", s.Name)
		}
	}
}

// Dense relatives of a bf16 base: what is scored must be what a written checkpoint would hold.
func TestDenseRelativesOfRoundedBase(t *testing.T) {
	base := tinyCheckpoint(t, "BF16")
	plan := testPlan(t, base, &fakeScorer{items: 40, f: nullScore})
	for i, r := range plan.Relatives {
		dense := &llm.Variant{Base: base, Replace: map[string][]float32{}}
		for _, name := range tinyNames {
			w, err := r.Variant.Weights(name)
			if err != nil {
				t.Fatal(err)
			}
			dense.Replace[name] = w
		}
		plan.Relatives[i].Variant = dense
	}
	report := mustRun(t, plan)
	for _, s := range report.Sources {
		v, err := report.Variant(s.Name)
		if err != nil || len(v.LowRank) != 0 {
			t.Fatalf("%s: %d low-rank tensors (%v)", s.Name, len(v.LowRank), err)
		}
		if s.Evaluations != testBudget.Evaluations(len(tinyNames)) {
			t.Errorf("%s had %d evaluations", s.Name, s.Evaluations)
		}
	}
}

func TestBadProposalsLoseQuietly(t *testing.T) {
	base := tinyBase(t)
	plan := testPlan(t, base, &fakeScorer{items: 100, f: plantedScore(1)})
	good := generatorOf(base, "", "", 0.8, 0.3)
	plan.Sources = []Source{NewSource("generated", Generator, func(ctx context.Context, i int) (*llm.Variant, error) {
		v, err := good.Propose(ctx, i)
		if i != 2 {
			v.LowRank[tinyNames[1]].B[3] = float32(math.NaN())
		}
		return v, err
	})}
	report := mustRun(t, plan)
	if s := report.result("generated"); s.Blend[tinyNames[0]][0].Proposal != 2 || !s.Passed {
		t.Errorf("winner %+v", s)
	}
}

func TestPlansThatCannotRun(t *testing.T) {
	base := tinyBase(t)
	other := tinyBase(t)
	for name, spoil := range map[string]func(*Plan){
		"no ledger":       func(p *Plan) { p.Ledger = "" },
		"no proposals":    func(p *Plan) { p.Budget.Proposals = 0 },
		"too many tries":  func(p *Plan) { p.Budget.Tries = 9 },
		"nothing at all":  func(p *Plan) { p.Relatives = nil },
		"another base":    func(p *Plan) { p.Relatives[0].Variant = relatives(other, 1, 1)[0].Variant },
		"a name twice":    func(p *Plan) { p.Sources = []Source{generatorOf(base, "mean", Baseline, 0, 1)} },
		"scorer's counts": func(p *Plan) { p.Scorer = &liar{fakeScorer{items: 10, f: nullScore}} },
	} {
		plan := testPlan(t, base, &fakeScorer{items: 10, f: nullScore})
		spoil(&plan)
		if _, err := Run(context.Background(), plan); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type liar struct{ fakeScorer }

func (*liar) Items(Split) int { return 11 }
