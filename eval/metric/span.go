package metric

import (
	"fmt"
	"strings"
)

// spanLabels are the labels of named entities as answers write them, and as they are compared. In this order they are
// replaced.
var spanLabels = [][2]string{
	{"person", "PER"}, {"location", "LOC"}, {"organization", "ORG"}, {"counties", "LOC"}, {"places", "LOC"},
	{"people", "PER"}, {"persons", "PER"}, {"company", "ORG"}, {"country", "LOC"}, {"continent", "LOC"},
	{"time", "DATE"}, {"date", "DATE"}, {"per", "PER"}, {"loc", "LOC"}, {"org", "ORG"},
}

// newSpanFilter writes named entities as "label: entity $ label: entity".
func newSpanFilter(Settings) (Filter, error) {
	labels := make([]*Pattern, len(spanLabels))
	for i, l := range spanLabels {
		var err error
		if labels[i], err = Compile(`\b` + l[0] + `\s*:`); err != nil {
			return nil, err
		}
	}
	entities, err := Compile(`\b(PER|LOC|ORG|DATE):\s*([^$]+)`)
	if err != nil {
		return nil, err
	}
	return each(func(answer any) (any, error) {
		text, ok := answer.(string)
		if !ok {
			return nil, fmt.Errorf("the filter needs text, found %T", answer)
		}
		text = lower(text)
		for i, p := range labels {
			if text, err = p.re.Replace(text, spanLabels[i][1]+":", -1, -1); err != nil {
				return nil, p.failed(err)
			}
		}
		text = strings.TrimRight(strings.ReplaceAll(text, "$$", "$"), "$")
		all, err := entities.FindAll(strip(strings.ReplaceAll(text, "\n", "$")))
		if err != nil {
			return nil, err
		}
		var out []string
		for _, found := range all {
			for _, entity := range strings.Split(found[1], ",") {
				if entity = strip(entity); lower(entity) != "none" {
					out = append(out, lower(found[0])+": "+entity)
				}
			}
		}
		return strings.Join(out, " $ "), nil
	}), nil
}
