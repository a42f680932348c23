package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

func shared(t testing.TB) string {
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

// goldenRow is a line of a golden file that holds a request.
type goldenRow struct {
	Task           string          `json:"task"`
	Variant        string          `json:"variant"`
	DocID          int             `json:"doc_id"`
	NumFewshot     int             `json:"num_fewshot"`
	FewshotSeed    int             `json:"fewshot_seed"`
	FewshotIndices []int           `json:"fewshot_indices"`
	RequestType    OutputType      `json:"request_type"`
	Context        *string         `json:"context"`
	Contexts       []string        `json:"contexts"`
	Continuations  []string        `json:"continuations"`
	GenKwargs      json.RawMessage `json:"gen_kwargs"`
	Target         json.RawMessage `json:"target"`
	Doc            json.RawMessage `json:"doc"`
	DocHash        string          `json:"doc_hash"`
	PromptHash     string          `json:"prompt_hash"`
	TargetHash     string          `json:"target_hash"`
	ChatCalls      []struct {
		Messages []struct{ Role, Content string } `json:"messages"`
		Add      bool                             `json:"add_generation_prompt"`
	} `json:"chat_calls"`
}

// goldenLines reads the objects of a golden file, gzipped or not.
func goldenLines(t testing.TB, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		if data, err = unpack(data); err != nil {
			t.Fatal(err)
		}
	}
	return slices.DeleteFunc(bytes.Split(data, []byte("\n")), func(line []byte) bool { return len(line) == 0 })
}

// rowsOf reads the requests of a golden file; nil where it holds none.
func rowsOf(t *testing.T, path string) []goldenRow {
	t.Helper()
	var rows []goldenRow
	for _, line := range goldenLines(t, path) {
		var row goldenRow
		if err := json.Unmarshal(line, &row); err != nil || row.RequestType == "" || row.DocHash == "" {
			return nil
		}
		rows = append(rows, row)
	}
	return rows
}

func llama3(messages []Message, generation bool) string {
	var out strings.Builder
	out.WriteString("<|begin_of_text|>")
	for _, m := range messages {
		out.WriteString("<|start_header_id|>" + m.Role + "<|end_header_id|>\n\n" + jinja.Strip(m.Content) + "<|eot_id|>")
	}
	if generation {
		return out.String() + "<|start_header_id|>assistant<|end_header_id|>\n\n"
	}
	return strings.TrimSuffix(out.String(), "<|eot_id|>")
}

// options are those of a golden variant.
func (row goldenRow) options() Options {
	shots := row.NumFewshot
	if strings.HasPrefix(row.Variant, "num_fewshot-5") {
		shots = 5
	}
	seed := row.FewshotSeed
	if after, ok := strings.CutPrefix(row.Variant, "fewshot-seed-"); ok {
		if n, err := strconv.Atoi(after); err == nil {
			seed = n
		}
	}
	o := Options{NumFewshot: &shots, FewshotSeed: &seed, FewshotAsMultiturn: strings.Contains(row.Variant, "multiturn")}
	switch {
	case strings.HasSuffix(row.Variant, "-sys-nl"):
		o.SystemInstruction = "You are a helpful assistant.\n"
	case strings.HasSuffix(row.Variant, "-sys"):
		o.SystemInstruction = "You are a helpful assistant."
	}
	return o
}

// chatCall is what a chat template was asked.
type chatCall struct {
	messages   []Message
	generation bool
}

// built builds a task of a golden as a variant says; calls are what the chat template was asked, in order.
func (w *world) built(t *testing.T, task *Task, row goldenRow) (instances []Instance, calls []chatCall) {
	t.Helper()
	o := row.options()
	if strings.HasPrefix(row.Variant, "chat-") {
		o.Chat = func(messages []Message, generation bool) (string, error) {
			calls = append(calls, chatCall{messages, generation})
			return llama3(messages, generation), nil
		}
	}
	instances, err := task.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return instances, calls
}

