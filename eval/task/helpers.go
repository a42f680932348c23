package task

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// The helpers that the leaderboards' task files name, by the folder of the harness' lm_eval/tasks and the name. What
// they do is the harness'; the code is this project's.
var (
	docHelpers  map[string]func(Doc) (Value, error)
	docsHelpers map[string]func(s *Session, docs []Doc) ([]Doc, error)
	// samplesHelpers list few-shot samples; folder is that of the task file.
	samplesHelpers map[string]func(folder string) ([]Doc, error)
)

// gpqaKind is what the helpers of GPQA's folders differ in.
type gpqaKind struct {
	brackets bool // what stands in brackets is removed
	list     bool // a column with all choices is added
	seed     int  // of a generator of the folder's own; 0 = the one that all tasks share
}

var gpqaKinds = map[string]gpqaKind{
	"leaderboard/gpqa": {brackets: true}, "gpqa/zeroshot": {}, "gpqa/n_shot": {seed: 42},
	"gpqa/generative": {list: true}, "gpqa/cot_zeroshot": {list: true}, "gpqa/cot_n_shot": {list: true},
}

func init() {
	docHelpers = map[string]func(Doc) (Value, error){
		"winogrande/preprocess_winogrande.doc_to_text":   winograndeText,
		"winogrande/preprocess_winogrande.doc_to_target": winograndeTarget,
		"winogrande/preprocess_winogrande.doc_to_choice": winograndeChoice,
		"leaderboard/musr/utils.doc_to_text":             musrText,
		"leaderboard/musr/utils.doc_to_choice":           musrChoice,
		"leaderboard/mmlu_pro/utils.doc_to_text":         mmluProText,
		"leaderboard/mmlu_pro/utils.doc_to_choice":       mmluProChoice,
		"mmlu_pro/utils.doc_to_text":                     mmluProQuestion,
		"mmlu_pro/utils.fewshot_to_text":                 mmluProQuestion,
		"mmlu_pro/utils.fewshot_to_target":               mmluProThoughts,
		"leaderboard/math/utils.doc_to_text":             mathText,
	}
	docsHelpers = map[string]func(*Session, []Doc) ([]Doc, error){
		"hellaswag/utils.process_docs":        each(hellaswagDoc),
		"truthfulqa/utils.process_docs_gen":   each(truthfulDoc),
		"leaderboard/math/utils.process_docs": mathDocs,
	}
	for folder, kind := range gpqaKinds {
		docsHelpers[folder+"/utils.process_docs"] = kind.docs
	}
	for _, subject := range []string{"biology", "business", "chemistry", "computer science", "economics", "engineering",
		"health", "history", "law", "math", "other", "philosophy", "physics", "psychology"} {
		name := strings.ReplaceAll(subject, " ", "_")
		docsHelpers["mmlu_pro/utils.process_"+name] = only("category", subject)
	}
	samplesHelpers = map[string]func(string) ([]Doc, error){
		"leaderboard/math/utils.list_fewshot_samples": minervaSamples,
	}
}

func (fn Function) key() string { return fn.Folder + "/" + fn.Name }

// known tells whether a helper that requests need is written in Go.
func known(fn Function) bool {
	key := fn.key()
	return docHelpers[key] != nil || docsHelpers[key] != nil || samplesHelpers[key] != nil
}

// each makes a helper of what is done to one document: the columns it returns are set.
func each(change func(Doc) (Doc, error)) func(*Session, []Doc) ([]Doc, error) {
	return func(_ *Session, docs []Doc) ([]Doc, error) {
		changed := make([]Doc, len(docs))
		for i, doc := range docs {
			columns, err := change(doc)
			if err != nil {
				return nil, fmt.Errorf("row %d: %w", i, err)
			}
			changed[i] = doc.Copy()
			changed[i].Merge(columns)
		}
		return changed, nil
	}
}

// only keeps the documents with a value in a column.
func only(column string, want Value) func(*Session, []Doc) ([]Doc, error) {
	return func(_ *Session, docs []Doc) ([]Doc, error) {
		var kept []Doc
		for i, doc := range docs {
			v, ok := doc.Get(column)
			if !ok {
				return nil, fmt.Errorf("row %d: %w", i, noColumn(column))
			}
			if jinja.Equal(v, want) {
				kept = append(kept, doc)
			}
		}
		return kept, nil
	}
}

func noColumn(column string) error { return fmt.Errorf("the data has no column %q", column) }

// column returns a text column.
func column(doc Doc, name string) (string, error) {
	v, ok := doc.Get(name)
	if !ok {
		return "", noColumn(name)
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("the column %q holds no text", name)
	}
	return s, nil
}

// columns returns text columns in order.
func columns(doc Doc, names ...string) ([]string, error) {
	texts := make([]string, len(names))
	for i, name := range names {
		var err error
		if texts[i], err = column(doc, name); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// texts returns a column that holds a list of texts.
func texts(doc Doc, name string) ([]string, error) {
	v, ok := doc.Get(name)
	if !ok {
		return nil, noColumn(name)
	}
	return textList(v, fmt.Sprintf("the column %q", name))
}

func textList(v Value, what string) ([]string, error) {
	var items []Value
	switch v := v.(type) {
	case *jinja.List:
		items = v.Items
	case jinja.Tuple:
		items = v
	default:
		return nil, fmt.Errorf("%s holds no list", what)
	}
	list := make([]string, len(items))
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%s holds something other than texts", what)
		}
		list[i] = s
	}
	return list, nil
}

