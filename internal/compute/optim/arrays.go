package optim

import (
	"fmt"
	"maps"
	"slices"

	"d2nwg/safetensors"
)

// WriteArrays writes named flat arrays as a safetensors file, atomically, in the order of their names.
func WriteArrays(path string, metadata map[string]string, arrays map[string][]float32) error {
	return WriteArraysAs(path, safetensors.F32, metadata, arrays)
}

// WriteArraysAs is WriteArrays with the values rounded to a type.
func WriteArraysAs(path string, dtype safetensors.DType, metadata map[string]string, arrays map[string][]float32) error {
	names := slices.Sorted(maps.Keys(arrays))
	var sources []safetensors.Source
	for _, name := range names {
		sources = append(sources, safetensors.Floats(name, dtype, []int{len(arrays[name])}, arrays[name]))
	}
	return safetensors.Write(path, metadata, sources)
}

// ReadArrays reads a file of WriteArrays or WriteArraysAs. A missing file satisfies errors.Is(err, fs.ErrNotExist).
func ReadArrays(path string) (metadata map[string]string, arrays map[string][]float32, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	arrays = map[string][]float32{}
	for _, info := range f.Tensors() {
		if info.DType != safetensors.F32 && info.DType != safetensors.BF16 {
			return nil, nil, fmt.Errorf("%w: %s: array %s has dtype %s, not F32 or BF16", safetensors.ErrFormat, path, info.Name, info.DType)
		}
		raw, err := f.Bytes(info.Name)
		if err != nil {
			return nil, nil, err
		}
		width, _ := info.DType.Bits()
		values := make([]float32, len(raw)*8/width)
		if err := safetensors.Decode(values, info.DType, raw); err != nil {
			return nil, nil, fmt.Errorf("%s: array %s: %w", path, info.Name, err)
		}
		arrays[info.Name] = values
	}
	return f.Metadata(), arrays, nil
}
