package taskrun

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"d2nwg/eval/task"
	"d2nwg/internal/files"
	"d2nwg/internal/jinja"
	"d2nwg/internal/journal"
)

// Info is what a results file tells besides the scores.
type Info struct {
	Model              string // folder or name of the model
	Parameters         int64
	DType              string // what weights are multiplied with
	SHA                string // hash of the weights
	Limit              float64
	Resamples          int
	GenKwargs          task.Doc
	FewshotSeed        int
	SystemInstruction  string
	ChatTemplate       string // its source; "" = none applied
	FewshotAsMultiturn bool
	Profile            task.Profile
	Version            string // of d2nwg
	Started            time.Time
	Seconds            float64
}

// Results is the evaluation as a results file of the harness holds it. What the harness lacks stands at the end: the
// profile, the tokens computed, the data's checksums, and the leaderboard's normalized scores.
func (e *Evaluation) Results(info Info) task.Doc {
	r := jinja.NewDict()
	results, groups := jinja.NewDict(), jinja.NewDict()
	for _, t := range e.Tasks {
		results.Put(t.Task.Name(), t.result())
	}
	for _, g := range e.Groups {
		results.Put(g.Group.Name, g.result())
		if len(g.Group.Aggregate) > 0 {
			groups.Put(g.Group.Name, g.result())
		}
	}
	r.Put("results", results)
	if groups.Len() > 0 {
		r.Put("groups", groups)
	}
	e.describe(r)
	info.describe(r, e)
	e.extras(r, info)
	return r
}

func (t *TaskResult) result() *jinja.Dict {
	d := object("name", t.Task.Name(), "alias", cmp.Or(t.Task.Config.TaskAlias, t.Task.Name()), "sample_len", len(t.Task.Instances))
	putMetrics(d, t.Metrics)
	return d
}

func (g *GroupResult) result() *jinja.Dict {
	d := object("alias", cmp.Or(g.Group.Alias, g.Group.Name), "name", g.Group.Name)
	if len(g.Group.Aggregate) == 0 {
		return d
	}
	d.Put("sample_len", g.Size)
	putMetrics(d, g.Metrics)
	counts := jinja.NewDict()
	for _, m := range g.Metrics {
		counts.Put(m.Key(), g.Counts[m.Key()])
	}
	if counts.Len() > 0 {
		d.Put("sample_count", counts)
	}
	return d
}

func putMetrics(d *jinja.Dict, all []Aggregate) {
	for _, m := range all {
		d.Put(m.Key(), m.Value)
		d.Put(m.Metric+"_stderr,"+m.Filter, stdErr(m))
	}
}

func stdErr(m Aggregate) task.Value {
	if m.HasStdErr {
		return m.StdErr
	}
	return "N/A"
}

// describe adds what tasks and groups are.
func (e *Evaluation) describe(r *jinja.Dict) {
	members, configs, versions := jinja.NewDict(), map[string]task.Value{}, map[string]task.Value{}
	shots, better, counts := map[string]task.Value{}, map[string]task.Value{}, jinja.NewDict()
	for _, t := range e.Tasks {
		name := t.Task.Name()
		configs[name] = dump(t.Task)
		versions[name] = version(t.Task.Config.Metadata, "Yaml")
		shots[name] = t.Task.Shots
		b := jinja.NewDict()
		for _, h := range t.higher {
			b.Put(h.metric, h.better)
		}
		better[name] = b
		counts.Put(name, object("original", t.Task.Documents, "effective", len(t.Task.Instances)))
	}
	for _, g := range e.Groups {
		name := g.Group.Name
		members.Put(name, list(g.Group.Children))
		versions[name] = pythonText(version(g.Group.Metadata, "N/A"))
		inherit(name, g.Group.Children, shots, better)
	}
	r.Put("group_subtasks", members)
	r.Put("configs", byName(configs))
	r.Put("versions", byName(versions))
	r.Put("n-shot", byName(shots))
	r.Put("higher_is_better", byName(better))
	r.Put("n-samples", counts)
}

// inherit gives a group the shots its members agree on, and their metrics.
func inherit(group string, children []string, shots, better map[string]task.Value) {
	seen := map[task.Value]bool{}
	all := jinja.NewDict()
	for _, name := range children {
		if n, ok := shots[name]; ok {
			seen[n] = true
		}
		of, ok := better[name].(*jinja.Dict)
		if !ok {
			continue
		}
		for key, b := range of.All() {
			if had, twice := all.Get(key.(string)); twice && had != b {
				b = nil
			}
			all.Put(key.(string), b)
		}
	}
	if len(seen) == 1 {
		for n := range seen {
			shots[group] = n
		}
	}
	if all.Len() > 0 {
		better[group] = all
	}
}

func byName(m map[string]task.Value) *jinja.Dict {
	d := jinja.NewDict()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		d.Put(name, m[name])
	}
	return d
}

func version(metadata task.Doc, usual string) task.Value {
	if metadata != nil {
		if v, ok := metadata.Get("version"); ok {
			return v
		}
	}
	return usual
}