func listOf(texts []string) *jinja.List {
	list := &jinja.List{Items: make([]Value, len(texts))}
	for i, s := range texts {
		list.Items[i] = s
	}
	return list
}

var bracketed = regexp.MustCompile(`\[.*?\]`)

// tidy removes what WikiHow left in HellaSwag's texts.
func tidy(s string) string {
	s = strings.ReplaceAll(jinja.Strip(s), " [title]", ". ")
	return strings.ReplaceAll(bracketed.ReplaceAllString(s, ""), "  ", " ")
}

func hellaswagDoc(doc Doc) (Doc, error) {
	parts, err := columns(doc, "ctx_a", "ctx_b", "activity_label")
	if err != nil {
		return nil, err
	}
	endings, err := texts(doc, "endings")
	if err != nil {
		return nil, err
	}
	label, _ := doc.Get("label")
	gold, ok := jinja.Int(label)
	if s, isText := label.(string); isText {
		n, err := strconv.Atoi(jinja.Strip(s))
		gold, ok = n, err == nil
	}
	if !ok {
		return nil, fmt.Errorf("the label %v is no number", label)
	}
	for i := range endings {
		endings[i] = tidy(endings[i])
	}
	out := jinja.NewDict()
	out.Put("query", tidy(parts[2]+": "+parts[0]+" "+jinja.Capitalize(parts[1])))
	out.Put("choices", listOf(endings))
	out.Put("gold", gold)
	return out, nil
}

// blank cuts a WinoGrande sentence at its gap.
func blank(doc Doc) (before, after string, err error) {
	sentence, err := column(doc, "sentence")
	if err != nil {
		return "", "", err
	}
	before, after, ok := strings.Cut(sentence, "_")
	if !ok {
		return "", "", fmt.Errorf("the sentence %.60q has no gap (_)", sentence)
	}
	return before, after, nil
}

func winograndeText(doc Doc) (Value, error) {
	answer, err := column(doc, "answer")
	if err != nil {
		return nil, err
	}
	i := slices.Index([]string{"1", "2"}, answer)
	if i < 0 {
		return nil, fmt.Errorf("the answer %q is neither 1 nor 2", answer)
	}
	return i, nil
}

func winograndeTarget(doc Doc) (Value, error) {
	_, after, err := blank(doc)
	return jinja.Strip(after), err
}

func winograndeChoice(doc Doc) (Value, error) {
	before, _, err := blank(doc)
	if err != nil {
		return nil, err
	}
	options, err := columns(doc, "option1", "option2")
	if err != nil {
		return nil, err
	}
	return listOf([]string{before + options[0], before + options[1]}), nil
}

const noComment = "I have no comment."

// truthfulDoc ends every answer with a full stop and lets "I have no comment." be right.
func truthfulDoc(doc Doc) (Doc, error) {
	question, err := column(doc, "question")
	if err != nil {
		return nil, err
	}
	out := jinja.NewDict()
	out.Put("question", jinja.Strip(question))
	for _, name := range []string{"correct_answers", "incorrect_answers"} {
		answers, err := texts(doc, name)
		if err != nil {
			return nil, err
		}
		var ended []string
		for _, answer := range answers {
			if answer = jinja.Strip(answer); answer != "" {
				ended = append(ended, strings.TrimSuffix(answer, ".")+".")
			}
		}
		if name == "correct_answers" && !slices.Contains(ended, noComment) {
			ended = append(ended, noComment)
		}
		out.Put(name, listOf(ended))
	}
	return out, nil
}

// docs shuffles each question's options.
func (k gpqaKind) docs(s *Session, docs []Doc) ([]Doc, error) {
	random := s.random
	if k.seed != 0 {
		if s.own == nil {
			s.own = python.NewRandom(k.seed)
		}
		random = s.own
	}
	names := []string{"Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Correct Answer"}
	return each(func(doc Doc) (Doc, error) {
		choices := make([]string, len(names))
		for i, name := range names {
			v, ok := doc.Get(name)
			if !ok {
				return nil, noColumn(name)
			}
			choices[i] = " "
			if v != nil {
				text, err := column(doc, name)
				if err != nil {
					return nil, err
				}
				choices[i] = k.tidy(text)
			}
		}
		right := choices[3]
		random.Shuffle(len(choices), func(i, j int) { choices[i], choices[j] = choices[j], choices[i] })
		out := jinja.NewDict()
		for i, choice := range choices {
			out.Put(fmt.Sprintf("choice%d", i+1), choice)
		}
		if k.list {
			out.Put("choices", listOf(choices))
		}
		out.Put("answer", fmt.Sprintf("(%c)", 'A'+slices.Index(choices, right)))
		return out, nil
	})(s, docs)
}

func (k gpqaKind) tidy(s string) string {
	if k.brackets {
		return tidy(s)
	}
	return strings.ReplaceAll(strings.ReplaceAll(jinja.Strip(s), " [title]", ". "), "  ", " ")
}
