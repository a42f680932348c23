package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// WriteOptions say how Write stores an adapter.
type WriteOptions struct {
	Base     string            // base_model_name_or_path: a folder or a hub's name for the base; "" leaves it null
	Revision string            // of the base; "" leaves it null
	Alpha    float64           // lora_alpha of every module; 0: each module's rank, which makes the scale 1
	DType    safetensors.DType // of the stored tensors: F32 (the default), BF16, F16 or F64
	Extra    map[string][]byte // further files by base name: README.md …
	Force    bool              // overwrite an existing adapter folder
}

// Write makes dir the PEFT adapter of a variant, which PEFT and everything that reads its format loads: plain LoRA, no
// option that needs a recent PEFT. Low-rank updates keep their factors, so that with F32 and no Alpha reading gives the
// same bits (with an Alpha they are divided by alpha/r first: the same bits where that is a power of two). Replaced
// tensors go to modules_to_save together with their module's other tensors. A tied embedding is written for
// embed_tokens and lm_head, which PEFT unties.
//
// What PEFT's plain form can't hold is refused by its name: a variant without any low-rank update, a replaced bias of
// an updated matrix, a head stored beside a tied embedding. dir appears whole or not at all; NaN and infinite values,
// also those that only opt.DType makes infinite, are refused by name.
func Write(dir string, v *llm.Variant, opt WriteOptions) error {
	a, err := fromVariant(v)
	if err != nil {
		return err
	}
	return a.write(dir, opt)
}

// contents is what a plain adapter folder holds.
type contents struct {
	pairs  []pair  // sorted by module
	wholes []whole // sorted by tensor
	layers int     // of the base
}

// fromVariant turns a variant into the modules of an adapter.
func fromVariant(v *llm.Variant) (*contents, error) {
	if err := v.Check(); err != nil {
		return nil, err
	}
	c := &contents{layers: v.Base.Config.Layers}
	updated := map[string]bool{}
	for _, name := range v.Names() {
		if lr, ok := v.Factors(name); ok {
			module, parameter := moduleOf(name)
			if parameter != "weight" {
				return nil, fmt.Errorf("tensor %q: PEFT has low-rank updates of weights only", name)
			}
			updated[module] = true
			c.pairs = append(c.pairs, pair{module, lr})
		}
	}
	wholes, err := wholeModules(v, updated)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(wholes)) {
		t, _ := v.Base.Tensor(name)
		c.wholes = append(c.wholes, whole{name, t.Shape, wholes[name]})
	}
	return c, c.tie(v.Base)
}

// wholeModules returns the replaced tensors with the other tensors of their modules, as modules_to_save wants them.
func wholeModules(v *llm.Variant, updated map[string]bool) (map[string][]float32, error) {
	wholes := maps.Clone(v.Replace)
	for _, name := range slices.Sorted(maps.Keys(v.Replace)) {
		module, _ := moduleOf(name)
		if updated[module] {
			return nil, fmt.Errorf("tensor %q is replaced beside a low-rank update of %s.weight, which PEFT's plain form can't hold: merge the variant into a checkpoint, or leave one of the two out", name, module)
		}
		for _, other := range []string{module + ".weight", module + ".bias"} {
			if _, ok := v.Base.Tensor(other); !ok || wholes[other] != nil {
				continue
			}
			values, err := v.Base.Float32(other)
			if err != nil {
				return nil, err
			}
			wholes[other] = values
		}
	}
	return wholes, nil
}

// tie gives the head what a tied embedding has: PEFT wraps both on their own.
func (c *contents) tie(base *llm.Checkpoint) error {
	if !base.Config.TieWordEmbeddings {
		return nil
	}
	head := func(module string) bool { return module == headModule }
	if slices.ContainsFunc(c.pairs, func(p pair) bool { return head(p.module) }) ||
		slices.ContainsFunc(c.wholes, func(w whole) bool { return w.tensor == llm.LMHeadName }) {
		return fmt.Errorf("tensor %q is changed, but the head of %s is its embedding: change %q instead", llm.LMHeadName, base.Dir, llm.EmbedName)
	}
	for _, p := range c.pairs {
		if p.module == embedModule {
			c.pairs = append(c.pairs, pair{headModule, p.delta})
		}
	}
	for _, w := range c.wholes {
		if w.tensor == llm.EmbedName {
			c.wholes = append(c.wholes, whole{llm.LMHeadName, w.shape, w.values})
		}
	}
	return nil
}

