package lora

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxConfigBytes is the largest adapter_config.json that is read.
const maxConfigBytes = 4 << 20

// Config is what adapter_config.json says of an adapter, as far as it has a meaning here.
type Config struct {
	Base     string  // base_model_name_or_path
	Revision string  // of the base
	TaskType string  // "CAUSAL_LM", or what else the file says
	Rank     int     // r, where no pattern says otherwise
	Alpha    float64 // lora_alpha, where no pattern says otherwise
	RSLoRA   bool    // the scale is alpha/√r instead of alpha/r
	DoRA     bool    // magnitudes beside the factors
	LoRABias bool    // lora_B has biases

	ModulesToSave []string // ends of module paths that are stored whole
	ensureTied    bool     // the head follows the embedding
	randomInit    bool     // what the file lacks would be random

	targets       targets
	ranks, alphas []pattern
}

// scaleOf returns the rank and alpha of a module and the scale that PEFT multiplies its B·A with.
func (c *Config) scaleOf(module string) (rank int, alpha, scale float64, err error) {
	r, err := lookup(c.ranks, module, float64(c.Rank))
	if err != nil {
		return 0, 0, 0, err
	}
	if alpha, err = lookup(c.alphas, module, c.Alpha); err != nil {
		return 0, 0, 0, err
	}
	scale = alpha / r
	if c.RSLoRA {
		scale = alpha / math.Sqrt(r)
	}
	return int(r), alpha, scale, nil
}

// Options of PEFT that are read by parse; the others are either harmless or refused.
var read = []string{"peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "use_rslora", "use_dora",
	"lora_bias", "init_lora_weights", "modules_to_save", "ensure_weight_tying", "rank_pattern", "alpha_pattern", "target_modules",
	"exclude_modules", "layers_to_transform", "layers_pattern"}

// harmless options say how an adapter was trained, made or loaded, or what happens to layers that no LLaMA has:
// fan_in_fan_out is switched off by PEFT itself for nn.Linear, and bias only says which biases the file holds.
var harmless = []string{"auto_mapping", "inference_mode", "peft_version", "lora_dropout", "fan_in_fan_out", "bias", "megatron_core",
	"loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config", "qalora_group_size", "runtime_config"}

// refused options change what the stored tensors mean; each with what it does.
var refused = map[string]string{
	"layer_replication":       "repeats layers of the base",
	"target_parameters":       "updates parameters that are no module's weight",
	"trainable_token_indices": "replaces single rows of the embedding",
	"alora_invocation_tokens": "updates the weights only after certain tokens",
	"use_qalora":              "pools the inputs of quantized layers",
	"use_bdlora":              "keeps block-diagonal factors",
	"arrow_config":            "routes between several adapters",
	"kasa_config":             "truncates the base's weights when it is loaded",
	"monteclora_config":       "samples its weights",
	"megatron_config":         "is made for Megatron's layers",
}

// mergeRemedy is what can be done about an adapter that only PEFT understands.
const mergeRemedy = "merge it with PEFT's merge_and_unload and use that checkpoint"

// changesBase lists the initializations that take what they start from out of the base's weights.
var changesBase = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

// sameBase lists those that leave them alone; the stored factors replace what they made.
var sameBase = []string{"gaussian", "eva", "orthogonal", "mica"}

// readConfig reads dir/adapter_config.json.
func readConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, configName)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("no PEFT adapter in %s: %w", dir, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxConfigBytes {
		return nil, badf("%s is larger than %d bytes", path, maxConfigBytes)
	}
	c, err := parseConfig(data)
	if err != nil {
		return nil, badf("%s: %v", path, err)
	}
	return c, nil
}

// options reads the fields of a JSON object by their exact names. The first error sticks.
type options struct {
	fields map[string]json.RawMessage
	err    error
}

func (o *options) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// decode reads an option into dst and leaves dst alone where it is absent, null or wrong.
func (o *options) decode(key, want string, dst any) bool {
	raw, ok := o.fields[key]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		o.fail("%s is %s, want %s", key, clip(string(raw)), want)
		return false
	}
	return true
}

