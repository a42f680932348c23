package zoo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"d2nwg/llm"
	"d2nwg/llm/lora"
)

// Finding is one thing that Check found.
type Finding struct {
	Kind   string `json:"kind"` // broken, changed, duplicate, useless, untrained or ambiguous
	Member string `json:"member"`
	What   string `json:"what"`
}

// Kinds of findings.
const (
	Broken    = "broken"    // can't be read, or isn't what the manifest says
	Changed   = "changed"   // its data isn't what it was trained on
	Duplicate = "duplicate" // the same update as another task's, or the same data
	Useless   = "useless"   // not beyond doubt better than the base
	Untrained = "untrained" // a training task without an adapter
	Ambiguous = "ambiguous" // a description that two tasks share
)

// sameCosine is the cosine of two updates from which they count as one.
const sameCosine = 0.999

// Check looks for broken, duplicate and useless members. hash gives the hash of a variant's values.
func (z *Zoo) Check(hash func(*llm.Variant) (string, error)) ([]Finding, error) {
	var found []Finding
	add := func(kind, member, format string, args ...any) {
		found = append(found, Finding{kind, member, fmt.Sprintf(format, args...)})
	}
	var whole []Member
	var variants []*llm.Variant
	sums := map[string]string{}
	for _, t := range z.Tasks {
		sum, err := FileHash(t.File(z.Dir))
		if err != nil {
			return nil, err
		}
		for _, other := range z.Tasks {
			if other.Name != t.Name && sums[other.Name] == sum {
				add(Duplicate, t.Name, "its data is that of %s, byte for byte; remove one of them", other.Name)
			}
		}
		sums[t.Name] = sum
	}
	for _, m := range z.Manifest.Members {
		v, err := z.Variant(m)
		if err == nil {
			var h string
			if h, err = hash(v); err == nil && h != m.Hash {
				err = fmt.Errorf("its values are not those that the manifest names")
			}
		}
		if err != nil {
			add(Broken, m.Dir, "%v; remove the folder and run 'd2nwg zoo build %s' again", err, z.Dir)
			continue
		}
		whole, variants = append(whole, m), append(variants, v)
		if sum, ok := sums[m.Task]; ok && m.Data != "" && sum != m.Data {
			add(Changed, m.Dir, "%s.jsonl is not the file it was trained on; remove the folder and build again", m.Task)
		}
		if m.N > 0 && m.Accuracy <= m.Base+2*math.Sqrt(m.Base*(1-m.Base)/float64(m.N)+0.25/float64(m.N)/float64(m.N)) {
			add(Useless, m.Dir, "it answers %.2f of %d held questions, the base %.2f; give its task more data or steps", m.Accuracy, m.N, m.Base)
		}
	}
	if err := z.duplicates(whole, variants, add); err != nil {
		return nil, err
	}
	z.gaps(add)
	return found, nil
}

// duplicates compares every two members of different tasks.
func (z *Zoo) duplicates(members []Member, variants []*llm.Variant, add func(kind, member, format string, args ...any)) error {
	for i, v := range variants {
		for k, w := range variants[:i] {
			if members[i].Task == members[k].Task {
				continue
			}
			cosine, err := lora.Cosine(v, w)
			if err != nil {
				return err
			}
			if cosine > sameCosine {
				add(Duplicate, members[i].Dir, "its update is that of %s (cosine %.5f); remove one of the tasks", members[k].Dir, cosine)
			}
		}
	}
	return nil
}

// gaps lists training tasks without an adapter, and descriptions of more than one task.
func (z *Zoo) gaps(add func(kind, member, format string, args ...any)) {
	owner := map[string]string{}
	for _, t := range z.Tasks {
		has := slices.ContainsFunc(z.Manifest.Members, func(m Member) bool { return m.Task == t.Name })
		if t.Training() && !has {
			add(Untrained, t.Name, "a generator learns from its questions alone")
		}
		for _, d := range t.Wordings() {
			if other, ok := owner[d]; ok && other != t.Name {
				add(Ambiguous, t.Name, "%s has the same description: %q", other, d)
			}
			owner[d] = t.Name
		}
	}
}

// FileHash is the SHA-256 of a file.
func FileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
