package zoo

import (
	"fmt"
	"math"
	"slices"

	"d2nwg/internal/files"
	"d2nwg/internal/textfile"
	"d2nwg/llm"
)

// Kinds of findings.
const (
	Broken    = "broken"    // it can't be read, or isn't what the manifest says
	Duplicate = "duplicate" // another one does the same
	Useless   = "useless"   // not beyond doubt better than the base, or too bad to learn from
	Untrained = "untrained" // a task to learn from without an adapter
	Ambiguous = "ambiguous" // a description that several tasks share
)

// A Finding is one thing that Check found, with what to do about it.
type Finding struct {
	Kind   string `json:"kind"`
	What   string `json:"what"` // the adapter's folder, or the task's name
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
}

// CheckOptions are Check's thresholds.
type CheckOptions struct {
	Accuracy float64 // members below it are useless
	Alpha    float64 // a member is better than the base where its P is at most this
}

// A Report is what Check found.
type Report struct {
	Tasks    int       `json:"tasks"`
	Members  int       `json:"members"` // oracles among them
	Broken   int       `json:"broken"`
	Findings []Finding `json:"findings"`
}

func (r *Report) add(kind, what, remedy, format string, args ...any) {
	if kind == Broken {
		r.Broken++
	}
	r.Findings = append(r.Findings, Finding{kind, what, fmt.Sprintf(format, args...), remedy})
}

// Check reads everything in a zoo, built or not, and looks for members and tasks that are broken, the same twice, or of no
// use.
func Check(dir string, base *llm.Checkpoint, opt CheckOptions) (*Report, error) {
	z, err := Read(dir, base)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(z.Members, z.Oracles)
	r := &Report{Tasks: len(z.Tasks), Members: len(all), Findings: []Finding{}}
	data := z.checkTasks(r)
	var sound []adapter
	for _, m := range all {
		v, err := z.Verify(m, data[m.Task])
		if err != nil {
			r.add(Broken, m.Dir, z.mend(m), "%v", err)
			continue
		}
		sound = append(sound, adapter{m, v})
		z.checkUse(r, m, opt)
	}
	if err := duplicates(r, sound); err != nil {
		return nil, err
	}
	z.checkGaps(r)
	return r, nil
}

// Verify reads a member's adapter and compares it with what the manifest says. data is the hash of its task's questions, ""
// where the task has none.
func (z *Zoo) Verify(m Member, data string) (*llm.Variant, error) {
	v, err := z.Variant(m)
	if err != nil {
		return nil, err
	}
	for _, name := range v.Names() {
		l := v.LowRank[name]
		for _, values := range [][]float32{l.A, l.B, v.Replace[name]} {
			if slices.ContainsFunc(values, func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }) {
				return nil, badf("%s holds values of %s that are not finite", z.path(m), name)
			}
		}
	}
	hash, err := v.Hash()
	if err != nil {
		return nil, err
	}
	if hash != m.Hash {
		return nil, fmt.Errorf("%s holds other values than those of the manifest", z.path(m))
	}
	if m.Data != "" && m.Data != data {
		return nil, fmt.Errorf("%s.jsonl holds other questions than those it was trained on", m.Task)
	}
	return v, nil
}

// mend says how a broken member becomes whole.
func (z *Zoo) mend(m Member) string {
	if m.From != "" {
		return fmt.Sprintf("add it again: 'd2nwg zoo add %s %s --name %s --force'", z.Dir, m.From, m.Task)
	}
	return fmt.Sprintf("'d2nwg zoo build %s' with the flags it was built with trains it again", z.Dir)
}

// checkTasks reads all questions; it returns the hashes of their files by task.
func (z *Zoo) checkTasks(r *Report) map[string]string {
	hashes, first := map[string]string{}, map[string]string{}
	for _, t := range z.Tasks {
		if _, err := textfile.Questions(t.File(z.Dir), textfile.AnyKeys); err != nil {
			r.add(Broken, t.Name, "mend the file", "%v", err)
		}
		hash, err := files.Hash(t.File(z.Dir))
		if err != nil {
			continue // reading them has said so
		}
		hashes[t.Name] = hash
		if other, ok := first[hash]; ok {
			r.add(Duplicate, t.Name, "remove one of the two from "+IndexName, "%s.jsonl is %s.jsonl, byte for byte", t.Name, other)
		} else {
			first[hash] = t.Name
		}
	}
	return hashes
}

// checkUse finds members that their task doesn't need.
func (z *Zoo) checkUse(r *Report, m Member, opt CheckOptions) {
	const remedy = "give its task more questions or steps, or leave the task out"
	switch {
	case m.Held == 0:
	case m.Accuracy < opt.Accuracy:
		r.add(Useless, m.Dir, remedy, "it answers %.3f of %d held questions, less than %.3f", m.Accuracy, m.Held, opt.Accuracy)
	case m.P > opt.Alpha:
		r.add(Useless, m.Dir, remedy, "it answers %.3f of %d held questions, the base %.3f: that may be chance (p = %.2g)", m.Accuracy, m.Held, m.BaseAccuracy, m.P)
	}
}

// checkGaps finds tasks to learn from without an adapter, and descriptions of more than one task.
func (z *Zoo) checkGaps(r *Report) {
	has := map[string]bool{}
	for _, m := range z.Members {
		has[m.Task] = true
	}
	owner := map[string]string{}
	for _, t := range z.Tasks {
		if z.Learns(t) && !has[t.Name] {
			r.add(Untrained, t.Name, fmt.Sprintf("'d2nwg zoo build %s' trains one; without, a generator learns from its questions alone", z.Dir), "it has no adapter")
		}
		for _, d := range t.Descriptions {
			if other, ok := owner[d]; ok && other != t.Name {
				r.add(Ambiguous, t.Name, "word one of them so that it tells them apart", "%s has the same description: %q", other, d)
				continue
			}
			owner[d] = t.Name
		}
	}
}