// texts reads a string or a list of strings; isText tells them apart.
func (o *options) texts(key string) (list []string, isText bool) {
	raw := o.fields[key]
	if bytes.HasPrefix(raw, []byte(`"`)) {
		list = []string{""}
		return list, o.decode(key, "a string or a list of strings", &list[0])
	}
	o.decode(key, "a string or a list of strings", &list)
	return list, false
}

func parseConfig(data []byte) (*Config, error) {
	var o options
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &o.fields); err != nil || o.fields == nil {
		return nil, fmt.Errorf("it is not a JSON object: %v", err)
	}
	kind := ""
	if o.decode("peft_type", "a string", &kind); kind != "LORA" {
		o.fail("peft_type is %q, only \"LORA\" is supported: %s", clip(kind), mergeRemedy)
	}
	o.refuseUnknown()
	c := &Config{Rank: 8, Alpha: 8}
	o.decode("base_model_name_or_path", "a string", &c.Base)
	o.decode("revision", "a string", &c.Revision)
	o.decode("task_type", "a string", &c.TaskType)
	o.decode("r", "a positive integer", &c.Rank)
	o.decode("lora_alpha", "a number", &c.Alpha)
	o.decode("use_rslora", "true or false", &c.RSLoRA)
	o.decode("use_dora", "true or false", &c.DoRA)
	o.decode("lora_bias", "true or false", &c.LoRABias)
	o.decode("ensure_weight_tying", "true or false", &c.ensureTied)
	o.decode("modules_to_save", "a list of strings", &c.ModulesToSave)
	o.initialization(c)
	c.ranks, c.alphas = o.patterns("rank_pattern"), o.patterns("alpha_pattern")
	for _, p := range c.ranks {
		if !isRank(p.value) {
			o.fail("rank_pattern gives %q the rank %v, want a positive integer", clip(p.text), p.value)
		}
	}
	if !isRank(float64(c.Rank)) {
		o.fail("r is %d, want a positive integer", c.Rank)
	}
	c.targets = o.targets(c.ModulesToSave)
	return c, o.err
}

// isRank tells ranks that any matrix may have.
func isRank(x float64) bool { return x >= 1 && x <= 1<<24 && x == math.Trunc(x) }

// initialization refuses what isn't an update of the published base.
func (o *options) initialization(c *Config) {
	raw := o.fields["init_lora_weights"]
	if string(raw) == "false" {
		c.randomInit = true
	}
	if !bytes.HasPrefix(raw, []byte(`"`)) {
		return
	}
	name := ""
	o.decode("init_lora_weights", "true, false or a name", &name)
	name = strings.ToLower(name)
	switch {
	case slices.Contains(sameBase, name):
	case slices.ContainsFunc(changesBase, func(s string) bool { return strings.HasPrefix(name, s) }):
		o.fail("init_lora_weights is %q, so that the factors belong to a changed base: save the adapter again with save_pretrained(path_initial_model_for_weight_conversion=…), or %s", clip(name), mergeRemedy)
	default:
		o.fail("init_lora_weights is %q, which may change the base and isn't known here: %s", clip(name), mergeRemedy)
	}
}

// refuseUnknown refuses, by its name, every option that may change what the tensors mean.
func (o *options) refuseUnknown() {
	names := make([]string, 0, len(o.fields))
	for name := range o.fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if neutral(o.fields[name]) || slices.Contains(read, name) || slices.Contains(harmless, name) {
			continue
		}
		if what, ok := refused[name]; ok {
			o.fail("the option %s %s, which isn't supported: %s", name, what, mergeRemedy)
		} else {
			o.fail("the option %s is %s, and this version doesn't know what it changes: %s", clip(name), clip(string(o.fields[name])), mergeRemedy)
		}
	}
}

// neutral tells values that switch an option off.
func neutral(raw json.RawMessage) bool {
	return slices.Contains([]string{"null", "false", `""`, "[]", "{}", "0"}, string(raw))
}
