package llm

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"d2nwg/safetensors"
)

// Files of a saved variant.
const (
	variantName    = "variant.json"
	variantWeights = "variant.safetensors"
	variantFormat  = "d2nwg-variant-1"
)

// maxVariantBytes is the largest variant.json that is read.
const maxVariantBytes = 4 << 20

// Suffixes of the factors' names in variant.safetensors, as PEFT has them.
const (
	suffixA = ".lora_A"
	suffixB = ".lora_B"
)

// variantFile is the content of variant.json.
type variantFile struct {
	Format      string                   `json:"format"`
	BaseSHA256  string                   `json:"base_sha256"`
	Description string                   `json:"description"`
	Tensors     map[string]variantTensor `json:"tensors"`

	// Of a patch only: the files it is applied to and those it makes of them.
	Base   *fileSet `json:"base,omitempty"`
	Result *fileSet `json:"result,omitempty"`
}

// variantTensor says how one tensor of a saved variant differs from the base.
type variantTensor struct {
	Kind string  `json:"kind"` // "replace" or "low_rank"
	Rank int     `json:"rank,omitempty"`
	Seed *uint64 `json:"shared_a_seed,omitempty"` // A is SharedA of this seed and isn't stored
}

const (
	kindReplace = "replace"
	kindLowRank = "low_rank"
)

// SaveOptions say how a variant is stored.
type SaveOptions struct {
	// DType of the stored factors: F32 (the default), BF16, F16 or F64. Below F32 the
	// loaded variant's factors are the rounded ones.
	DType safetensors.DType
	Force bool // overwrite an existing variant directory
}

// Save is SaveAs with factors in float32.
func (v *Variant) Save(dir, description string) error {
	return v.SaveAs(dir, description, SaveOptions{})
}

// SaveAs stores only what differs from the base: variant.json (hash of the
// base's weights, description, kind of each change) and variant.safetensors.
// Replaced tensors are stored in the base's dtype, which loses nothing that
// Weights would keep; factors in opt.DType; an A known by its seed not at all.
// dir appears whole or not at all.
func (v *Variant) SaveAs(dir, description string, opt SaveOptions) error {
	if err := v.Check(); err != nil {
		return err
	}
	if opt.DType == "" {
		opt.DType = safetensors.F32
	}
	if !isFloat(opt.DType) {
		return fmt.Errorf("factors can't be stored as %q", opt.DType)
	}
	hash, err := v.Base.Hash()
	if err != nil {
		return err
	}
	file := variantFile{Format: variantFormat, BaseSHA256: hash, Description: description, Tensors: map[string]variantTensor{}}
	var sources []safetensors.Source
	for _, name := range v.Names() {
		entry, parts, err := v.stored(name, opt.DType)
		if err != nil {
			return err
		}
		file.Tensors[name] = entry
		sources = append(sources, parts...)
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	return WriteDirectory(dir, opt.Force, func(partial string) error {
		if err := writeFiles(partial, map[string][]byte{variantName: append(data, '\n')}); err != nil {
			return err
		}
		return safetensors.Write(filepath.Join(partial, variantWeights), fileMetadata, sources)
	})
}

// stored returns what variant.json and variant.safetensors hold of one tensor.
func (v *Variant) stored(name string, dt safetensors.DType) (variantTensor, []safetensors.Source, error) {
	t, _ := v.Base.Tensor(name)
	source := func(name string, dt safetensors.DType, shape []int, values []float32) safetensors.Source {
		s := NamedShape{Name: name, Shape: shape}
		return safetensors.Source{Name: name, DType: dt, Shape: shape, WriteTo: func(w io.Writer) error {
			return encodePieces(w, dt, s, func(dst []float32, first int) { copy(dst, values[first:]) })
		}}
	}
	if values, ok := v.Replace[name]; ok {
		return variantTensor{Kind: kindReplace}, []safetensors.Source{source(name, t.DType, t.Shape, values)}, nil
	}
	lr := v.LowRank[name]
	entry := variantTensor{Kind: kindLowRank, Rank: lr.Rank, Seed: lr.Seed}
	parts := []safetensors.Source{source(name+suffixB, dt, []int{t.Shape[0], lr.Rank}, lr.B)}
	if lr.Seed == nil {
		return entry, append(parts, source(name+suffixA, dt, []int{lr.Rank, t.Shape[1]}, lr.A)), nil
	}
	if lr.A != nil && !equalBits(lr.A, SharedA(v.Base.Config, name, lr.Rank, *lr.Seed)) {
		return entry, nil, fmt.Errorf("low-rank delta of tensor %q: its A is not the shared one of seed %d", name, *lr.Seed)
	}
	return entry, parts, nil
}

func equalBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// LoadVariant reads a variant saved by Save and returns it with its description.
// base must hold the weights that the variant was made from. A broken file wraps
// safetensors.ErrFormat, a missing one fs.ErrNotExist.
func LoadVariant(base *Checkpoint, dir string) (*Variant, string, error) {
	path := filepath.Join(dir, variantName)
	file, err := readVariantFile(path)
	if err != nil {
		return nil, "", err
	}
	hash, err := base.Hash()
	if err != nil {
		return nil, "", err
	}
	if file.BaseSHA256 != hash {
		return nil, "", fmt.Errorf("%s belongs to the base with hash %s, %s has %s", path, clip(file.BaseSHA256), base.Dir, hash)
	}
	weights, err := safetensors.Open(filepath.Join(dir, variantWeights))
	if err != nil {
		return nil, "", err
	}
	defer weights.Close()
	v := &Variant{Base: base, Replace: map[string][]float32{}, LowRank: map[string]LowRank{}}
	used := 0
	for name, entry := range file.Tensors {
		n, err := v.load(weights, name, entry)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", dir, err)
		}
		used += n
	}
	if n := len(weights.Tensors()); n != used {
		return nil, "", badf("%s holds %d tensors, %s names %d", weights.Path(), n, path, used)
	}
	return v, file.Description, nil
}

