package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"d2nwg/llm"
)

// savedName is the file that marks a folder as a saved variant.
const savedName = "variant.json"

// IsVariant tells whether dir looks like what Load reads.
func IsVariant(dir string) bool { return has(dir, savedName) || has(dir, configName) }

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Load reads the variant of base in dir, which is a saved variant or a PEFT adapter, with its description (of an
// adapter none).
func Load(base *llm.Checkpoint, dir string) (*llm.Variant, string, error) {
	if has(dir, configName) {
		v, _, err := Open(base, dir)
		return v, "", err
	}
	v, description, err := llm.LoadVariant(base, dir)
	if errors.Is(err, fs.ErrNotExist) && !has(dir, savedName) {
		err = fmt.Errorf("%s holds neither a saved variant nor a PEFT adapter (%s): %w", dir, configName, err)
	}
	return v, description, err
}
