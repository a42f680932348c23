package card

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"d2nwg/internal/stats"
)

// Report is what a card tells of a run: the part of its report.json that it needs.
type Report struct {
	Run          string                 `json:"run"`  // identifies the search: a hash of all it depends on
	Base         string                 `json:"base"` // sha256 of the base's weights
	Metric       string                 `json:"metric"`
	Seed         uint64                 `json:"seed"`
	Splits       map[stats.Split]Split  `json:"splits"`
	BaseScores   map[stats.Split]Scores `json:"base_scores"`
	Alpha        float64                `json:"alpha"`
	Opening      int                    `json:"opening"` // which look at the test split this was; 0: none
	OpeningAlpha float64                `json:"opening_alpha"`
	Sources      []Source               `json:"sources"`
	Checkpoint   Verdict                `json:"checkpoint"`
	Generator    Verdict                `json:"generator"`
	Notes        []string               `json:"notes"`
	Target       string                 `json:"target"`
	Describe     string                 `json:"describe"`
	Relatives    int                    `json:"relatives"`
	Written      string                 `json:"written"` // source whose winner stands in candidate/
}

// Split identifies a part of the data.
type Split struct {
	Hash  string `json:"hash"`
	Items int    `json:"items"`
}

// Scores are a candidate's on one split.
type Scores struct {
	Mean float64 `json:"mean"`
}

// Source is a source of candidates, by its winner.
type Source struct {
	Name        string      `json:"name"`
	Kind        string      `json:"kind"`
	Evaluations int         `json:"evaluations"`
	Winner      string      `json:"winner"`
	Confirm     Scores      `json:"confirm"`
	ConfirmGain Comparison  `json:"confirm_gain"`
	Passed      bool        `json:"passed"`
	Test        *Scores     `json:"test"`
	TestGain    *Comparison `json:"test_gain"`
}

// Comparison is a paired one, on the items of a split.
type Comparison struct {
	Against string         `json:"against"`
	Gain    stats.Interval `json:"gain"`
	McNemar *float64       `json:"mcnemar_p"`
}

// Verdict answers one of the two questions of a run.
type Verdict struct {
	Verified    bool         `json:"verified"`
	Candidate   string       `json:"candidate"`
	Reason      string       `json:"reason"`
	Comparisons []Comparison `json:"comparisons"`
}

// maxReport bounds a report; a run's has some 20 kB.
const maxReport = 16 << 20

// ReadReport reads a run's report.json. A missing one matches fs.ErrNotExist.
func ReadReport(path string) (*Report, error) {
	data, err := readCapped(path, maxReport)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s is no report of a run: %w", path, err)
	}
	if r.Metric == "" || r.source(r.Written) == nil {
		return nil, fmt.Errorf("%s is no report of a finished run: it doesn't say whose winner was written", path)
	}
	return &r, nil
}

func (r *Report) source(name string) *Source {
	i := slices.IndexFunc(r.Sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Sources[i]
}

// split is the one that results are quoted of: test where it was opened.
func (r *Report) split() stats.Split {
	if r.source(r.Written).Test != nil {
		return stats.Test
	}
	return stats.Confirm
}

// on gives a source's score and gain on a split; ok is false where it wasn't scored.
func (s *Source) on(split stats.Split) (score float64, gain Comparison, ok bool) {
	if split != stats.Test {
		return s.Confirm.Mean, s.ConfirmGain, true
	}
	if s.Test == nil || s.TestGain == nil {
		return 0, Comparison{}, false
	}
	return s.Test.Mean, *s.TestGain, true
}

// Verified tells whether what was written is what the checkpoint verdict verified.
func (r *Report) Verified() bool { return r.Checkpoint.Verified && r.Checkpoint.Candidate == r.Written }

// readCapped reads a file of at most limit bytes.
func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}
