package chat

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goldenCase is a line of a golden file made with Jinja2.
type goldenCase struct {
	Name     string          `json:"name"`
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
	Expected *string         `json:"expected"`
	Error    *string         `json:"error"` // "TypeName: message"
}

func readGolden(t *testing.T, path string) []goldenCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []goldenCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c goldenCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// failure renders a case and says what differs, "" where nothing does.
func (c goldenCase) failure(now time.Time) string {
	tmpl, err := Parse(c.Template)
	got := ""
	if err == nil {
		got, err = tmpl.RenderJSON(c.Data, now)
	}
	if c.Expected == nil {
		if err == nil {
			return "it rendered, want the error " + *c.Error
		}
		if kind, message, _ := strings.Cut(*c.Error, ": "); kind == "TemplateError" {
			var raised *RaisedError
			if !errors.As(err, &raised) || raised.Message != message {
				return "error " + err.Error() + ", want " + message
			}
		}
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return cmp.Diff(*c.Expected, got)
}

// goldenNow is the day the goldens were made, which some of them print.
var goldenNow = time.Date(2026, 8, 15, 12, 34, 56, 0, time.UTC)

// llamaFamily tells whether a case has to hold exactly: templates of LLaMA 2, 3, 3.1, 3.2, ChatML and Zephyr, known by
// what their markup looks like.
func llamaFamily(c goldenCase) bool {
	marks := []string{"[INST]", "<<SYS>>", "<|start_header_id|>", "<|im_start|>", "<|user|>", "<|assistant|>"}
	for _, mark := range marks {
		if strings.Contains(c.Template, mark) {
			return true
		}
	}
	return strings.Contains(strings.ToLower(c.Name), "llama")
}

func shared(t *testing.T) string {
	dir := os.Getenv("D2NWG_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "golden")); err != nil {
		t.Skipf("no shared test data in %s; set D2NWG_SHARED to run this test", dir)
	}
	return dir
}

func TestGoldenChatTemplates(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t), "golden", "tokenizer", "*chat*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files of chat templates: %v", err)
	}
	for _, path := range files {
		var held, all [2]int // of the other families, of LLaMA's
		for _, c := range readGolden(t, path) {
			family := 0
			if llamaFamily(c) {
				family = 1
			}
			all[family]++
			switch bad := c.failure(goldenNow); {
			case bad == "":
				held[family]++
			case family == 1:
				t.Errorf("%s: %s", c.Name, bad)
			default:
				t.Logf("%s: %s", c.Name, bad)
			}
		}
		t.Logf("%s: %d of %d cases held: %d of %d of the LLaMA family, %d of %d others", filepath.Base(path),
			held[0]+held[1], all[0]+all[1], held[1], all[1], held[0], all[0])
		if held[0]*10 < all[0]*9 {
			t.Errorf("%s: only %d of %d other cases held, want 90 %%", filepath.Base(path), held[0], all[0])
		}
	}
}
