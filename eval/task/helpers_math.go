package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// invalidAnswer stands for a solution without a boxed answer.
const invalidAnswer = "[invalidanswer]"

func mathText(doc Doc) (Value, error) {
	problem, err := column(doc, "problem")
	return "Problem:\n" + problem + "\n\nSolution:", err
}

// mathDocs keeps the hardest level and adds the answer that the solution boxes.
func mathDocs(s *Session, docs []Doc) ([]Doc, error) {
	hard, err := only("level", "Level 5")(s, docs)
	if err != nil {
		return nil, err
	}
	return each(func(doc Doc) (Doc, error) {
		parts, err := columns(doc, "problem", "solution")
		if err != nil {
			return nil, err
		}
		out := jinja.NewDict()
		out.Put("problem", parts[0])
		out.Put("solution", parts[1])
		out.Put("answer", unbox(lastBoxed(parts[1])))
		return out, nil
	})(s, hard)
}

// lastBoxed cuts the last \boxed{…} or \fbox{…} out of a solution, or what follows the last "\boxed " up to a "$".
func lastBoxed(s string) string {
	if i := strings.LastIndex(s, `\boxed `); i >= 0 {
		rest, _, _ := strings.Cut(s[i+len(`\boxed `):], "$")
		return `\boxed ` + rest
	}
	start := strings.LastIndex(s, `\boxed`)
	if start < 0 {
		if start = strings.LastIndex(s, `\fbox`); start < 0 {
			return invalidAnswer
		}
	}
	open := 0
	for i := start; i < len(s); i++ {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return s[start : i+1]
			}
		}
	}
	return invalidAnswer
}

func unbox(s string) string {
	if strings.Contains(s, `\boxed `) {
		if rest, ok := strings.CutPrefix(s, `\boxed `); ok {
			return rest
		}
		return invalidAnswer
	}
	rest, ok := strings.CutPrefix(s, `\boxed{`)
	if rest, closed := strings.CutSuffix(rest, "}"); ok && closed {
		return rest
	}
	return invalidAnswer
}

const minervaFile = "minerva_fewshot_samples.json"

// minervaSamples reads the samples that the harness' helper lists from its source beside the task file, or from a JSON
// file of them beside lm_eval.
func minervaSamples(folder string) ([]Doc, error) {
	source, err := os.ReadFile(filepath.Join(folder, "utils.py"))
	if err == nil {
		_, body, ok := strings.Cut(string(source), "def list_fewshot_samples(")
		_, list, ok2 := strings.Cut(body, "return ")
		if !ok || !ok2 {
			return nil, fmt.Errorf("%s lists no few-shot samples", filepath.Join(folder, "utils.py"))
		}
		v, _, err := python.LiteralPrefix(list)
		if err != nil {
			return nil, fmt.Errorf("%s: the few-shot samples: %w", filepath.Join(folder, "utils.py"), err)
		}
		return samplesOf(v)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	root := folder
	for range 4 { // lm_eval/tasks/leaderboard/math
		root = filepath.Dir(root)
	}
	data, err := os.ReadFile(filepath.Join(root, minervaFile))
	if err != nil {
		return nil, fmt.Errorf("the few-shot samples of MATH are the harness' own: neither %s nor %s is there; point --harness at a checkout of lm-evaluation-harness or install it (pip install lm_eval)",
			filepath.Join(folder, "utils.py"), filepath.Join(root, minervaFile))
	}
	v, err := jinja.DecodeJSON(json.RawMessage(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(root, minervaFile), err)
	}
	return samplesOf(v)
}

func samplesOf(v Value) ([]Doc, error) {
	if d, ok := v.(Doc); ok && d.Len() == 1 { // one list under a name
		for _, list := range d.All() {
			v = list
		}
	}
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, errors.New("the few-shot samples are no list")
	}
	docs := make([]Doc, len(list.Items))
	for i, item := range list.Items {
		if docs[i], ok = item.(Doc); !ok {
			return nil, errors.New("a few-shot sample is no mapping")
		}
	}
	return docs, nil
}
