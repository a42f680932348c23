package metric

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

// TestTranslation gives what sacrebleu's own tests say.
func TestTranslation(t *testing.T) {
	dog := []Translation{
		{[]string{"The dog bit the man.", "The dog had bit the man."}, "The dog bit the man."},
		{[]string{"It was not unexpected.", "No one was surprised."}, "It wasn't surprising."},
		{[]string{"The man bit him first.", "The man had bitten the dog."}, "The man had just bitten him."},
	}
	one := func(answer, reference string) []Translation { return []Translation{{[]string{reference}, answer}} }
	dev := []Translation{
		{[]string{`wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen , damit die Darstellung des Bildes in einer anderen Größe beibehalten wird .`},
			`wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen , damit das Bild ungefähr dieselbe Größe aufweist wie die andere Größe .`},
		{[]string{`wenn Sie alle Aufgaben im aktuellen Dokument aktualisieren möchten , wählen Sie im Menü des Aufgabenbedienfelds die Option " Alle Aufgaben aktualisieren . "`},
			`wenn Sie alle Aufgaben im aktuellen Dokument aktualisieren möchten , wählen Sie im Menü des Aufgabenbedienfelds die Option " Alle Aufgaben aktualisieren . "`},
		{[]string{`klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben Sie für " Fehlerkorrektur-Level " und " Y / X-Verhältnis " niedrigere Werte ein .`},
			`klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben Sie Werte für " Fehlerkorrektur-Level " und " Y / X-Verhältnis " ein .`},
		{[]string{`Sie können beispielsweise ein Dokument erstellen , das ein Auto enthalt , das sich über die Bühne bewegt .`},
			`Sie können beispielsweise ein Dokument erstellen , das ein Auto über die Bühne enthält .`},
		{[]string{`wählen Sie im Dialogfeld " Neu aus Vorlage " eine Vorlage aus und klicken Sie auf " Neu . "`},
			`wählen Sie im Dialogfeld " Neu aus Vorlage " eine Vorlage aus und klicken Sie auf " Neu . "`},
	}
	for _, c := range []struct {
		name      string
		got, want float64
		near      float64
	}{
		{"bleu", bleu(dog), 48.530827, 1e-5},
		{"bleu of nothing", bleu(one("", "The dog")), 0, 0},
		{"chrf", chrf(dog), 59.73, 0.005},
		{"chrf of the same", chrf(one("Niemand hat die Absicht, eine Mauer zu errichten", "Niemand hat die Absicht, eine Mauer zu errichten")), 100, 1e-9},
		{"chrf of none", chrf(one("abcdefg", "hijklmnop")), 0, 0},
		{"ter of the same", ter(one("aaaa bbbb cccc dddd", "aaaa bbbb cccc dddd")), 0, 0},
		{"ter of others", ter(one("dddd eeee ffff", "aaaa bbbb cccc")), 100, 0},
		{"ter of an empty answer", ter(one("", "a")), 100, 0},
		{"ter of an empty reference", ter(one("a", "")), 100, 0},
		{"ter of nothing", ter(one("", "")), 0, 0},
		{"ter with a shift", ter(one("d e f g h a b c", "a b c d e f g h")), 12.5, 1e-9},
		{"ter of real texts", ter(dev), 13.6, 0.05},
	} {
		if math.Abs(c.got-c.want) > c.near {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

type choicesOf []any

func (c choicesOf) Get(string) (any, bool) { return []any(c), true }

// TestFilters gives what the harness' filters give.
func TestFilters(t *testing.T) {
	for _, c := range []struct {
		filter string
		s      Settings
		in     any
		want   any
	}{
		{"regex", Settings{}, []any{"a #### 1,200 b"}, []any{"1,200"}},
		{"regex", Settings{"fallback": "?"}, []any{"none", "#### 3"}, []any{"?", "3"}},
		{"regex", Settings{"regex_pattern": `(-?[$0-9.,]{2,})|(-?[0-9]+)`, "group_select": int64(-1)}, []any{"1 then 25 then 7"}, []any{"7"}},
		{"regex", Settings{"regex_pattern": `(x)?|(y)?`}, []any{"zz"}, []any{"[invalid]"}},
		{"regex", Settings{"regex_pattern": `answer\s*(?P<q>['"]?)(\w+)(?P=q)`}, []any{`answer  'née'`}, []any{"'"}},
		{"regex", Settings{"regex_pattern": `\bcafé\b`}, []any{"un café!"}, []any{"café"}},
		{"regex", Settings{"regex_pattern": `[[]x\]`}, []any{"[x]"}, []any{"[x]"}},
		{"take_first", nil, []any{"a", "b"}, "a"},
		{"take_first_k", Settings{"k": int64(2)}, []any{"a", "b", "c"}, []any{"a", "b"}},
		{"majority_vote", nil, []any{"a", "b", "b", "a", "c"}, []any{"a"}},
		{"lowercase", nil, []any{"ÄÖ"}, []any{"äö"}},
		{"uppercase", nil, []any{"straße"}, []any{"STRASSE"}},
		{"remove_whitespace", nil, []any{"\x1c a \u00a0"}, []any{"a"}},
		{"map", Settings{"mapping_dict": map[string]any{"A": int64(1)}, "default_value": int64(0)}, []any{"A", "B"}, []any{int64(1), int64(0)}},
		{"regex_pos", nil, []any{"[('the', 'DT'), ('cat', 'NN')]", "nothing"}, []any{[]any{"DT", "NN"}, []any{"invalid"}}},
		{"format_span", nil, []any{"Person: Ada, none\nplaces: Rome"}, []any{"per: ada $ loc: rome"}},
		{"multi_choice_regex", Settings{"regex_pattern": `(\([A-Z]\))`}, []any{"so (B)", "it is a big cat", "Answer: A", "no idea"}, []any{"(B)", "(B)", "(A)", "[invalid]"}},
		{"multi_choice_regex", Settings{"regex_pattern": `(\([A-Z]\))`, "ignore_case": true, "ignore_punctuation": true}, []any{"A BIG, CAT."}, []any{"(B)"}},
	} {
		f, err := NewFilter(c.filter, c.s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Apply([]any{c.in}, []Document{choicesOf{"dog", "big cat"}})
		if err != nil || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s %v of %v: %v (%v), want %v", c.filter, c.s, c.in, got, err, c.want)
		}
	}
}

// TestFilterErrors: what would end in a traceback is an error that says why.
func TestFilterErrors(t *testing.T) {
	for _, c := range []struct {
		filter string
		s      Settings
		in     any
		want   string
	}{
		{"nonsense", nil, nil, "no filter"},
		{"regex", Settings{"regex_pattern": "("}, nil, "pattern"},
		{"regex", Settings{"group_select": "one"}, nil, "group_select"},
		{"regex", Settings{"group_select": int64(3)}, []any{"#### 1"}, "group_select is 3"},
		{"regex", Settings{"regex_pattern": "(a|a)*$"}, []any{strings.Repeat("a", 20) + "b"}, ""},
		{"take_first", nil, []any{}, "no answer"},
		{"take_first_k", nil, nil, "needs k"},
		{"take_first_k", Settings{"k": int64(3)}, []any{"a"}, "repeats"},
		{"lowercase", nil, []any{LogLikelihood{}}, "needs text"},
		{"lowercase", nil, "a", "before take_first"},
		{"majority_vote", nil, []any{}, "no answers"},
		{"map", Settings{"mapping_dict": "x"}, nil, "mapping"},
	} {
		f, err := NewFilter(c.filter, c.s)
		if err == nil {
			_, err = f.Apply([]any{c.in}, []Document{choicesOf{}})
		}
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v of %v: %v, want an error with %q", c.filter, c.s, c.in, err, c.want)
		}
	}
}

// TestJudge covers what the recordings don't: ties, labels outside the choices, several targets, other metrics.
func TestJudge(t *testing.T) {
	rule := func(output string, names ...string) *Rule {
		r := &Rule{Output: output, Str: func(any) string { return "?" }}
		for _, name := range names {
			m, err := NewMetric(name, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			r.Metrics = append(r.Metrics, m)
		}
		return r
	}
	lls := func(sums ...float64) (out []any) {
		for i, s := range sums {
			out = append(out, LogLikelihood{s, i == 0})
		}
		return out
	}
	many := rule(OutputGenerate, "exact_match")
	many.MultipleTarget = true
	for _, c := range []struct {
		name string
		rule *Rule
		c    Case
		want []Measure
	}{
		{"a tie takes the first", rule(OutputMultipleChoice, "acc"), Case{Answers: lls(-1, -1), Choices: []string{"a", "b"}, Target: int64(0)}, []Measure{{"acc", 1.0}}},
		{"length in characters, not bytes", rule(OutputMultipleChoice, "acc_norm", "acc_bytes"), Case{Answers: lls(-4, -5), Choices: []string{"éé", "abc"}, Target: int64(1)}, []Measure{{"acc_norm", 1.0}, {"acc_bytes", 0.0}}},
		{"a label beyond the choices", rule(OutputMultipleChoice, "acc", "exact_match"), Case{Answers: lls(-1, -2), Choices: []string{"a", "b"}, Target: int64(5)}, []Measure{{"acc", 0.0}, {"exact_match", int64(0)}}},
		{"a label as text", rule(OutputMultipleChoice, "acc"), Case{Answers: lls(-2, -1), Choices: []string{"a", "b"}, Target: "b"}, []Measure{{"acc", 1.0}}},
		{"several labels", rule(OutputMultipleChoice, "acc", "exact_match"), Case{Answers: lls(-1, -2), Choices: []string{"a", "b"}, Target: []any{int64(1), int64(0)}}, []Measure{{"acc", 1.0}, {"exact_match", int64(1)}}},
		{"mutual information", rule(OutputMultipleChoice, "acc", "acc_mutual_info"), Case{Answers: lls(-1, -2, -1, -5), Choices: []string{"a", "b"}, Target: int64(1)}, []Measure{{"acc", 0.0}, {"acc_mutual_info", 1.0}}},
		{"one choice", rule(OutputMultipleChoice, "acc"), Case{Answers: lls(-1), Choices: []string{"a"}, Target: int64(0)}, []Measure{{"acc", 1.0}}},
		{"an empty choice", rule(OutputMultipleChoice, "acc_norm"), Case{Answers: lls(0, -1), Choices: []string{"", "b"}, Target: int64(0)}, []Measure{{"acc_norm", 1.0}}},
		{"likelihood", rule(OutputLogLikelihood, "perplexity", "acc"), Case{Answers: lls(-3)}, []Measure{{"perplexity", -3.0}, {"acc", int64(1)}}},
		{"rolling", rule(OutputRolling, "word_perplexity", "byte_perplexity"), Case{Answers: []any{-9.0}, Target: "é two\n three "}, []Measure{{"word_perplexity", Ratio{-9, 4}}, {"byte_perplexity", Ratio{-9, 14}}}},
		{"any of several targets", many, Case{Answers: []any{"b"}, Target: []any{"a", "b"}}, []Measure{{"exact_match", 1.0}}},
		{"a target that is no text", rule(OutputGenerate, "exact_match"), Case{Answers: []any{"?"}, Target: int64(7)}, []Measure{{"exact_match", 1.0}}},
	} {
		got, err := c.rule.Judge(c.c)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v (%v), want %v", c.name, got, err, c.want)
		}
	}
	for _, c := range []Case{
		{Answers: lls(-1), Choices: []string{"a", "b"}, Target: int64(0)}, {Answers: []any{"text"}, Choices: []string{"a"}, Target: int64(0)},
		{Answers: lls(-1), Choices: []string{"a"}, Target: nil}, {Choices: []string{"a"}, Target: int64(0)},
	} {
		if got, err := rule(OutputMultipleChoice, "acc").Judge(c); err == nil {
			t.Errorf("%+v: %v, want an error", c, got)
		}
	}
}
