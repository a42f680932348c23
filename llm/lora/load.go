package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/llm"
)

// IsAdapter tells whether dir looks like a PEFT adapter.
func IsAdapter(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, configName))
	return err == nil
}

// Load reads the variant of base in dir, which is a saved variant or a PEFT adapter, with its description (of an
// adapter none).
func Load(base *llm.Checkpoint, dir string) (*llm.Variant, string, error) {
	if IsAdapter(dir) {
		v, _, err := Open(base, dir)
		return v, "", err
	}
	v, description, err := llm.LoadVariant(base, dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s holds neither a saved variant nor a PEFT adapter (%s): %w", dir, configName, err)
	}
	return v, description, err
}
