package recipe

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// LoadWith is Load with single values set on top: each set is "dotted.key=value", the value in YAML. An empty path
// stands for an empty recipe.
func LoadWith[T any](path string, sets []string) (T, error) {
	var none T
	if len(sets) == 0 && path != "" {
		return Load[T](path)
	}
	var data []byte
	if path != "" {
		var err error
		if data, err = readCapped(path); err != nil {
			return none, err
		}
		if _, err := Parse[map[string]any](path, data); err != nil {
			return none, err
		}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return none, fmt.Errorf("%s: %w: %v", path, ErrInvalid, err)
	}
	if root.Kind == 0 {
		root = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	for _, set := range sets {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			return none, fmt.Errorf("%w: setting %q is not written key=value", ErrInvalid, set)
		}
		if err := put(root.Content[0], strings.Split(key, "."), key, value); err != nil {
			return none, err
		}
	}
	out, err := yaml.Marshal(&root)
	if err != nil {
		return none, err
	}
	name := path
	if name == "" {
		name = "settings"
	}
	return Parse[T](name, out)
}

// put sets the value of a key path below a mapping, making what is missing.
func put(node *yaml.Node, keys []string, whole, value string) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%w: there is no key %s", ErrInvalid, whole)
	}
	var child *yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == keys[0] {
			child = node.Content[i+1]
		}
	}
	if child == nil {
		child = &yaml.Node{Kind: yaml.MappingNode}
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: keys[0]}, child)
	}
	if len(keys) > 1 {
		return put(child, keys[1:], whole, value)
	}
	var parsed yaml.Node
	if err := yaml.Unmarshal([]byte(value), &parsed); err != nil {
		return fmt.Errorf("%w: %s: %q is not YAML: %v", ErrInvalid, whole, value, err)
	}
	if parsed.Kind == 0 { // an empty value
		*child = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
		return nil
	}
	*child = *parsed.Content[0]
	return nil
}
