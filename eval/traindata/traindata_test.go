package traindata

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/internal/stats"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
)

func ascii(t *testing.T) tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Parse(tokenizer.NewASCII(), []byte(`{"bos_token": "<s>", "eos_token": "</s>"}`))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// examplesOf reads a row back: its prefix, and each example as prompt + answer text up to its end token.
func examplesOf(t *testing.T, tok tokenizer.Tokenizer, b *pack.Batch, row int) (prefix string, examples []string) {
	t.Helper()
	end, _ := tok.EOS()
	ids := map[int32][]int{}
	for i := row * b.Len; i < (row+1)*b.Len; i++ {
		s := b.Segments[i]
		if s != pack.Padding {
			ids[s] = append(ids[s], int(b.IDs[i]))
		}
		if b.Weights[i] != 0 && int(b.Targets[i]) == end && s <= 0 {
			t.Fatal("an answer ends in the prefix")
		}
	}
	for s := int32(1); ids[s] != nil; s++ {
		examples = append(examples, tok.Decode(ids[s], true))
	}
	return tok.Decode(ids[0], true), examples
}

// Every row must hold training tasks on training inputs with right answers, under the task's own description or none.
func TestProceduralRowsHoldOnlyTraining(t *testing.T) {
	tok := ascii(t)
	training, err := procedural.NewTraining(procedural.TrainTasks()...)
	if err != nil {
		t.Fatal(err)
	}
	data := Procedural{Tokenizer: tok, Training: training, Bare: 0.4, Rows: 16, Len: 256, Seed: 3}
	described, bare, examples := 0, 0, 0
	for step := range 10 {
		b, err := data.Batch(step)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := data.Batch(step); !reflect.DeepEqual(again, b) {
			t.Fatal("the same step gave another batch")
		}
		for row := range b.Rows {
			prefix, texts := examplesOf(t, tok, b, row)
			var allowed []procedural.Task
			for _, task := range procedural.All() {
				if task.Split == procedural.TrainSplit && (prefix == "" || prefix == task.Description+"\n") {
					allowed = append(allowed, task)
				}
			}
			if prefix == "" {
				bare++
			} else if described++; len(allowed) != 1 {
				t.Fatalf("prefix %q describes %d training tasks", prefix, len(allowed))
			}
			for _, text := range texts {
				examples++
				x, y, ok := strings.Cut(text, ">")
				right := slices.ContainsFunc(allowed, func(task procedural.Task) bool {
					want, err := task.Apply(x)
					return err == nil && want == y
				})
				if !ok || !right || procedural.Cut(x) != stats.Train {
					t.Fatalf("row under %q has %q (cut %s)", prefix, text, procedural.Cut(x))
				}
			}
		}
	}
	t.Logf("%d described and %d bare rows, %d examples", described, bare, examples)
	if described < 70 || bare < 40 || examples < 1600 {
		t.Error("too few rows or examples")
	}
	first, _ := data.Batch(0)
	second, _ := data.Batch(1)
	data.Seed = 4
	other, _ := data.Batch(0)
	if reflect.DeepEqual(first, second) || reflect.DeepEqual(first, other) {
		t.Error("other steps or seeds gave the same batch")
	}
}

// A packed example must have the ids that scoring gives the same question.
func TestTrainingAndScoringEncodeAlike(t *testing.T) {
	tok := ascii(t)
	task, _ := procedural.Lookup("sort")
	training, err := procedural.NewTraining(task)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Procedural{Tokenizer: tok, Training: training, Rows: 1, Len: 128, Seed: 1}.Batch(0)
	if err != nil {
		t.Fatal(err)
	}
	item := training.Draw(func() *rand.Rand {
		r := rowRand(1, 0, 1, 0)
		r.Float64()
		training.One(r)
		return r
	}())
	prompt, answer, err := eval.NewEncoder(tok).Pair(procedural.Prompt(task.Description, item.X), item.Y)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for i, s := range b.Segments {
		if s == 0 || s == 1 {
			got = append(got, int(b.IDs[i]))
			if b.Weights[i] != 0 {
				if k := len(got) - len(prompt); k < 0 || int(b.Targets[i]) != answer[k] {
					t.Fatalf("target %d is %d, scoring expects %v", i, b.Targets[i], answer)
				}
			}
		}
	}
	if want := append(prompt, answer[:len(answer)-1]...); !slices.Equal(got, want) {
		t.Errorf("training has %v, scoring %v", got, want)
	}
}

