package llm

import (
	"os"
	"path/filepath"
	"testing"
)

// sharedModels lists the checkpoint directories of the shared folder.
func sharedModels(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	configs, err := filepath.Glob(filepath.Join(root, "models", "*", ConfigName))
	if err != nil || len(configs) == 0 {
		t.Skipf("no models below %s: set D2NWG_SHARED to the shared folder", root)
	}
	dirs := make([]string, len(configs))
	for i, path := range configs {
		dirs[i] = filepath.Dir(path)
	}
	return dirs
}

func TestGoldenModelsOpen(t *testing.T) {
	dirs := sharedModels(t)
	for _, dir := range dirs {
		c, err := Open(dir)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		var stored int64
		for _, tensor := range c.Tensors() {
			stored += tensor.Elements()
			values, err := c.Float32(tensor.Name)
			if err != nil || int64(len(values)) != tensor.Elements() {
				t.Errorf("%s: %d values, %v", tensor.Name, len(values), err)
			}
			if err := finite(tensor.Name, values, 0); err != nil {
				t.Error(err)
			}
		}
		if stored != c.Config.Parameters() {
			t.Errorf("%s stores %d parameters, its config calls for %d", dir, stored, c.Config.Parameters())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d models opened", len(dirs))
}
