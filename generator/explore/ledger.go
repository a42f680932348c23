package explore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"time"

	"d2nwg/internal/journal"
	"d2nwg/internal/stats"
)

// An Opening is one look at a test split: which base, which test items, which candidates. It is written to the ledger
// before anything is scored, and stays there over all runs. The same candidates on the same items are the same look,
// so a resumed or repeated run opens nothing new.
type Opening struct {
	Base      string            `json:"base"`      // hash of the base checkpoint
	Test      string            `json:"test"`      // hash of the test split
	Metric    string            `json:"metric"`    // what is measured on it
	Candidate string            `json:"candidate"` // source whose winner the checkpoint verdict is about
	Winners   map[string]string `json:"winners"`   // source → hash of its winner
}

func (o Opening) key() (string, error) {
	data, err := json.Marshal(o) // map keys are sorted
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

const openingKind = "opening"

// Openings counts the earlier openings of a test split for a base in the ledger at path.
func Openings(ctx context.Context, path, base, test string) (int, error) {
	n := 0
	err := withLedger(ctx, path, func(j *journal.Journal) error {
		var err error
		n, err = earlier(j, base, test, "")
		return err
	})
	return n, err
}

// open records the opening and returns its number k = 1, 2, … among those of its base and test split.
func (o Opening) open(ctx context.Context, path string) (k int, err error) {
	key, err := o.key()
	if err != nil {
		return 0, err
	}
	err = withLedger(ctx, path, func(j *journal.Journal) error {
		if _, err := journal.Do(j, openingKind, key, func() (Opening, error) { return o, nil }); err != nil {
			return err
		}
		before, err := earlier(j, o.Base, o.Test, key)
		k = before + 1
		return err
	})
	return k, err
}

// earlier counts the openings of base and test up to the one with this key, which isn't counted.
func earlier(j *journal.Journal, base, test, key string) (int, error) {
	n := 0
	for _, k := range j.Keys(openingKind) {
		if k == key {
			break
		}
		var o Opening
		if _, err := j.Get(openingKind, k, &o); err != nil {
			return 0, err
		}
		if o.Base == base && o.Test == test {
			n++
		}
	}
	return n, nil
}

// Detectable says what one more opening of a test split could show.
type Detectable struct {
	Items   int     `json:"items"`
	Opening int     `json:"opening"` // number the next opening would have
	Alpha   float64 `json:"alpha"`   // its level
	Power   float64 `json:"power"`
	// Gain is the smallest true gain found with that power if items are 0/1 and candidate and base differ on the share
	// Discordance of them; GainSD the same for other metrics, in standard deviations of an item's paired difference.
	Discordance float64 `json:"discordance"`
	Gain        float64 `json:"gain"`
	GainSD      float64 `json:"gain_sd"`
}

// Detectable tells, without looking at any item, what the plan's test split could show if it were opened now.
func (p Plan) Detectable(ctx context.Context) (Detectable, error) {
	base, err := p.Base.Hash()
	if err != nil {
		return Detectable{}, err
	}
	before := 0
	if _, err := os.Stat(p.Ledger); err == nil {
		if before, err = Openings(ctx, p.Ledger, base, p.Scorer.Hash(stats.Test)); err != nil {
			return Detectable{}, err
		}
	}
	d := Detectable{Items: p.Scorer.Items(stats.Test), Opening: before + 1, Power: 0.8, Discordance: 0.2}
	d.Alpha = stats.SpendAlpha(cmp.Or(p.Alpha, defaultAlpha), d.Opening)
	d.Gain = stats.MinDetectable(d.Items, d.Discordance, d.Alpha, d.Power)
	d.GainSD = stats.MinDetectableMean(d.Items, 1, d.Alpha, d.Power)
	return d, nil
}

// withLedger opens the ledger for the moment f takes, waiting for other runs to leave it.
func withLedger(ctx context.Context, path string, f func(*journal.Journal) error) error {
	for {
		j, err := journal.Open(path)
		if err == nil {
			return errors.Join(f(j), j.Close())
		}
		if !errors.Is(err, journal.ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
