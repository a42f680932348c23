// Package card writes the README.md of a model on a hub, its card, from what a run of d2nwg left: a YAML header that hubs
// read, both verdicts with their baselines, the evaluation, and how to make the weights again. No figure in a card is
// from anywhere but the run's report. It also holds the rules of licences that ask something of derived models.
package card

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"d2nwg/internal/stats"

	"go.yaml.in/yaml/v3"
)

// Card is what a model card is made of.
type Card struct {
	Repo        string            // "org/name"
	BaseModel   string            // the base's hub id; "" when it has none
	BaseAddress string            // where the run read the base: an address with its commit, a path, "bundled"
	License     License           // of the base, and so of this model
	Report      *Report           // the run's
	Recipe      []byte            // the run's recipe.yaml, complete
	Files       map[string]string // published weight files → their sha256
	Patch       *Patch            // when only the generated tensors are published
	Version     string            // of the program that writes the card
}

// Patch says what a published patch makes.
type Patch struct {
	Base, Result map[string]string // files of the base and of the result → their sha256
}

// yamlHeader is the card's header, in the order of its keys.
type yamlHeader struct {
	License     string       `yaml:"license"`
	LicenseName string       `yaml:"license_name,omitempty"`
	LicenseLink string       `yaml:"license_link,omitempty"`
	Library     string       `yaml:"library_name"`
	Pipeline    string       `yaml:"pipeline_tag"`
	BaseModel   []string     `yaml:"base_model,omitempty"`
	Relation    string       `yaml:"base_model_relation,omitempty"`
	Tags        []string     `yaml:"tags"`
	ModelIndex  []modelIndex `yaml:"model-index"`
}

type modelIndex struct {
	Name    string   `yaml:"name"`
	Results []result `yaml:"results"`
}

type result struct {
	Task    typed    `yaml:"task"`
	Dataset typed    `yaml:"dataset"`
	Metrics []metric `yaml:"metrics"`
}

type typed struct {
	Type  string `yaml:"type"`
	Name  string `yaml:"name"`
	Split string `yaml:"split,omitempty"`
}

type metric struct {
	Type  string  `yaml:"type"`
	Name  string  `yaml:"name"`
	Value float64 `yaml:"value"`
}

// Render writes the card. The error says what is missing or not allowed.
func (c *Card) Render() ([]byte, error) {
	if c.Report == nil || len(c.Files) == 0 {
		return nil, errors.New("a model card needs a run's report and the published files")
	}
	if err := c.License.CheckName(c.Repo); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("---\n")
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(c.header()), enc.Close()); err != nil {
		return nil, fmt.Errorf("write the card's header: %w", err)
	}
	out.WriteString("---\n")
	c.body(&out)
	return out.Bytes(), nil
}

func (c *Card) header() yamlHeader {
	h := yamlHeader{
		License: c.License.ID, LicenseName: c.License.Name, LicenseLink: c.License.Link,
		Library: "transformers", Pipeline: "text-generation", Tags: []string{"d2nwg", "generated-weights", "safetensors"},
		ModelIndex: []modelIndex{{Name: path.Base(c.Repo), Results: []result{c.result()}}},
	}
	if c.License.Llama != "" {
		h.Tags = append(h.Tags, "llama", "llama-3")
	}
	if c.Patch != nil {
		h.Library = "d2nwg"
		h.Tags = append(h.Tags, "patch")
	}
	if c.BaseModel != "" {
		h.BaseModel, h.Relation = []string{c.BaseModel}, c.relation()
	}
	return h
}

// relation is "merge" for what was blended from relatives, "finetune" for everything else: the Hub's words know no
// generated weights, and "adapter" means one that a library loads beside the base.
func (c *Card) relation() string {
	if s := c.Report.source(c.Report.Written); s.Kind == "baseline" && slices.Contains([]string{"mean", "interpolation"}, s.Name) {
		return "merge"
	}
	return "finetune"
}

func (c *Card) result() result {
	r := c.Report
	split := r.split()
	score, _, _ := r.source(r.Written).on(split)
	return result{
		Task:    typed{Type: "text-generation", Name: "Text Generation"},
		Dataset: typed{Type: slug(r.Target), Name: r.Target, Split: string(split)},
		Metrics: []metric{{Type: metricType(r.Metric), Name: r.metricName(), Value: r.shown(score)}},
	}
}

