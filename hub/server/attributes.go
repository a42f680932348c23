package server

import (
	"regexp"
	"slices"
	"strings"
)

// attributes are the rules of a .gitattributes file, of which only the filter matters here.
type attributes []attributeRule

// attributeRule is for one path, or for those that a pattern matches.
type attributeRule struct {
	exact   string
	pattern *regexp.Regexp
	lfs     bool
}

func (r attributeRule) matches(path string) bool {
	return r.exact == path || r.pattern != nil && r.pattern.MatchString(path)
}

// attributesOf reads the rules of a tree.
func (s *Server) attributesOf(t *tree) (attributes, error) {
	e, ok := t.find(".gitattributes")
	if !ok || e.Dir || e.LFS {
		return nil, nil
	}
	data, err := s.store.read(e.SHA256)
	return parseAttributes(data), err
}

// parseAttributes leaves out the lines it doesn't understand, as git does.
func parseAttributes(data []byte) attributes {
	var all attributes
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		filter := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "filter=") || f == "-filter" || f == "!filter" })
		if filter < 1 {
			continue
		}
		rule := attributeRule{lfs: fields[filter] == "filter=lfs"}
		if strings.Contains(fields[0], "/") && !strings.ContainsAny(fields[0], `*?[\`) {
			rule.exact = strings.TrimPrefix(fields[0], "/") // .gitattributes may hold very many of these
		} else if pattern, err := regexp.Compile(globRegexp(fields[0])); err == nil {
			rule.pattern = pattern
		} else {
			continue
		}
		all = append(all, rule)
	}
	return all
}

// lfs tells whether the last rule that a path meets sends it through LFS.
func (a attributes) lfs(path string) bool {
	for _, rule := range slices.Backward(a) {
		if rule.matches(path) {
			return rule.lfs
		}
	}
	return false
}

// globRegexp translates git's pattern: * and ? stay within a folder, ** doesn't, and without a slash in it a pattern is for
// files in any folder.
func globRegexp(glob string) string {
	var b strings.Builder
	b.WriteString(`^`)
	if !strings.Contains(glob, "/") {
		b.WriteString(`(?:.*/)?`)
	}
	glob = strings.TrimPrefix(glob, "/")
	for len(glob) > 0 {
		switch {
		case strings.HasPrefix(glob, "**/"):
			b.WriteString(`(?:.*/)?`)
			glob = glob[2:]
		case strings.HasPrefix(glob, "**"):
			b.WriteString(`.*`)
			glob = glob[1:]
		case glob[0] == '*':
			b.WriteString(`[^/]*`)
		case glob[0] == '?':
			b.WriteString(`[^/]`)
		case glob[0] == '\\' && len(glob) > 1:
			b.WriteString(regexp.QuoteMeta(glob[1:2]))
			glob = glob[1:]
		case strings.HasPrefix(glob, "[[:space:]]"):
			b.WriteString(`\s`)
			glob = glob[len("[[:space:]]")-1:]
		case glob[0] == '[' && strings.IndexByte(glob, ']') > 1:
			end := strings.IndexByte(glob, ']')
			class := strings.Replace(glob[1:end], "!", "^", 1)
			b.WriteString(`[` + strings.ReplaceAll(class, `\`, `\\`) + `]`)
			glob = glob[end:]
		default:
			b.WriteString(regexp.QuoteMeta(glob[:1]))
		}
		glob = glob[1:]
	}
	return b.String() + `$`
}

// attributeLine is the rule that sends one path through LFS.
func attributeLine(path string) string {
	quote := strings.NewReplacer(" ", "[[:space:]]", "*", `\*`, "?", `\?`, "[", `\[`, "\t", "[[:space:]]")
	return "/" + quote.Replace(path) + " filter=lfs diff=lfs merge=lfs -text\n"
}
