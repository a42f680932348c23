package task

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"d2nwg/internal/jinja"
)

// world is the data that the goldens were made with.
type world struct {
	folder string
	reg    *Registry
	rows   map[string][]goldenRow // of all files, by task
	cached map[string][]Doc
}

func newWorld(t testing.TB) *world {
	t.Helper()
	folders := []string{filepath.Join(shared(t), "harness")}
	if more := os.Getenv("D2NWG_HARNESS"); more != "" { // a whole checkout, for the tasks whose files aren't shared
		folders = []string{more}
	}
	reg, err := Index(folders...)
	if err != nil {
		t.Fatal(err)
	}
	return &world{folder: filepath.Join(shared(t), "golden", "eval"), reg: reg, rows: map[string][]goldenRow{}, cached: map[string][]Doc{}}
}

func (w *world) file(t testing.TB, name string) []Doc {
	t.Helper()
	if docs, ok := w.cached[name]; ok {
		return docs
	}
	docs, err := readLines("", bytes.Join(goldenLines(t, filepath.Join(w.folder, "data", name+".jsonl.gz")), []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	w.cached[name] = docs
	return docs
}

// where keeps the rows with a value in a column, which is dropped if it begins with "_".
func where(docs []Doc, column, want string) []Doc {
	var kept []Doc
	for _, doc := range docs {
		if v, _ := doc.Get(column); v == want {
			if strings.HasPrefix(column, "_") {
				doc = args(doc, column)
			}
			kept = append(kept, doc)
		}
	}
	return kept
}

// hellaswagRow and winograndeRow are the formulae of the pools that golden/eval describes.
func hellaswagRow(i int) Doc {
	d := jinja.NewDict()
	second := "He then"
	if i%3 == 0 {
		second = ""
	}
	first := fmt.Sprintf("Person number %d walks to place %d.", i, i*7%1000)
	endings := make([]string, 4)
	for k := range endings {
		endings[k] = fmt.Sprintf("opens door %d [step] and  leaves.", i+k)
	}
	d.Put("ind", i)
	d.Put("activity_label", fmt.Sprintf("Activity %d", i%97))
	d.Put("ctx_a", first)
	d.Put("ctx_b", second)
	d.Put("ctx", first+" "+second)
	d.Put("endings", listOf(endings))
	d.Put("source_id", fmt.Sprintf("syn~%d", i))
	d.Put("split", "train")
	d.Put("split_type", "indomain")
	d.Put("label", strconv.Itoa(i%4))
	return d
}

func winograndeRow(i int) Doc {
	d := jinja.NewDict()
	d.Put("sentence", fmt.Sprintf("Trophy %d does not fit in suitcase %d because the _ is too number %d.", i, i, i))
	d.Put("option1", fmt.Sprintf("trophy %d", i))
	d.Put("option2", fmt.Sprintf("suitcase %d", i))
	d.Put("answer", strconv.Itoa(1+i%2))
	return d
}

func formula(n int, row func(int) Doc) []Doc {
	docs := make([]Doc, n)
	for i := range docs {
		docs[i] = row(i)
	}
	return docs
}

// data is what a task of the goldens reads.
func (w *world) data(t testing.TB, c *Config) *Dataset {
	t.Helper()
	splits := map[string][]Doc{}
	switch c.DatasetPath {
	case "allenai/ai2_arc":
		splits["train"], splits["test"] = w.file(t, "arc_challenge.train"), w.file(t, "arc_challenge.test")
	case "Rowan/hellaswag":
		splits["train"], splits["validation"] = formula(39905, hellaswagRow), w.file(t, "hellaswag.validation48")
	case "allenai/winogrande":
		splits["train"], splits["validation"] = formula(40398, winograndeRow), w.file(t, "winogrande.validation48")
	case "openai/gsm8k":
		splits["train"], splits["test"] = w.file(t, "gsm8k.train"), w.file(t, "gsm8k.test")
	case "cais/mmlu":
		splits["dev"] = where(w.file(t, "mmlu.dev"), "subject", c.DatasetName)
		splits["test"] = where(w.file(t, "mmlu.test4"), "subject", c.DatasetName)
	case "TIGER-Lab/MMLU-Pro":
		splits["test"], splits["validation"] = w.file(t, "mmlu_pro.test200"), w.file(t, "mmlu_pro.validation_synthetic")
		if rows := w.rowDocs(t, c.Task); c.ProcessDocs.Name != "" && rows != nil { // one subject
			splits["test"] = rows
		}
	case "Idavidrein/gpqa":
		splits["train"] = where(w.file(t, "gpqa_hand"), "_cfg", c.DatasetName)
	case "TAUR-Lab/MuSR":
		splits[c.TestSplit] = where(w.file(t, "musr_hand"), "_split", c.TestSplit)
	case "truthfulqa/truthful_qa":
		splits["validation"] = w.file(t, "truthfulqa_mc.validation")
	case "wis-k/instruction-following-eval":
		splits["train"] = w.file(t, "ifeval.train")
	default: // each golden row holds its document, and the few-shots don't hang on the others
		splits[c.EvalSplit()] = w.rowDocs(t, c.Task)
		if c.TrainingSplit != "" && splits[c.TrainingSplit] == nil {
			splits[c.TrainingSplit] = splits[c.EvalSplit()]
		}
	}
	return &Dataset{Splits: splits}
}

func (w *world) rowDocs(t testing.TB, task string) []Doc {
	t.Helper()
	var docs []Doc
	for _, row := range w.rows[task] {
		if row.Doc == nil {
			continue
		}
		v, err := jinja.DecodeJSON(row.Doc)
		if err != nil {
			t.Fatal(err)
		}
		for len(docs) <= row.DocID {
			docs = append(docs, v.(Doc))
		}
		docs[row.DocID] = v.(Doc)
	}
	return docs
}

// sessionOf are tasks that the goldens opened together, by one of them.
var sessionOf = map[string][]string{"leaderboard_gpqa": {"leaderboard_gpqa_diamond", "leaderboard_gpqa_extended", "leaderboard_gpqa_main"}}

// inline are tasks that were made for the goldens: another one with a gen_prefix.
var inline = map[string][2]string{"arc_gp": {"arc_challenge", "The best answer is"}, "arc_gpws": {"arc_challenge", "The best answer is "}}

func (w *world) config(task string) (*Config, error) {
	base, ok := inline[task]
	if !ok {
		return w.reg.Task(task)
	}
	overrides := jinja.NewDict()
	overrides.Put("task", task)
	overrides.Put("gen_prefix", base[1])
	return w.reg.task(base[0], overrides)
}