// write makes the folder.
func (c *contents) write(dir string, opt WriteOptions) error {
	if len(c.pairs) == 0 {
		return errors.New("there is no low-rank update, and PEFT loads no adapter without one: write a checkpoint or a saved variant instead")
	}
	if opt.DType == "" {
		opt.DType = safetensors.F32
	}
	if !slices.Contains([]safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F64}, opt.DType) {
		return fmt.Errorf("adapters can't be stored as %q: use F32, BF16, F16 or F64", opt.DType)
	}
	if opt.Alpha < 0 || opt.Alpha-opt.Alpha != 0 {
		return fmt.Errorf("alpha is %v, want a positive number, or 0 for each module's rank", opt.Alpha)
	}
	config, err := json.MarshalIndent(c.config(opt), "", "  ")
	if err != nil {
		return err
	}
	files := maps.Clone(opt.Extra)
	if files == nil {
		files = map[string][]byte{}
	}
	for name := range files {
		if name == configName || name == weightsName || name != filepath.Base(name) || name == "." || name == ".." {
			return fmt.Errorf("%q can't be an extra file of an adapter: want a plain name that the adapter doesn't use itself", name)
		}
	}
	files[configName] = config
	return llm.WriteDirectory(dir, opt.Force, func(partial string) error {
		for name, data := range files {
			if err := writeFile(filepath.Join(partial, name), data); err != nil {
				return err
			}
		}
		return safetensors.Write(filepath.Join(partial, weightsName), map[string]string{"format": "pt"}, c.sources(opt))
	})
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// sources returns the tensors under PEFT's keys, in the order in which safetensors' own writer lays one dtype out: by
// name.
func (c *contents) sources(opt WriteOptions) []safetensors.Source {
	var out []safetensors.Source
	add := func(name string, shape []int, values []float32) {
		out = append(out, safetensors.Source{Name: keyPrefix + name, DType: opt.DType, Shape: shape,
			WriteTo: func(w io.Writer) error { return encode(w, opt.DType, shape, values) }})
	}
	for _, p := range c.pairs {
		r := p.delta.Rank
		rows, cols := len(p.delta.B)/r, len(p.delta.A)/r
		a, b := p.delta.A, p.delta.B // (r, cols), (rows, r)
		if scale := opt.Alpha / float64(r); opt.Alpha != 0 {
			a, b = unscaled(p, scale)
		}
		if p.embedding() {
			add(p.module+".lora_embedding_A", []int{r, rows}, transposed(b, rows, r))
			add(p.module+".lora_embedding_B", []int{cols, r}, transposed(a, r, cols))
			continue
		}
		add(p.module+".lora_A.weight", []int{r, cols}, a)
		add(p.module+".lora_B.weight", []int{rows, r}, b)
	}
	for _, w := range c.wholes {
		add(w.tensor, w.shape, w.values)
	}
	slices.SortFunc(out, func(x, y safetensors.Source) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// unscaled divides the factor that PEFT's scale is folded into.
func unscaled(p pair, scale float64) (a, b []float32) {
	divided := func(values []float32) []float32 {
		out := make([]float32, len(values))
		for i, x := range values {
			out[i] = float32(float64(x) / scale)
		}
		return out
	}
	if p.embedding() {
		return divided(p.delta.A), p.delta.B
	}
	return p.delta.A, divided(p.delta.B)
}

// encode writes values in pieces, after making sure that dt holds them as finite numbers.
func encode(w io.Writer, dt safetensors.DType, shape []int, values []float32) error {
	const piece = 1 << 16
	n := 1
	for _, d := range shape {
		n *= d
	}
	if len(values) != n {
		return fmt.Errorf("it has %d values, shape %v needs %d", len(values), shape, n)
	}
	bits, _ := dt.Bits()
	buffer := make([]byte, min(piece, n)*bits/8)
	rounded := make([]float32, min(piece, n))
	for part := range slices.Chunk(values, piece) {
		r := rounded[:copy(rounded, part)]
		if err := safetensors.Round(dt, r); err != nil {
			return err
		}
		if err := notFinite(r); err != nil {
			return fmt.Errorf("%w: as %s it can't be written", err, dt)
		}
		raw := buffer[:len(r)*bits/8]
		if err := safetensors.Encode(raw, dt, r); err != nil {
			return err
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}