func readVariantFile(path string) (*variantFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxVariantBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxVariantBytes {
		return nil, badf("%s is larger than %d bytes", path, maxVariantBytes)
	}
	var file variantFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, badf("%s: %v", path, err)
	}
	if file.Format != variantFormat {
		return nil, badf("%s has the format %q, only %q is supported", path, clip(file.Format), variantFormat)
	}
	return &file, nil
}

// load takes one tensor's change from the weight file; it returns how many
// stored tensors that took.
func (v *Variant) load(weights *safetensors.File, name string, entry variantTensor) (int, error) {
	t, ok := v.Base.Tensor(name)
	if !ok {
		return 0, badf("tensor %q isn't in the base checkpoint %s", name, v.Base.Dir)
	}
	switch entry.Kind {
	case kindReplace:
		values, err := loadTensor(weights, name, t.Shape)
		v.Replace[name] = values
		return 1, err
	case kindLowRank:
	default:
		return 0, badf("tensor %q has the unknown kind %q", name, clip(entry.Kind))
	}
	if len(t.Shape) != 2 || entry.Rank < 1 || entry.Rank > max(t.Shape[0], t.Shape[1]) {
		return 0, badf("tensor %q of shape %v has a low-rank delta of rank %d", name, t.Shape, entry.Rank)
	}
	lr := LowRank{Rank: entry.Rank, Seed: entry.Seed}
	var err error
	if lr.B, err = loadTensor(weights, name+suffixB, []int{t.Shape[0], lr.Rank}); err != nil {
		return 0, err
	}
	n := 1
	if lr.Seed != nil {
		lr.A = SharedA(v.Base.Config, name, lr.Rank, *lr.Seed)
	} else if lr.A, err = loadTensor(weights, name+suffixA, []int{lr.Rank, t.Shape[1]}); err != nil {
		return 0, err
	} else {
		n = 2
	}
	v.LowRank[name] = lr
	return n, nil
}

func loadTensor(f *safetensors.File, name string, shape []int) ([]float32, error) {
	info, ok := f.Info(name)
	if !ok {
		return nil, badf("%s has no tensor %q", f.Path(), name)
	}
	if err := checkTensor(Tensor{info, filepath.Base(f.Path())}, shape); err != nil {
		return nil, err
	}
	raw, err := f.Bytes(name)
	if err != nil {
		return nil, err
	}
	values := make([]float32, elements(shape))
	return values, safetensors.Decode(values, info.DType, raw)
}
