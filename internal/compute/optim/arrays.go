package optim

import (
	"fmt"
	"maps"
	"slices"

	"d2nwg/safetensors"
)

// WriteArrays writes named flat arrays as a safetensors file, atomically, in the order of their names.
func WriteArrays(path string, metadata map[string]string, arrays map[string][]float32) error {
	names := slices.Sorted(maps.Keys(arrays))
	var sources []safetensors.Source
	for _, name := range names {
		sources = append(sources, safetensors.Floats(name, "F32", []int{len(arrays[name])}, arrays[name]))
	}
	return safetensors.Write(path, metadata, sources)
}

// ReadArrays reads a file of WriteArrays. A missing file satisfies errors.Is(err, fs.ErrNotExist).
func ReadArrays(path string) (metadata map[string]string, arrays map[string][]float32, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	arrays = map[string][]float32{}
	for _, info := range f.Tensors() {
		if info.DType != "F32" {
			return nil, nil, fmt.Errorf("%w: %s: array %s has dtype %s, not F32", safetensors.ErrFormat, path, info.Name, info.DType)
		}
		raw, err := f.Bytes(info.Name)
		if err != nil {
			return nil, nil, err
		}
		values := make([]float32, len(raw)/4)
		if err := safetensors.Decode(values, info.DType, raw); err != nil {
			return nil, nil, fmt.Errorf("%s: array %s: %w", path, info.Name, err)
		}
		arrays[info.Name] = values
	}
	return f.Metadata(), arrays, nil
}