// describe adds how the evaluation was made.
func (i Info) describe(r *jinja.Dict, e *Evaluation) {
	config := object("model", "d2nwg", "model_args", object("pretrained", i.Model), "model_num_parameters", i.Parameters,
		"model_dtype", i.DType, "model_revision", "main", "model_sha", i.SHA, "batch_size", nil, "batch_sizes", &jinja.List{},
		"device", "cpu", "use_cache", nil, "limit", limitValue(i.Limit), "bootstrap_iters", i.Resamples, "gen_kwargs", orNull(i.GenKwargs),
		"random_seed", 0, "numpy_seed", 1234, "torch_seed", 1234, "fewshot_seed", i.FewshotSeed)
	r.Put("config", config)
	r.Put("git_hash", nil)
	r.Put("date", float64(i.Started.UnixMicro())/1e6)
	r.Put("pretty_env_info", "d2nwg "+i.Version)
	r.Put("transformers_version", "N/A")
	r.Put("lm_eval_version", "N/A")
	r.Put("upper_git_hash", nil)
	hashes := jinja.NewDict()
	for _, t := range e.Tasks {
		hashes.Put(t.Task.Name(), t.Hash)
	}
	r.Put("task_hashes", hashes)
	r.Put("model_source", "d2nwg")
	r.Put("model_name", i.Model)
	r.Put("model_name_sanitized", SanitizeModel(i.Model))
	putHashed(r, "system_instruction", i.SystemInstruction)
	r.Put("fewshot_as_multiturn", i.FewshotAsMultiturn)
	putHashed(r, "chat_template", i.ChatTemplate)
	r.Put("total_evaluation_time_seconds", floatText(i.Seconds))
}

func putHashed(r *jinja.Dict, key, text string) {
	var value, hash task.Value
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		value, hash = text, hex.EncodeToString(sum[:])
	}
	r.Put(key, value)
	r.Put(key+"_sha", hash)
}

func orNull(d task.Doc) task.Value {
	if d == nil {
		return nil
	}
	return d
}

func limitValue(x float64) task.Value {
	switch {
	case x == 0:
		return nil
	case x >= 1 && x == math.Trunc(x):
		return int(x)
	}
	return x
}

// extras adds what the harness doesn't tell.
func (e *Evaluation) extras(r *jinja.Dict, info Info) {
	r.Put("profile", string(cmp.Or(info.Profile, task.Current)))
	tokens, data := jinja.NewDict(), jinja.NewDict()
	for _, t := range e.Tasks {
		tokens.Put(t.Task.Name(), object("naive", t.Tokens.Naive, "computed", t.Tokens.Computed))
		files := &jinja.List{}
		for _, f := range t.Task.Files {
			files.Items = append(files.Items, object("path", f.Path, "sha256", f.SHA256))
		}
		data.Put(t.Task.Name(), files)
	}
	r.Put("tokens", tokens)
	r.Put("data", data)
	scores, average, complete := e.Board().Normalize()
	if len(scores) == 0 {
		return
	}
	normalized := jinja.NewDict()
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		normalized.Put(name, scores[name])
	}
	if complete {
		normalized.Put("average", average)
	}
	r.Put("leaderboard_v2_normalized", normalized)
}

var unsafeName = regexp.MustCompile(`["<>:/|\\?*\[\]]+`)

// SanitizeModel is a model's name as a folder.
func SanitizeModel(name string) string { return unsafeName.ReplaceAllString(name, "__") }

// Folder is where results of a model go below an output path; a path that ends in .json names the file itself.
func Folder(output, model string) string {
	if filepath.Ext(output) == ".json" {
		return filepath.Dir(output)
	}
	return filepath.Join(output, SanitizeModel(model))
}

// Write writes the results file and, with samples, a file of samples a task. It returns the results file's path. The
// journal (nil = none) keeps the time in the files' names until all are written, so that an interrupted Write leaves no
// files of another time behind.
func (e *Evaluation) Write(output string, info Info, samples bool, j *journal.Journal) (string, error) {
	dir := Folder(output, info.Model)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	stamp, written, err := e.stamp(info, j)
	if err != nil {
		return "", err
	}
	if samples {
		for _, t := range e.Tasks {
			var b bytes.Buffer
			for _, s := range t.Samples {
				b.Write(encode(s, 0))
				b.WriteByte('\n')
			}
			path := filepath.Join(dir, fmt.Sprintf("samples_%s_%s.jsonl", t.Task.Name(), stamp))
			if err := files.Write(path, b.Bytes()); err != nil {
				return "", err
			}
		}
	}
	path := filepath.Join(dir, "results_"+stamp+".json")
	if filepath.Ext(output) == ".json" {
		path = strings.TrimSuffix(output, ".json") + "_" + stamp + ".json"
	}
	if err := files.Write(path, encode(e.Results(info), 2)); err != nil { // the results last: they tell that the samples are there
		return "", err
	}
	return path, written()
}

// stampKind is the kind of the journal's records that hold the time in the names of files being written.
const stampKind = "files of"

// stamp is the time in the files' names, and what to call once all of them are written.
func (e *Evaluation) stamp(info Info, j *journal.Journal) (stamp string, written func() error, err error) {
	h := sha256.New()
	for _, t := range e.Tasks {
		fmt.Fprintf(h, "%q %s %d\n", t.Task.Name(), t.Hash, t.Task.Shots)
	}
	key := hex.EncodeToString(h.Sum(nil))
	written = func() error { return j.Append(stampKind, key, "") }
	if _, err := j.Get(stampKind, key, &stamp); err != nil || stamp != "" {
		return stamp, written, err
	}
	stamp = info.Started.Add(time.Duration(info.Seconds * 1e9)).Format("2006-01-02T15-04-05.000000")
	return stamp, written, j.Append(stampKind, key, stamp)
}
