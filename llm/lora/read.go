package lora

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// Adapter is a PEFT adapter as its folder holds it, with scales folded in.
type Adapter struct {
	Dir    string
	Config Config

	pairs  []stored // sorted by module
	wholes []whole  // sorted by tensor
}

// stored is a pair with what only PEFT's own forms have.
type stored struct {
	pair
	alpha, scale float64
	magnitude    []float32 // DoRA: (out), of an embedding (hidden); nil without
	bias         []float32 // of lora_B, scaled (out); nil without
}

// Read reads the adapter in dir. No base is needed; Variant holds it against one. Errors name the file and the tensor
// or option; they wrap safetensors.ErrFormat, or fs.ErrNotExist when files lack.
func Read(dir string) (*Adapter, error) {
	config, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, weightsName)
	if _, err := os.Stat(path); err != nil {
		return nil, noWeights(dir, err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := &Adapter{Dir: dir, Config: *config}
	r := reader{file: f, config: config}
	if err := r.sort(); err != nil {
		return nil, err
	}
	if a.pairs, err = r.pairs(); err != nil {
		return nil, err
	}
	a.wholes, err = r.wholes()
	return a, err
}

func noWeights(dir string, err error) error {
	if _, e := os.Stat(filepath.Join(dir, pickleName)); e == nil {
		return fmt.Errorf("%s has only %s, a pickle file, which is refused: in Python, load it with PEFT and save it again with save_pretrained, which writes %s: %w", dir, pickleName, weightsName, fs.ErrNotExist)
	}
	return fmt.Errorf("no PEFT adapter in %s: %w", dir, err)
}

// reader sorts the tensors of a file by module.
type reader struct {
	file    *safetensors.File
	config  *Config
	modules map[string]map[part]safetensors.Info
	whole   map[string]safetensors.Info // by the base's tensor
}

// bad names the file and the tensor.
func (r *reader) bad(name, format string, args ...any) error {
	return badf("%s: tensor %q: %s", r.file.Path(), clip(name), fmt.Sprintf(format, args...))
}

// sort parses every key. Two keys for one thing, and two adapters in one file, are errors.
func (r *reader) sort() error {
	r.modules, r.whole = map[string]map[part]safetensors.Info{}, map[string]safetensors.Info{}
	adapter := ""
	for _, info := range r.file.Tensors() {
		k, err := parseKey(info.Name)
		if err != nil {
			return r.bad(info.Name, "%v, so it can't be used: %s", err, mergeRemedy)
		}
		if k.adapter != "" && adapter != "" && k.adapter != adapter {
			return r.bad(info.Name, "the file holds the two adapters %q and %q: save each on its own", clip(adapter), clip(k.adapter))
		}
		if k.adapter != "" {
			adapter = k.adapter
		}
		if !isFloat(info.DType) {
			return r.bad(info.Name, "it has dtype %s, adapters are F64, F32, F16, BF16, F8_E4M3 or F8_E5M2", info.DType)
		}
		if k.part == partWhole {
			if other, twice := r.whole[k.tensor()]; twice {
				return r.bad(info.Name, "it is stored twice, here and as %q", clip(other.Name))
			}
			r.whole[k.tensor()] = info
			continue
		}
		if r.modules[k.module] == nil {
			r.modules[k.module] = map[part]safetensors.Info{}
		}
		if other, twice := r.modules[k.module][k.part]; twice {
			return r.bad(info.Name, "it is stored twice, here and as %q", clip(other.Name))
		}
		r.modules[k.module][k.part] = info
	}
	return nil
}

func isFloat(dt safetensors.DType) bool {
	return slices.Contains([]safetensors.DType{"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}, dt)
}

// values decodes a tensor; NaN and infinite values are errors.
func (r *reader) values(info safetensors.Info) ([]float32, error) {
	raw, err := r.file.Bytes(info.Name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, info.Elements())
	if err := safetensors.Decode(out, info.DType, raw); err != nil {
		return nil, r.bad(info.Name, "%v", err)
	}
	if err := notFinite(out); err != nil {
		return nil, r.bad(info.Name, "%v: the adapter is broken", err)
	}
	return out, nil
}

func (r *reader) wholes() ([]whole, error) {
	var out []whole
	for _, tensor := range slices.Sorted(maps.Keys(r.whole)) {
		info := r.whole[tensor]
		module, parameter := moduleOf(tensor)
		// PEFT keeps an updated module's own weight as base_layer and reads no other.
		if _, updated := r.modules[module]; updated && parameter == "weight" && !strings.Contains(info.Name, ".base_layer.") {
			return nil, r.bad(info.Name, "the module is stored whole and updated, too: take one of the two out")
		}
		values, err := r.values(info)
		if err != nil {
			return nil, err
		}
		out = append(out, whole{tensor, info.Shape, values})
	}
	return out, nil
}

func (r *reader) pairs() ([]stored, error) {
	var out []stored
	for _, module := range slices.Sorted(maps.Keys(r.modules)) {
		s, err := r.pair(module)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// halves returns a module's two factors, A first.
func (r *reader) halves(module string) (a, b safetensors.Info, err error) {
	has := r.modules[module]
	wantA, wantB := partA, partB
	if module == embedModule {
		wantA, wantB = partEmbeddingA, partEmbeddingB
	}
	a, okA := has[wantA]
	b, okB := has[wantB]
	for p, info := range has {
		if p != wantA && p != wantB && p != partMagnitude && p != partBias {
			return a, b, r.bad(info.Name, "embeddings have lora_embedding_A and lora_embedding_B, other modules lora_A and lora_B: %s isn't of that kind", module)
		}
	}
	if !okA || !okB {
		for _, p := range []part{wantA, wantB, partMagnitude, partBias} {
			if info, ok := has[p]; ok {
				return a, b, r.bad(info.Name, "its counterpart is missing: the file is incomplete, get it again")
			}
		}
	}
	return a, b, nil
}

// pair reads a module's factors and holds them against the config.
func (r *reader) pair(module string) (s stored, err error) {
	a, b, err := r.halves(module)
	if err != nil {
		return s, err
	}
	if ok, err := r.config.targets.match(module); err != nil {
		return s, badf("%s: %v", configName, err)
	} else if !ok {
		return s, r.bad(a.Name, "%s doesn't make %s a target (target_modules, exclude_modules, layers_to_transform, modules_to_save), so PEFT would leave it out: correct the config or take the tensor out", configName, module)
	}
	rank, alpha, scale, err := r.config.scaleOf(module)
	if err != nil {
		return s, badf("%s: %v", configName, err)
	}
	if len(a.Shape) != 2 || a.Shape[0] != rank {
		return s, r.bad(a.Name, "its shape is %v, and %s gives it the rank %d: want [%d, in]", a.Shape, configName, rank, rank)
	}
	if len(b.Shape) != 2 || b.Shape[1] != rank {
		return s, r.bad(b.Name, "its shape is %v, and %s gives it the rank %d: want [out, %d]", b.Shape, configName, rank, rank)
	}
	s = stored{pair: pair{module: module}, alpha: alpha, scale: scale}
	valuesA, err := r.values(a)
	if err != nil {
		return s, err
	}
	valuesB, err := r.values(b)
	if err != nil {
		return s, err
	}
	if err := scaled(valuesB, scale); err != nil {
		return s, r.bad(b.Name, "%v after multiplication with alpha's scale %v: the adapter is broken", err, scale)
	}
	s.delta = llm.LowRank{Rank: rank, A: valuesA, B: valuesB}
	if s.embedding() { // (rank, vocab) and (hidden, rank): ΔW is (B·A)ᵀ
		s.delta.A, s.delta.B = transposed(valuesB, b.Shape[0], rank), transposed(valuesA, rank, a.Shape[1])
	}
	return s, r.extras(&s, b.Shape[0])
}

// extras reads a module's magnitudes and bias, one for each of its out outputs.
func (r *reader) extras(s *stored, out int) (err error) {
	has := r.modules[s.module]
	for _, extra := range []struct {
		part   part
		option string
		on     bool
		values *[]float32
	}{{partMagnitude, "use_dora", r.config.DoRA, &s.magnitude}, {partBias, "lora_bias", r.config.LoRABias && !s.embedding(), &s.bias}} {
		info, ok := has[extra.part]
		switch {
		case !ok && !extra.on:
			continue
		case !ok:
			return badf("%s: module %s lacks what the option %s calls for: the file is incomplete, get it again", r.file.Path(), s.module, extra.option)
		case !extra.on:
			return r.bad(info.Name, "%s doesn't switch %s on, so PEFT would leave it out: correct the config or take the tensor out", configName, extra.option)
		case !slices.Equal(info.Shape, []int{out}):
			return r.bad(info.Name, "its shape is %v, want [%d] as the module has outputs", info.Shape, out)
		}
		if *extra.values, err = r.values(info); err != nil {
			return err
		}
	}
	if err := scaled(s.bias, s.scale); err != nil {
		return r.bad(has[partBias].Name, "%v after multiplication with alpha's scale %v: the adapter is broken", err, s.scale)
	}
	return nil
}

// scaled multiplies values, each product rounded once.
func scaled(values []float32, scale float64) error {
	if scale == 1 {
		return nil
	}
	for i, x := range values {
		values[i] = float32(float64(x) * scale)
	}
	return notFinite(values)
}
