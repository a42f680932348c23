package task

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"d2nwg/internal/jinja"
	"d2nwg/llm/chat"
)

// folderOf writes files into a new folder.
func folderOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const okTask = `
task: mine
dataset_path: data
output_type: multiple_choice
test_split: test
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
doc_to_choice: "{{c}}"
`

// opened writes a task file and its test data, opens the task and builds its requests.
func openedFrom(t testing.TB, yaml, jsonl string, o Options) ([]Instance, error) {
	t.Helper()
	dir := folderOf(t, map[string]string{"tasks/mine.yaml": yaml, "data/test.jsonl": jsonl})
	reg, err := Index(filepath.Join(dir, "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	if len(reg.Broken) > 0 {
		return nil, reg.Broken[0]
	}
	sel, err := reg.Open(NewSession(nil), func(path, name string) (Source, error) { return Folder(filepath.Join(dir, path), name) }, "mine")
	if err != nil {
		return nil, err
	}
	return sel.Tasks[0].Build(o)
}

func TestBadTasksSayWhatIsWrong(t *testing.T) {
	const row = `{"q": "Q", "a": 0, "c": ["x", "y"]}` + "\n"
	three := 3
	for name, c := range map[string]struct {
		yaml, data, want string
		o                Options
	}{
		"no YAML":           {"task: [", row, "did not find expected node content", Options{}},
		"a list":            {"- task", row, "holds no mapping", Options{}},
		"no name":           {"dataset_path: x", row, "neither the key task nor the key group", Options{}},
		"itself":            {"include: mine.yaml", row, "its includes lead back to it", Options{}},
		"no include":        {"include: absent.yaml", row, "absent.yaml", Options{}},
		"unknown key":       {okTask + "colour: red", row, "no key colour", Options{}},
		"output type":       {okTask + "output_type: guess", row, "output_type has to be one of", Options{}},
		"number":            {okTask + "num_fewshot: many", row, "num_fewshot has to be a number", Options{}},
		"helper":            {okTask + "process_docs: !function utils.process_docs", row, "utils.process_docs", Options{}},
		"class":             {"task: mine\nclass: !function task.Mine", row, "task.Mine", Options{}},
		"no split":          {strings.ReplaceAll(okTask, "test_split: test", "test_split: dev"), row, `no file of the split "dev"`, Options{}},
		"no splits at all":  {strings.ReplaceAll(okTask, "test_split: test", ""), row, "neither a test_split nor a validation_split", Options{}},
		"no documents":      {okTask, "\n", "has no documents", Options{}},
		"no JSON":           {okTask, "{", "line 1", Options{}},
		"no object":         {okTask, "[]", "line 1 is no JSON object", Options{}},
		"missing column":    {okTask, `{"a": 0, "c": ["x"]}`, "'q' is undefined", Options{}},
		"later missing":     {okTask, row + `{"q": "Q", "a": 0}`, "document 1: doc_to_choice gives no list", Options{}},
		"no choices":        {okTask, `{"q": "Q", "a": 0, "c": []}`, "no choices", Options{}},
		"choices no list":   {okTask, `{"q": "Q", "a": 0, "c": 7}`, "no list", Options{}},
		"choices no Python": {strings.ReplaceAll(okTask, "{{c}}", "{{q}} or"), row, "no Python literal", Options{}},
		"empty choice":      {okTask, `{"q": "Q", "a": 0, "c": ["x", ""]}`, "empty text as choice 1", Options{}},
		"target beyond":     {okTask, `{"q": "Q", "a": 2, "c": ["x", "y"]}`, "gives 2, but there are 2 choices", Options{}},
		"template":          {strings.ReplaceAll(okTask, "{{q}}", "{{q"), row, "the template", Options{}},
		"template's tag":    {strings.ReplaceAll(okTask, "{{q}}", "{% include 'x' %}"), row, "isn't supported", Options{}},
		"endless template":  {strings.ReplaceAll(okTask, "{{q}}", "{{ 'a' * 10**12 }}"), row, "goes beyond", Options{}},
		"too few shots":     {okTask, row, "sample of", Options{NumFewshot: &three}},
		"no sampler":        {okTask + "fewshot_config: {sampler: best}", row, `no few-shot sampler "best"`, Options{}},
		"limit and samples": {okTask, row, "exclude each other", Options{Limit: 1, Samples: []int{0}}},
		"sample beyond":     {okTask, row, "no sample 7", Options{Samples: []int{7}}},
		"negative limit":    {okTask, row, "above 0", Options{Limit: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openedFrom(t, c.yaml, c.data, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestOneChoiceAndLongPrompts(t *testing.T) {
	long := strings.Repeat("a b ", 1<<18)
	in, err := openedFrom(t, okTask, `{"q": "`+long+`", "a": 0, "c": ["x"]}`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r := in[0].Requests; len(r) != 1 || r[0].Context != long || r[0].Continuation != " x" {
		t.Errorf("%d requests, %d bytes of context", len(r), len(r[0].Context))
	}
}

func TestHelpersAreRefusedByName(t *testing.T) {
	_, err := openedFrom(t, okTask+"custom_dataset: !function tools.load", "{}", Options{})
	if !errors.Is(err, ErrHelper) || !strings.Contains(err.Error(), "tools.load") {
		t.Errorf("error %v", err)
	}
}

func TestSamplesAndLimits(t *testing.T) {
	data := strings.Repeat(`{"q": "Q", "a": 0, "c": ["x"]}`+"\n", 10)
	for _, c := range []struct {
		o    Options
		want []int
	}{
		{Options{Limit: 2}, []int{0, 1}}, {Options{Limit: 0.11}, []int{0, 1}}, {Options{Limit: 99}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{Options{Samples: []int{7, 3}}, []int{3, 7}},
	} {
		in, err := openedFrom(t, okTask, data, c.o)
		if err != nil {
			t.Fatal(err)
		}
		if len(in) != len(c.want) {
			t.Fatalf("%+v: %d documents, want %v", c.o, len(in), c.want)
		}
		for i, want := range c.want {
			if in[i].TrueID != want || in[i].DocID != i {
				t.Errorf("%+v: document %d is %d, want %d", c.o, in[i].DocID, in[i].TrueID, want)
			}
		}
	}
}

func TestChatTemplateContinues(t *testing.T) {
	tmpl, err := chat.Parse("{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}" +
		"<{{ m.role }}>{{ m.content|trim }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")
	if err != nil {
		t.Fatal(err)
	}
	render := FromTemplate(tmpl, time.Time{})
	user := []Message{{"system", "s"}, {"user", "u"}}
	for _, c := range []struct {
		messages []Message
		add      bool
		want     string
	}{
		{user, true, "<user>u</><assistant>"},
		{append(user, Message{"assistant", "So "}), false, "<user>u</><assistant>So"},
	} {
		got, err := render(c.messages, c.add)
		if err != nil || got != c.want {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
}

func TestYAMLReadsAsPyYAML(t *testing.T) {
	for text, want := range map[string]Value{
		"yes": true, "Off": false, "null": nil, "~": nil, "1_000": 1000, "0x1F": 31, "017": 15, "1:30": 90, "-3": -3,
		"1.5": 1.5, "1e5": "1e5", "1.0e+5": 1e5, ".5": .5, "y": "y", "2021-01-01": "2021-01-01", "08": "08", "0.1.3": "0.1.3",
	} {
		if got := plainScalar(text); !jinja.Equal(got, want) || (got == true) != (want == true) {
			t.Errorf("%s: %v (%T), want %v", text, got, got, want)
		}
	}
}

// BenchmarkBuildARC builds the requests of 1,172 documents with 25 shots each, drawn from 1,119, as arc_challenge's.
func BenchmarkBuildARC(b *testing.B) {
	w := newWorld(b)
	c, err := w.config("arc_challenge")
	if err != nil {
		b.Fatal(err)
	}
	data := w.data(b, c)
	test := data.Splits["test"]
	for len(data.Splits["test"]) < 1172 {
		data.Splits["test"] = append(data.Splits["test"], test[len(data.Splits["test"])%len(test)])
	}
	shots := 25
	docs := 0
	for b.Loop() {
		task, err := NewSession(nil).Open(c, data)
		if err != nil {
			b.Fatal(err)
		}
		in, err := task.Build(Options{NumFewshot: &shots})
		if err != nil {
			b.Fatal(err)
		}
		docs += len(in)
	}
	b.ReportMetric(float64(docs)/b.Elapsed().Seconds(), "documents/s")
}
