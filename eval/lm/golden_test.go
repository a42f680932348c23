package lm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"d2nwg/eval/metric"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// toy is the language model that the recordings define: what comes next depends on all of the input.
type toy struct{ positions int }

const toyVocab = 96

func (t toy) Config() llm.Config { return llm.Config{VocabSize: toyVocab, MaxPositions: t.positions} }

func (t toy) logits(ids []int) []float32 {
	s := 0
	for _, id := range ids {
		s = (s*31 + id + 1) % 9973
	}
	out := make([]float32, toyVocab)
	for v := range out {
		out[v] = float32((s*(v+7)+v*v*13)%997) / 100
	}
	return out
}

func (t toy) ScoreEach(_ context.Context, reqs []engine.Request, _ int, done func(int, engine.Response) error) error {
	for i, r := range reqs {
		var out engine.Response
		for at := r.From; at < len(r.IDs); at++ {
			row := t.logits(r.IDs[:at])
			top, sum, best := row[0], 0.0, 0
			for v, x := range row {
				if x > top {
					top, best = x, v
				}
			}
			for _, x := range row {
				sum += math.Exp(float64(x - top))
			}
			out.LogProbs = append(out.LogProbs, float64(row[r.IDs[at]]-top)-math.Log(sum))
			out.Greedy = append(out.Greedy, best == r.IDs[at])
		}
		if err := done(i, out); err != nil {
			return err
		}
	}
	return nil
}

func (t toy) Rows(reqs []engine.Request) (int64, error) {
	n := 0
	for _, r := range reqs {
		n += len(r.IDs) - 1
	}
	return int64(n), nil
}

func (t toy) Generate(_ context.Context, prompts [][]int, next func(int, []float32) (int, bool)) error {
	for i, prompt := range prompts {
		for more, id := true, 0; more; prompt = append(prompt[:len(prompt):len(prompt)], id) {
			id, more = next(i, t.logits(prompt))
		}
	}
	return nil
}

// letters is the recordings' tokenizer.
type letters struct{}

func (letters) Encode(text string, special bool) ([]int, error) {
	var ids []int
	if special {
		ids = append(ids, 0)
	}
	for text != "" {
		switch {
		case strings.HasPrefix(text, "<s>"):
			ids, text = append(ids, 0), text[3:]
		case strings.HasPrefix(text, "</s>"):
			ids, text = append(ids, 1), text[4:]
		default:
			c := text[0]
			if c < 32 || c > 125 {
				c = '?'
			}
			ids, text = append(ids, int(c)-30), text[1:]
		}
	}
	return ids, nil
}

func (letters) EncodeOffsets(string, bool) (tokenizer.Encoding, error) {
	return tokenizer.Encoding{}, nil
}

func (letters) Decode(ids []int, skipSpecial bool) string {
	var b strings.Builder
	for _, id := range ids {
		switch {
		case id >= 2:
			b.WriteByte(byte(id + 30))
		case skipSpecial:
		case id == 0:
			b.WriteString("<s>")
		default:
			b.WriteString("</s>")
		}
	}
	return b.String()
}

func (letters) VocabSize() int   { return toyVocab }
func (letters) BOS() (int, bool) { return 0, true }
func (letters) EOS() (int, bool) { return 1, true }

func goldenRows(t *testing.T, name string) (rows []map[string]json.RawMessage) {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(root, "golden", "eval", name))
	if err != nil {
		t.Skipf("no recordings below %s: set D2NWG_SHARED to the shared folder", root)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var row map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func get[T any](t *testing.T, row map[string]json.RawMessage, key string) (v T) {
	if err := json.Unmarshal(row[key], &v); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return v
}

// whole turns JSON's numbers into int64 where they are whole and have no point.
func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	}
	return v
}

func object(t *testing.T, raw json.RawMessage) map[string]any {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return whole(v).(map[string]any)
}