// differs compares an instance with its golden row and says what differs.
func (row goldenRow) differs(t *testing.T, in Instance, calls []chatCall) string {
	contexts := row.Contexts
	if row.Context != nil {
		contexts = []string{*row.Context}
	}
	for i, r := range in.Requests {
		want := contexts[min(i, len(contexts)-1)]
		if r.Context != want {
			return fmt.Sprintf("context %d: %s", i, cmp.Diff(want, r.Context))
		}
		if r.Type != row.RequestType || r.Index != i || r.DocID != row.DocID {
			return fmt.Sprintf("request %+v", r)
		}
		if row.Continuations != nil && (i >= len(row.Continuations) || r.Continuation != row.Continuations[i]) {
			return fmt.Sprintf("continuation %d: %q, want %q", i, r.Continuation, row.Continuations)
		}
	}
	if row.Continuations != nil && len(in.Requests) != len(row.Continuations) || row.RequestType == GenerateUntil && len(in.Requests) != 1 {
		return fmt.Sprintf("%d requests", len(in.Requests))
	}
	if row.GenKwargs != nil {
		want, err := jinja.DecodeJSON(row.GenKwargs)
		if err != nil {
			t.Fatal(err)
		}
		if !jinja.Equal(want, in.Requests[0].GenKwargs) {
			got, _ := jinja.Repr(in.Requests[0].GenKwargs)
			return fmt.Sprintf("gen_kwargs %s, want %s", got, row.GenKwargs)
		}
	}
	target, err := jinja.DecodeJSON(row.Target)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case !jinja.Equal(target, in.Target):
		return fmt.Sprintf("target %v, want %s", in.Target, row.Target)
	case !slices.Equal(row.FewshotIndices, in.FewshotIndices):
		return fmt.Sprintf("few-shots %v, want %v", in.FewshotIndices, row.FewshotIndices)
	case row.DocHash != in.DocHash:
		doc, _ := jinja.EncodeJSON(in.Doc, 0)
		return fmt.Sprintf("doc_hash of %.2000s\nwant %.2000s", doc, row.Doc)
	case row.PromptHash != in.PromptHash || row.TargetHash != in.TargetHash:
		return "prompt_hash or target_hash"
	}
	for i, call := range row.ChatCalls {
		want := chatCall{generation: call.Add}
		for _, m := range call.Messages {
			want.messages = append(want.messages, Message(m))
		}
		if diff := cmp.Diff(want, calls[i], cmp.AllowUnexported(chatCall{})); diff != "" {
			return fmt.Sprintf("chat call %d: %s", i, diff)
		}
	}
	return ""
}

