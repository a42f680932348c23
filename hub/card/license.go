package card

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// License is what a base model's licence asks of what is derived from it.
type License struct {
	ID    string // as the Hub names it: "apache-2.0", "llama3.2", "other"; "unknown" where the base says nothing
	Name  string // of an "other" licence
	Link  string // of an "other" licence
	Llama string // "3.2" for the Llama 3.2 Community License, "" for every other
	Files []File // licence texts and notices to ship, from the base's folder
}

// File is one to publish.
type File struct {
	Name string
	Data []byte
}

// maxLicense bounds a licence text, a notice or a base's card.
const maxLicense = 1 << 20

var (
	llamaText = regexp.MustCompile(`(?i)\bllama\s+([0-9](?:\.[0-9])?)\s+community\s+license`)
	llamaID   = regexp.MustCompile(`^llama([0-9](?:\.[0-9])?)$`)
	llamaName = regexp.MustCompile(`(?i)^(?:meta-)?llama-([0-9](?:\.[0-9])?)(?:-|$)`)
)

// FindLicense reads the licence of the base in dir: from the texts in it, from its card, from what it is called (base is
// its hub id or path, "" if unknown). given names the licence where the base's folder says nothing. Under a Llama licence
// the folder has to hold the text, since a copy must be shipped; without one the error matches fs.ErrNotExist.
func FindLicense(dir, base, given string) (License, error) {
	l := License{ID: given}
	var err error
	if l.Files, err = licenseFiles(dir); err != nil {
		return l, err
	}
	h, err := ReadHeader(filepath.Join(dir, "README.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	if len(h.License) > 0 {
		l.ID, l.Name, l.Link = h.License[0], h.LicenseName, h.LicenseLink
	}
	text := ""
	for _, f := range l.Files {
		if m := llamaText.FindSubmatch(f.Data); m != nil && isLicense(f.Name) {
			l.Llama, text = string(m[1]), f.Name
		}
	}
	for _, id := range append(h.License, l.ID) {
		if m := llamaID.FindStringSubmatch(id); m != nil && l.Llama == "" {
			l.Llama = m[1]
		}
	}
	// A name is a hint only: whoever states another licence knows better.
	if m := llamaName.FindStringSubmatch(filepath.Base(base)); m != nil && l.ID == "" {
		l.Llama = m[1]
	}
	switch {
	case l.Llama != "" && text == "":
		return l, fmt.Errorf("%s is under the Llama %s Community License, a copy of which has to be shipped, and holds no such text: put the LICENSE.txt of the original model into it: %w",
			dir, l.Llama, fs.ErrNotExist)
	case l.Llama != "":
		l.ID, l.Name, l.Link = "llama"+l.Llama, "", ""
		l.addNotice()
	case l.ID == "":
		l.ID = "unknown"
	}
	return l, nil
}

// isLicense and isNotice tell licence texts and notices by their names.
func isLicense(name string) bool { return hasPrefix(name, "LICENSE", "LICENCE") }
func isNotice(name string) bool  { return hasPrefix(name, "NOTICE") }

func hasPrefix(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToUpper(name), p) })
}

// licenseFiles reads the licence texts, notices and use policies in dir.
func licenseFiles(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the base's licence: %w", err)
	}
	var files []File
	for _, e := range entries {
		if !isLicense(e.Name()) && !isNotice(e.Name()) && !hasPrefix(e.Name(), "USE_POLICY") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() { // a hub's cache holds links
			continue
		}
		data, err := readCapped(path, maxLicense)
		if err != nil {
			return nil, err
		}
		files = append(files, File{e.Name(), data})
	}
	return files, nil
}

// Notice is the line that a Llama licence wants in a text file named Notice.
func (l License) Notice() string {
	return fmt.Sprintf("Llama %s is licensed under the Llama %s Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.", l.Llama, l.Llama)
}

// addNotice makes sure that a notice file with the wanted line is among the files.
func (l *License) addNotice() {
	i := slices.IndexFunc(l.Files, func(f File) bool { return isNotice(f.Name) })
	if i < 0 {
		l.Files = append(l.Files, File{Name: "Notice"})
		i = len(l.Files) - 1
	}
	if f := &l.Files[i]; !strings.Contains(string(f.Data), l.Notice()) {
		if len(f.Data) > 0 && !strings.HasSuffix(string(f.Data), "\n") {
			f.Data = append(f.Data, '\n')
		}
		f.Data = append(f.Data, l.Notice()+"\n"...)
	}
}

// CheckName refuses a repository name, "org/name", that the licence doesn't allow for a derived model.
func (l License) CheckName(repo string) error {
	_, name, _ := strings.Cut(repo, "/")
	if l.Llama == "" || strings.HasPrefix(name, "Llama") {
		return nil
	}
	return fmt.Errorf("%s is derived from a model under the Llama %s Community License, which wants its name to begin with %q: push to %s instead",
		repo, l.Llama, "Llama", strings.TrimSuffix(repo, name)+"Llama-"+name)
}

// CheckFolder holds the licence's rules against a whole publication: the name, a copy of the licence, the notice, and
// "Built with Llama" in the card. read gives a file's content, fs.ErrNotExist where there is none.
func (l License) CheckFolder(repo string, names []string, read func(name string) ([]byte, error)) error {
	if l.Llama == "" {
		return nil
	}
	if err := l.CheckName(repo); err != nil {
		return err
	}
	holds := func(is func(string) bool, text string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			if !is(name) {
				return false
			}
			data, err := read(name)
			return err == nil && strings.Contains(string(data), text)
		})
	}
	for _, rule := range []struct {
		is         func(string) bool
		text, what string
	}{
		{isLicense, "", "a copy of the licence (LICENSE.txt of the original model)"},
		{isNotice, l.Notice(), "a file Notice with the line " + fmt.Sprintf("%q", l.Notice())},
		{func(name string) bool { return name == "README.md" }, builtWith, fmt.Sprintf("%q in README.md", builtWith)},
	} {
		if !holds(rule.is, rule.text) {
			return fmt.Errorf("what is derived from a model under the Llama %s Community License has to come with %s: add it to the folder", l.Llama, rule.what)
		}
	}
	return nil
}

const builtWith = "Built with Llama"

// Header is the part of a model card's YAML that a derived model's card depends on.
type Header struct {
	License     oneOrMore `yaml:"license"`
	LicenseName string    `yaml:"license_name"`
	LicenseLink string    `yaml:"license_link"`
}

// oneOrMore is a value that cards write as a text or as a list of texts.
type oneOrMore []string

func (o *oneOrMore) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*o = oneOrMore{node.Value}
		return nil
	}
	return node.Decode((*[]string)(o))
}

// ReadHeader reads the YAML header of a card; one without a header gives an empty Header.
func ReadHeader(path string) (Header, error) {
	var h Header
	data, err := readCapped(path, maxLicense)
	if err != nil {
		return h, err
	}
	text, ok := header(string(data))
	if !ok {
		return h, nil
	}
	if err := yaml.Unmarshal([]byte(text), &h); err != nil {
		return h, fmt.Errorf("%s: its header is not YAML a card may have: %w", path, err)
	}
	return h, nil
}

// header cuts the YAML between the first two lines "---" out of a card.
func header(card string) (string, bool) {
	card = strings.ReplaceAll(strings.TrimPrefix(card, "\ufeff"), "\r\n", "\n")
	rest, ok := strings.CutPrefix(card, "---\n")
	if !ok {
		return "", false
	}
	text, _, ok := strings.Cut("\n"+rest, "\n---\n")
	return text, ok
}