// metricType is the Hub's word for a metric.
func metricType(name string) string {
	if name == "exact" {
		return "exact_match"
	}
	return name
}

// metricName says in words what a score is.
func (r *Report) metricName() string {
	switch r.Metric {
	case "exact":
		return "exact match"
	case bitsPerByte:
		return "bits per byte"
	}
	return r.Metric
}

// bitsPerByte is stored with its sign changed, so that larger is better everywhere in a report.
const bitsPerByte = "bits_per_byte"

// shown is a score as people read it.
func (r *Report) shown(score float64) float64 {
	if r.Metric == bitsPerByte {
		return -score
	}
	return score
}

// slug makes a data set's name one that may stand where the Hub wants an identifier.
func slug(name string) string {
	s := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+-", r) {
			return r
		}
		return '-'
	}, name), "-.")
	if s == "" {
		return "data"
	}
	return s
}

// body writes what people read.
func (c *Card) body(out *bytes.Buffer) {
	line := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	r := c.Report
	if !r.Verified() {
		line("**No verified improvement.** %s", text(c.unverified()))
	}
	if c.License.Llama != "" {
		line("\n**%s**", builtWith)
	}
	line("\n# %s\n", text(path.Base(c.Repo)))
	line("Weights generated with d2nwg (Diffusion-based Neural Network Weights Generation) from %s, to do better at %s.",
		c.base(), text(r.Target))
	if r.Describe != "" {
		line("What was wanted, in words: %s", text(r.Describe))
	}
	c.verdicts(out)
	c.evaluation(out)
	c.use(out)
	c.again(out)
	if c.License.Llama != "" {
		line("\n## Licence\n\n%s", c.License.Notice())
	} else if c.License.ID == "unknown" {
		line("\n## Licence\n\nThe base's folder named no licence; whoever uses these weights has to find out what the base's is.")
	}
}

// unverified says why what is published isn't verified.
func (c *Card) unverified() string {
	r := c.Report
	if r.Checkpoint.Verified {
		return fmt.Sprintf("What was verified is the winner of %s; this is the winner of %s.", r.Checkpoint.Candidate, r.Written)
	}
	return sentence(r.Checkpoint.Reason)
}

func (c *Card) base() string {
	switch {
	case c.BaseModel != "":
		return text(c.BaseModel)
	case c.BaseAddress == "bundled":
		return "the small model that ships with d2nwg"
	}
	return "a base that isn't published"
}

func (c *Card) verdicts(out *bytes.Buffer) {
	fmt.Fprintf(out, "\n## Verdicts\n")
	r := c.Report
	for _, v := range []struct {
		question string
		verdict  Verdict
	}{{"Is the checkpoint better than its base?", r.Checkpoint}, {"Is the generator better than every baseline?", r.Generator}} {
		word := "not verified"
		if v.verdict.Verified {
			word = "verified"
		}
		fmt.Fprintf(out, "\n**%s** %s: %s\n", v.question, word, text(sentence(v.verdict.Reason)))
		if len(v.verdict.Comparisons) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n| %s against | gain | interval | lower bound | p |\n|---|---|---|---|---|\n", text(v.verdict.Candidate))
		for _, x := range v.verdict.Comparisons {
			fmt.Fprintf(out, "| %s | %+.4f | [%+.4f, %+.4f] | %+.4f | %.2g |\n", text(x.Against), x.Gain.Gain, x.Gain.Low, x.Gain.High, x.Gain.Lower, x.p())
		}
	}
	if r.Opening > 0 {
		fmt.Fprintf(out, "\nPaired comparisons on the test split, which was opened %s, at the level %.4g.\n", times(r.Opening), r.OpeningAlpha)
	} else {
		fmt.Fprintf(out, "\nThe test split was not opened.\n")
	}
}

func times(opening int) string {
	if opening == 1 {
		return "for the first time"
	}
	return fmt.Sprintf("for time number %d", opening)
}

// p is exact where the metric allows it.
func (x Comparison) p() float64 {
	if x.McNemar != nil {
		return *x.McNemar
	}
	return x.Gain.P
}