func TestGoldenRequests(t *testing.T) {
	w := newWorld(t)
	files, err := filepath.Glob(filepath.Join(w.folder, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	perFile := map[string][]goldenRow{}
	for _, path := range files {
		if rows := rowsOf(t, path); rows != nil {
			perFile[path] = rows
			for _, row := range rows {
				w.rows[row.Task] = append(w.rows[row.Task], row)
			}
		}
	}
	if len(perFile) == 0 {
		t.Fatal("no golden file holds requests")
	}
	for _, path := range sorted(perFile) {
		t.Run(filepath.Base(path), func(t *testing.T) { w.checkFile(t, strings.TrimSuffix(filepath.Base(path), ".jsonl"), perFile[path]) })
	}
}

func (w *world) checkFile(t *testing.T, name string, rows []goldenRow) {
	together := NewSession(nil)
	tasks := map[string]*Task{}
	open := func(s *Session, task string) *Task {
		c, err := w.config(task)
		if err != nil {
			t.Logf("%s isn't among the task files: %v", task, err)
			return nil
		}
		opened, err := s.Open(c, w.data(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return opened
	}
	for _, task := range sessionOf[name] {
		tasks[task] = open(together, task)
	}
	type key struct{ task, variant string }
	type result struct {
		instances []Instance
		calls     []chatCall
	}
	done := map[key]result{}
	held, missing := 0, 0
	for _, row := range rows {
		if _, ok := tasks[row.Task]; !ok {
			tasks[row.Task] = open(NewSession(nil), row.Task)
		}
		task := tasks[row.Task]
		if task == nil {
			missing++
			continue
		}
		k := key{row.Task, row.Variant + strconv.Itoa(row.NumFewshot)}
		if _, ok := done[k]; !ok {
			var r result
			r.instances, r.calls = w.built(t, task, row)
			done[k] = r
		}
		r := done[k]
		calls := r.calls
		if n := max(1, task.MultipleInput); len(calls) > 0 {
			calls = calls[n*row.DocID:][:n]
		}
		if row.DocID >= len(r.instances) {
			t.Errorf("%s %s: no document %d", row.Task, row.Variant, row.DocID)
			continue
		}
		if bad := row.differs(t, r.instances[row.DocID], calls); bad != "" {
			t.Errorf("%s %s document %d: %s", row.Task, row.Variant, row.DocID, bad)
			continue
		}
		held++
	}
	t.Logf("%d of %d held, %d without a task file", held, len(rows), missing)
}

// jinjaDoc is the document of jinja_cases.jsonl, whose line was cut where it held U+2028; the outputs tell the rest.
const jinjaDoc = `{"q": " Hello ", "n": 3, "f": 0.1, "f2": 1e+20, "t": true, "x": null,
	"l": ["a", "b'c", "d\"e", "f\\g", "é\n", "h\u2028"], "d": {"k": "v", "n": [1, 2.0, false, null]},
	"choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "B", "idx": 1, "s": "['x', 'y']"}`

// pairs reads the pairs of a JSON object up to where the line was cut.
func pairs(line []byte) map[string]json.RawMessage {
	found := map[string]json.RawMessage{}
	dec := json.NewDecoder(bytes.NewReader(line))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			break
		}
		var v json.RawMessage
		if dec.Decode(&v) != nil {
			break
		}
		found[key.(string)] = v
	}
	return found
}

func TestGoldenJinja(t *testing.T) {
	lines := goldenLines(t, filepath.Join(shared(t), "golden", "eval", "jinja_cases.jsonl"))
	doc, err := jinja.DecodeJSON([]byte(jinjaDoc))
	if err != nil {
		t.Fatal(err)
	}
	held, all := 0, 0
	for _, line := range lines {
		var c struct {
			template, err string
			out           *string
		}
		p := pairs(line)
		if whole := p["doc"]; whole != nil {
			if doc, err = jinja.DecodeJSON(whole); err != nil {
				t.Fatal(err)
			}
		}
		if json.Unmarshal(p["template"], &c.template) != nil {
			t.Logf("no case: %.60s", line)
			continue
		}
		json.Unmarshal(p["error"], &c.err) // absent where it renders
		json.Unmarshal(p["out"], &c.out)
		all++
		if c.out == nil && c.err == "" {
			t.Errorf("%s: neither an output nor an error", line)
		} else if bad := jinjaCase(doc.(Doc), c.template, c.err, c.out, p["literal_eval"]); bad != "" {
			t.Errorf("%s: %s", c.template, bad)
		} else {
			held++
		}
	}
	t.Logf("%d of %d held", held, all)
}

func jinjaCase(doc Doc, template, wantError string, want *string, wantLiteral json.RawMessage) string {
	task := &Task{Config: &Config{}, templates: map[string]*jinja.Template{}}
	got, err := task.render(template, doc)
	if wantError != "" {
		if err == nil || !strings.Contains(err.Error(), wantError) {
			return fmt.Sprintf("%q, error %v, want %s", got, err, wantError)
		}
		return ""
	}
	if err != nil {
		return err.Error()
	}
	if got != *want {
		return fmt.Sprintf("%q, want %q", got, *want)
	}
	if wantLiteral == nil {
		return ""
	}
	v, err := python.Literal(got)
	if err != nil {
		return err.Error()
	}
	literal, err := jinja.EncodeJSON(v, 0)
	if err != nil {
		return err.Error()
	}
	var a, b any
	if json.Unmarshal([]byte(literal), &a) != nil || json.Unmarshal(wantLiteral, &b) != nil || !cmp.Equal(a, b) {
		return fmt.Sprintf("literal %s, want %s", literal, wantLiteral)
	}
	return ""
}