// TestGoldenToy asks the recordings' model what the harness' HFLM asked it.
func TestGoldenToy(t *testing.T) {
	held, all, skipped := 0, 0, 0
	for _, row := range goldenRows(t, "hflm_toy.jsonl") {
		if row["fn"] == nil {
			continue
		}
		fn := strings.TrimPrefix(get[string](t, row, "fn"), "HFLM.")
		special := get[bool](t, row, "add_bos")
		l, err := New(toy{get[int](t, row, "max_length")}, letters{}, Options{Special: &special})
		if err != nil {
			t.Fatal(err)
		}
		if fn == "generate_until" && get[int](t, row, "batch_size") > 1 {
			continue // the toy sees the padding of the harness' batches, which no real model may
		}
		var reqs []Request
		for _, raw := range get[[]json.RawMessage](t, row, "requests") {
			reqs = append(reqs, toyRequest(t, fn, raw))
		}
		answers, _, err := l.Ask(context.Background(), reqs, Memory{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		collides := collisions(t, l, reqs)
		for i, want := range get[[]any](t, row, "out") {
			if collides[i] && string(row["logits_cache"]) != "false" {
				skipped++
				continue
			}
			all++
			if sameAnswer(fn, answers[i], want) {
				held++
			} else {
				t.Errorf("%s %+v: got %+v, want %v", fn, reqs[i], answers[i], want)
			}
		}
	}
	t.Logf("%d of %d answers held, %d that depend on the harness' company aside", held, all, skipped)
}

// collisions finds the requests that HFLM's logits_cache answers wrongly: two whose tokens but the last are the same,
// cut into context and continuation at different places, share logits there, and the shorter continuation is read from
// the wrong rows. With logits_cache off the harness gives what it gives to each alone, and so does this package.
func collisions(t *testing.T, l *LM, reqs []Request) []bool {
	out := make([]bool, len(reqs))
	if reqs[0].Output == metric.OutputGenerate {
		return out
	}
	froms := map[string]map[int]bool{}
	all, err := l.encodeAll(context.Background(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	key := func(p engine.Request) string { return fmt.Sprint(p.IDs[:len(p.IDs)-1]) }
	for _, a := range all {
		for _, p := range a.parts {
			if froms[key(p)] == nil {
				froms[key(p)] = map[int]bool{}
			}
			froms[key(p)][p.From] = true
		}
	}
	for i, a := range all {
		for _, p := range a.parts {
			out[i] = out[i] || len(froms[key(p)]) > 1
		}
	}
	return out
}

func toyRequest(t *testing.T, fn string, raw json.RawMessage) Request {
	r := Request{Output: fn}
	if fn == metric.OutputRolling {
		if err := json.Unmarshal(raw, &r.Context); err != nil {
			t.Fatal(err)
		}
		return r
	}
	var pair [2]json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(pair[0], &r.Context); err != nil {
		t.Fatal(err)
	}
	if fn == metric.OutputGenerate {
		r.Generation = object(t, pair[1])
		return r
	}
	if err := json.Unmarshal(pair[1], &r.Continuation); err != nil {
		t.Fatal(err)
	}
	return r
}

// sameAnswer allows for the harness' float32.
func sameAnswer(fn string, got Answer, want any) bool {
	near := func(w any) bool { return math.Abs(got.Sum-w.(float64)) < 1e-5*max(1, math.Abs(w.(float64))) }
	switch fn {
	case metric.OutputRolling:
		return near(want)
	case metric.OutputLogLikelihood:
		pair := want.([]any)
		return near(pair[0]) && got.Greedy == pair[1]
	}
	return got.Text == want
}

// TestGoldenPrimitives checks single functions of the harness' engine.
func TestGoldenPrimitives(t *testing.T) {
	counts := map[string]int{}
	for _, row := range goldenRows(t, "engine_primitives.jsonl") {
		fn := get[string](t, row, "fn")
		switch fn {
		case "get_rolling_token_windows":
			if get[int](t, row, "context_len") != 1 {
				continue // HFLM has 1
			}
			checkWindows(t, row)
		case "normalize_gen_kwargs":
			got, err := Normalize(object(t, row["in"]))
			want := object(t, row["out"])
			if err != nil || !equal(got, want) {
				t.Errorf("%s %s: got %v (%v), want %v", fn, row["in"], got, err, want)
			}
		case "simple_parse_args_string":
			if got, want := ParseArgs(get[string](t, row, "in")), object(t, row["out"]); !equal(got, want) {
				t.Errorf("%s %s: got %v, want %v", fn, row["in"], got, want)
			}
		default:
			continue
		}
		counts[fn]++
	}
	t.Logf("held: %v", counts)
}

// equal compares settings; 3 and 3.0 are the same.
func equal(a, b map[string]any) bool {
	if len(a) != len(b) {
		return false
	}
	for key, x := range a {
		f, isNumber := number(x)
		g, alsoNumber := number(b[key])
		if isNumber != alsoNumber || f != g || !isNumber && !reflect.DeepEqual(x, b[key]) {
			return false
		}
	}
	return true
}

func checkWindows(t *testing.T, row map[string]json.RawMessage) {
	n, length := get[int](t, row, "n_tokens"), get[int](t, row, "max_seq_len")
	ids := make([]int, n)
	for i := range ids {
		ids[i] = get[int](t, row, "first_token") + i
	}
	l := &LM{length: length, prefix: get[int](t, row, "prefix_token"), tok: fixed{ids: ids}}
	got, err := (&encoder{LM: l}).windows("text")
	want := get[[][2][]int](t, row, "disjoint")
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d tokens, %d at once: %d windows (%v), want %d", n, length, len(got), err, len(want))
	}
	for i, w := range want {
		if !reflect.DeepEqual(got[i].IDs[:got[i].From], w[0]) || !reflect.DeepEqual(got[i].IDs[got[i].From:], w[1]) {
			t.Errorf("%d tokens, %d at once, window %d: got %v, want %v", n, length, i, got[i], w)
		}
	}
}

// fixed is a tokenizer for which every text is the same tokens.
type fixed struct {
	letters
	ids []int
}

func (f fixed) Encode(string, bool) ([]int, error) { return f.ids, nil }
