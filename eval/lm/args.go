package lm

import (
	"strconv"
	"strings"
)

// ParseArgs reads "name=value,name=value" as the harness' command line does: numbers, true, false and none are values
// of their own, quotes make text.
func ParseArgs(s string) map[string]any {
	out := map[string]any{}
	for _, part := range strings.Split(strings.TrimSpace(s), ",") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		out[name] = parseArg(strings.TrimSpace(value))
	}
	return out
}

func parseArg(s string) any {
	if len(s) >= 2 && s[0] == s[len(s)-1] && (s[0] == '\'' || s[0] == '"') {
		return s[1 : len(s)-1]
	}
	switch strings.ToLower(s) {
	case "true":
		return true
	case "false":
		return false
	case "none":
		return nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(s, "xXpP") {
		return f
	}
	return s
}
