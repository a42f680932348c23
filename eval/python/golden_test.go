package python

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("D2NWG_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "golden", "eval")); err != nil {
		t.Skipf("no shared test data in %s; set D2NWG_SHARED to run this test", dir)
	}
	return dir
}

// randomCase is a line of python_random.jsonl: a generator of the seed that gave Out, call by call.
type randomCase struct {
	Seed string `json:"seed"`
	Fn   string `json:"fn"`
	N, K int
	Args []int             `json:"args"`
	Out  []json.RawMessage `json:"out"`
}

// call makes the i-th call of a case.
func (c randomCase) call(r *Random, i int) (any, error) {
	switch c.Fn {
	case "random":
		return r.Random(), nil
	case "randrange":
		return r.Below(c.Args[i]), nil
	case "choice":
		return r.Below(c.N), nil
	case "sample":
		return r.Sample(c.N, c.K)
	case "choices":
		return r.Choices(c.N, nil, c.K)
	case "gauss":
		return r.Gauss(0, 1), nil
	case "getrandbits":
		return fmt.Sprint(r.Bits(c.Args[i])), nil
	case "shuffle":
		list := make([]int, c.Args[i])
		for k := range list {
			list[k] = k
		}
		r.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
		return list, nil
	}
	return nil, nil
}

// The expected numbers are CPython 3.11's random.Random("d2nwg").
func TestRandomOfText(t *testing.T) {
	r := NewRandomString("d2nwg")
	for i, want := range []float64{0.9297945151540082, 0.9628726894714922, 0.29209756318268354} {
		if got := r.Random(); got != want {
			t.Errorf("number %d: %v, want %v", i, got, want)
		}
	}
	r = NewRandom(-7)
	if n, err := r.Randint(3, 1000); err != nil || n != 334 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestGoldenRandom(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared(t), "golden", "eval", "python_random.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	held, other := map[string]int{}, 0
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var c randomCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		seed, ok := new(big.Int).SetString(c.Seed, 10)
		if !ok {
			t.Fatalf("the seed %q is no number", c.Seed)
		}
		r := NewRandomBig(seed)
		good := true
		for i, want := range c.Out {
			got, err := c.call(r, i)
			if err != nil {
				t.Fatal(err)
			}
			if got == nil {
				good = false
				other++
				break
			}
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if json.Unmarshal(text, &a) != nil || json.Unmarshal(want, &b) != nil || !cmp.Equal(a, b) {
				t.Errorf("%s of seed %s, call %d: %s, want %s", c.Fn, c.Seed, i, text, want)
				good = false
			}
		}
		if good {
			held[c.Fn]++
		}
	}
	t.Logf("held: %v; %d of functions that nothing here uses", held, other)
}