func (c *Card) evaluation(out *bytes.Buffer) {
	r := c.Report
	split := r.split()
	better := "more is better"
	if r.Metric == bitsPerByte {
		better = "less is better; a gain is a decrease"
	}
	fmt.Fprintf(out, "\n## Evaluation\n\n%s on the %d items of the %s split of %s; %s. Every source's winner got the same search.\n\n",
		strings.ToUpper(r.metricName()[:1])+r.metricName()[1:], r.Splits[split].Items, split, text(r.Target), better)
	fmt.Fprintf(out, "| source | kind | %s | gain over the base | interval |\n|---|---|---|---|---|\n", r.metricName())
	if base, ok := r.BaseScores[split]; ok {
		fmt.Fprintf(out, "| base | | %.4f | | |\n", r.shown(base.Mean))
	}
	for _, s := range r.Sources {
		score, gain, ok := s.on(split)
		if !ok {
			continue
		}
		name := text(s.Name)
		if s.Name == r.Written {
			name = "**" + name + "** (this model)"
		}
		fmt.Fprintf(out, "| %s | %s | %.4f | %+.4f | [%+.4f, %+.4f] |\n", name, text(s.Kind), r.shown(score), gain.Gain.Gain, gain.Gain.Low, gain.Gain.High)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "\n- %s", text(note))
	}
	if len(r.Notes) > 0 {
		out.WriteByte('\n')
	}
}

func (c *Card) use(out *bytes.Buffer) {
	fmt.Fprintf(out, "\n## Use\n\n")
	if c.Patch == nil {
		fmt.Fprintf(out, "```\nd2nwg chat hf://%s\n```\n", c.Repo)
		return
	}
	from, where := c.BaseAddress, ""
	if !strings.HasPrefix(from, "hf://") {
		from = "BASE"
	}
	if c.BaseAddress == "bundled" {
		where = "\nBASE is the folder `base` in any run whose recipe says `base: bundled`.\n"
	}
	fmt.Fprintf(out, "This repository holds the changed tensors only. With the base they make the whole checkpoint, bit for bit; every file is verified:\n\n"+
		"```\nd2nwg apply %s hf://%s --out %s\n```\n%s", from, c.Repo, path.Base(c.Repo), where)
}

// again writes what repeating the run needs, and what proves that it was repeated.
func (c *Card) again(out *bytes.Buffer) {
	r := c.Report
	fmt.Fprintf(out, "\n## Made by\n\nd2nwg %s, `d2nwg improve --recipe recipe.yaml`, seed %d; every other seed is derived from it.\n\n", text(c.Version), r.Seed)
	fmt.Fprintf(out, "| what | hash |\n|---|---|\n| run | %s |\n| base, weights | %s |\n", text(r.Run), text(r.Base))
	for _, split := range []stats.Split{stats.Select, stats.Confirm, stats.Test} {
		if s, ok := r.Splits[split]; ok {
			fmt.Fprintf(out, "| data, %s | %s |\n", split, text(s.Hash))
		}
	}
	if c.Patch != nil {
		for _, name := range slices.Sorted(maps.Keys(c.Patch.Base)) {
			fmt.Fprintf(out, "| base, %s | %s |\n", text(name), text(c.Patch.Base[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(c.Patch.Result)) {
			if sum := c.Patch.Result[name]; sum != c.Patch.Base[name] {
				fmt.Fprintf(out, "| result, %s | %s |\n", text(name), text(sum))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		fmt.Fprintf(out, "| %s | %s |\n", text(name), text(c.Files[name]))
	}
	recipe := withoutComments(string(c.Recipe))
	fence := "```"
	for strings.Contains(recipe, fence) {
		fence += "`"
	}
	fmt.Fprintf(out, "\nThe recipe, of which recipe.yaml explains every key:\n\n%syaml\n%s\n%s\n", fence, recipe, fence)
}

// withoutComments leaves a recipe's comment lines out.
func withoutComments(recipe string) string {
	var lines []string
	for line := range strings.Lines(recipe) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			lines = append(lines, strings.TrimRight(line, "\r\n"))
		}
	}
	return strings.Join(lines, "\n")
}

// text puts a text into Markdown as it stands, on one line.
func text(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	var b strings.Builder
	for _, r := range s {
		switch {
		case strings.ContainsRune("\\`*_[]<>|#~$&!", r):
			b.WriteByte('\\')
		case r < ' ' || r == 0x7f:
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	if s = strings.TrimSpace(s); s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