func TestTooNarrowRow(t *testing.T) {
	training, _ := procedural.NewTraining(procedural.TrainTasks()...)
	if _, err := (Procedural{Tokenizer: ascii(t), Training: training, Rows: 1, Len: 20}).Batch(0); err == nil {
		t.Error("a description fitted into 20 tokens")
	}
}

func TestQuestionRows(t *testing.T) {
	tok := ascii(t)
	d := &eval.Dataset{Name: "test", Questions: map[stats.Split][]eval.Question{
		stats.Train: {{Prompt: "1+1=", Answer: "2"}, {Prompt: "say hello: ", Answer: "hello"}, {Prompt: strings.Repeat("long ", 30), Answer: "no"}},
		stats.Test:  {{Prompt: "secret", Answer: "secret"}},
	}}
	q, err := NewQuestions(tok, d, 4, 64, 9)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for step := range 5 {
		b, err := q.Batch(step)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := q.Batch(step); !reflect.DeepEqual(again, b) {
			t.Fatal("the same step gave another batch")
		}
		for row := range b.Rows {
			_, examples := examplesOf(t, tok, b, row)
			for _, e := range examples {
				seen[e]++
			}
		}
	}
	if len(seen) != 2 || seen["1+1=2"] < 10 || seen["say hello: hello"] < 10 {
		t.Errorf("rows hold %v", seen)
	}
	if _, err := NewQuestions(tok, d, 4, 4, 9); err == nil {
		t.Error("rows of 4 tokens held a question")
	}
}

func TestTextRows(t *testing.T) {
	tok := ascii(t)
	d := &eval.Dataset{Name: "test", Documents: map[stats.Split][]string{
		stats.Train: {"the first text is this one", "and here is the second"}, stats.Test: {"SECRET"},
	}}
	x, err := NewText(tok, d, 8, 12, 9)
	if err != nil {
		t.Fatal(err)
	}
	begin, _ := tok.BOS()
	atStart, rows := 0, 0
	for step := range 20 {
		b, err := x.Batch(step)
		if err != nil {
			t.Fatal(err)
		}
		for row := range b.Rows {
			rows++
			ids := b.IDs[row*b.Len : (row+1)*b.Len]
			targets := b.Targets[row*b.Len : (row+1)*b.Len]
			if !slices.Equal(ids[1:], targets[:b.Len-1]) || b.LossTokens() != 8*12 {
				t.Fatal("targets are not the next tokens")
			}
			if ids[0] == int32(begin) {
				atStart++
			}
			for _, id := range ids {
				if strings.ContainsAny(tok.Decode([]int{int(id)}, true), "SECRT") {
					t.Fatal("a row holds text of the test split")
				}
			}
		}
	}
	if atStart < rows*2/5 || atStart > rows*7/10 {
		t.Errorf("%d of %d rows start with a document", atStart, rows)
	}
	if _, err := NewText(tok, &eval.Dataset{}, 1, 8, 1); err == nil {
		t.Error("no text was enough")
	}
}

func BenchmarkProcedural(b *testing.B) {
	tok, err := tokenizer.Parse(tokenizer.NewASCII(), []byte(`{"bos_token": "<s>", "eos_token": "</s>"}`))
	if err != nil {
		b.Fatal(err)
	}
	training, _ := procedural.NewTraining(procedural.TrainTasks()...)
	data := Procedural{Tokenizer: tok, Training: training, Bare: 0.2, Rows: 32, Len: 256}
	for b.Loop() {
		if _, err := data.Batch(1); err != nil {
			b.Fatal(err)
		}
	}
}
