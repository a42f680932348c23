package lora

import (
	"maps"
	"slices"
	"strings"

	"d2nwg/llm"
)

// configFile is adapter_config.json as it is written: the options that every PEFT since 0.9 knows, sorted by name as
// PEFT sorts them.
type configFile struct {
	AlphaPattern    map[string]float64 `json:"alpha_pattern"`
	AutoMapping     *string            `json:"auto_mapping"`
	Base            *string            `json:"base_model_name_or_path"`
	Bias            string             `json:"bias"`
	FanInFanOut     bool               `json:"fan_in_fan_out"`
	InferenceMode   bool               `json:"inference_mode"`
	Init            bool               `json:"init_lora_weights"`
	LayersPattern   *string            `json:"layers_pattern"`
	LayersTransform *int               `json:"layers_to_transform"`
	Alpha           float64            `json:"lora_alpha"`
	Dropout         float64            `json:"lora_dropout"`
	ModulesToSave   []string           `json:"modules_to_save"`
	PeftType        string             `json:"peft_type"`
	Rank            int                `json:"r"`
	RankPattern     map[string]int     `json:"rank_pattern"`
	Revision        *string            `json:"revision"`
	TargetModules   []string           `json:"target_modules"`
	TaskType        string             `json:"task_type"`
	UseDora         bool               `json:"use_dora"`
	UseRslora       bool               `json:"use_rslora"`
}

// config makes the adapter's configuration. The most frequent rank becomes r, the others the patterns.
func (c *contents) config(opt WriteOptions) configFile {
	byRank := map[int][]string{}
	var all []string
	for _, p := range c.pairs {
		byRank[p.delta.Rank] = append(byRank[p.delta.Rank], p.module)
		all = append(all, p.module)
	}
	rank := 0
	for _, r := range slices.Sorted(maps.Keys(byRank)) {
		if len(byRank[r]) > len(byRank[rank]) {
			rank = r
		}
	}
	f := configFile{
		AlphaPattern: map[string]float64{}, RankPattern: map[string]int{}, Bias: "none", InferenceMode: true, Init: true,
		Alpha: opt.Alpha, PeftType: "LORA", Rank: rank, TargetModules: c.names(all), TaskType: "CAUSAL_LM",
	}
	if opt.Base != "" {
		f.Base = &opt.Base
	}
	if opt.Revision != "" {
		f.Revision = &opt.Revision
	}
	if opt.Alpha == 0 {
		f.Alpha = float64(rank)
	}
	for r, modules := range byRank {
		for _, name := range c.names(modules) {
			if r == rank {
				continue
			}
			f.RankPattern[name] = r
			if opt.Alpha == 0 {
				f.AlphaPattern[name] = float64(r)
			}
		}
	}
	saved := map[string]bool{}
	for _, w := range c.wholes {
		module, _ := moduleOf(w.tensor)
		saved[module] = true
	}
	if len(saved) > 0 {
		f.ModulesToSave = c.names(slices.Collect(maps.Keys(saved)))
	}
	return f
}

// names lists modules as PEFT's options match them, sorted: the last part of the path where all layers have the module
// in the list or it stands outside the layers, the whole path elsewhere. The final norm keeps its path, for PEFT takes
// "norm" as the end of any name.
func (c *contents) names(modules []string) []string {
	layers := map[string][]string{} // by last part
	var out []string
	for _, module := range modules {
		last := module[strings.LastIndexByte(module, '.')+1:]
		switch _, layer, ok := llm.ParseName(module + weightSuffix); {
		case ok && layer >= 0:
			layers[last] = append(layers[last], module)
		case last == "norm":
			out = append(out, module)
		default:
			out = append(out, last)
		}
	}
	for last, paths := range layers {
		if len(paths) == c.layers {
			out = append(out, last)
		} else {
			out = append(out, paths...)
		}
	}
	slices.Sort(out)
	return out
}
