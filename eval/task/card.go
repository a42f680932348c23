package task

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CardName is the file of a data set's repository that may say which files are the splits of which configuration.
const CardName = "README.md"

const maxCard = 16 << 20 // bytes

// cardConfig is one of the `configs` of a data set's card (Hugging Face's "manual configuration").
type cardConfig struct {
	Name      string    `yaml:"config_name"`
	Default   bool      `yaml:"default"`
	DataDir   string    `yaml:"data_dir"`
	DataFiles yaml.Node `yaml:"data_files"` // a pattern, a list of patterns, or a list of {split, path}
}

// CardPatterns reads a data set's card: the patterns of the files of each split of a configuration. "" as the name stands for
// the default configuration, "" as a split for files whose names tell it. A card that tells nothing gives nil.
func CardPatterns(card []byte, name string) (map[string][]string, error) {
	rest, ok := bytes.CutPrefix(bytes.TrimPrefix(card, []byte("\ufeff")), []byte("---"))
	head, _, closed := bytes.Cut(rest, []byte("\n---"))
	if !ok || !closed {
		return nil, nil
	}
	var header struct {
		Configs []cardConfig `yaml:"configs"`
	}
	if err := yaml.Unmarshal(head, &header); err != nil {
		return nil, fmt.Errorf("the configs of its card: %w", err)
	}
	at := slices.IndexFunc(header.Configs, func(c cardConfig) bool {
		return c.Name == name || name == "" && (c.Default || c.Name == "default" || len(header.Configs) == 1)
	})
	if at < 0 {
		return nil, nil
	}
	return header.Configs[at].patterns()
}

func (c cardConfig) patterns() (map[string][]string, error) {
	out := map[string][]string{}
	if c.DataFiles.Kind == 0 {
		if c.DataDir == "" {
			return nil, nil
		}
		out[""] = []string{path.Join(c.DataDir, "**")}
		return out, nil
	}
	var splits []struct {
		Split string    `yaml:"split"`
		Path  yaml.Node `yaml:"path"`
	}
	if c.DataFiles.Kind == yaml.SequenceNode && c.DataFiles.Decode(&splits) == nil {
		for _, s := range splits {
			if err := add(out, s.Split, c.DataDir, &s.Path); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return out, add(out, "train", c.DataDir, &c.DataFiles)
}

// add adds the pattern or the patterns of a node to a split.
func add(out map[string][]string, split, folder string, n *yaml.Node) error {
	patterns := []string{""}
	err := n.Decode(&patterns[0])
	if n.Kind == yaml.SequenceNode {
		err = n.Decode(&patterns)
	}
	if err != nil {
		return fmt.Errorf("the configs of its card: line %d: data_files has to be patterns, or a list of splits and paths", n.Line)
	}
	for _, p := range patterns {
		out[split] = append(out[split], path.Join(folder, p))
	}
	return nil
}

// cardFiles finds the files of a local data set by its card; nil if that tells nothing.
func cardFiles(dir, name string, files []string) (map[string][]string, error) {
	info, err := os.Stat(filepath.Join(dir, CardName))
	if err != nil || info.Size() > maxCard {
		return nil, nil
	}
	card, err := os.ReadFile(filepath.Join(dir, CardName))
	if err != nil {
		return nil, err
	}
	patterns, err := CardPatterns(card, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, CardName), err)
	}
	out := map[string][]string{}
	for split, list := range patterns {
		for _, p := range list {
			expression, err := globExpression(p)
			if err != nil {
				return nil, fmt.Errorf("%s: the pattern %q: %w", filepath.Join(dir, CardName), p, err)
			}
			for _, f := range files {
				rel, err := filepath.Rel(dir, f)
				if err == nil && expression.MatchString(filepath.ToSlash(rel)) && !slices.Contains(out[split], f) {
					out[split] = append(out[split], f)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// globExpression turns a file pattern into an expression: * and ? stay inside a folder, ** doesn't.
func globExpression(pattern string) (*regexp.Regexp, error) {
	quoted := regexp.QuoteMeta(pattern)
	return regexp.Compile("^" + strings.NewReplacer(`\*\*/`, "(?:.*/)?", `\*\*`, ".*", `\*`, "[^/]*", `\?`, "[^/]", `\[`, "[", `\]`, "]", `\-`, "-").Replace(quoted) + "$")
}

// dataFilesBelow lists the files of data in a folder, or the single file that path is.
func dataFilesBelow(path string) (files []string, err error) {
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && readerOf(path) != nil {
			files = append(files, path)
		}
		return err
	})
	return files, err
}
