package llm

import (
	"encoding/json"
	"strconv"
	"strings"

	"d2nwg/safetensors"
)

// object reads the fields of a JSON object by their exact names. The first
// error sticks, so that a config is read top to bottom without a check a line.
type object struct {
	fields map[string]json.RawMessage
	err    error
}

func (o *object) fail(format string, args ...any) {
	if o.err == nil {
		o.err = badf(format, args...)
	}
}

// has tells whether key is there and not null.
func (o *object) has(key string) bool {
	raw, ok := o.fields[key]
	return ok && string(raw) != "null"
}

// read decodes a field into dst; false when it is absent, null or wrong.
func (o *object) read(key, want string, dst any) bool {
	if !o.has(key) {
		return false
	}
	if err := json.Unmarshal(o.fields[key], dst); err != nil {
		o.fail("%s is %s, want %s", key, clip(string(o.fields[key])), want)
		return false
	}
	return true
}

func (o *object) required(key string) int {
	if !o.has(key) {
		o.fail("%s is missing", key)
		return 0
	}
	return o.integer(key, 0)
}

// integer reads an int; 2048.0 is one too, as Python's writers make it.
func (o *object) integer(key string, absent int) int {
	if !o.has(key) {
		return absent
	}
	v, ok := wholeNumber(o.fields[key])
	if !ok {
		o.fail("%s is %s, want an integer", key, clip(string(o.fields[key])))
	}
	return v
}

func wholeNumber(n json.RawMessage) (int, bool) {
	if v, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return int(v), int64(int(v)) == v
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f != float64(int32(f)) {
		return 0, false
	}
	return int(f), true
}

func (o *object) number(key string, absent float64) float64 {
	v := absent
	if !o.read(key, "a number", &v) {
		return absent
	}
	return v
}

func (o *object) boolean(key string, absent bool) bool {
	v := absent
	if !o.read(key, "true or false", &v) {
		return absent
	}
	return v
}

func (o *object) text(key, absent string) string {
	v := absent
	if !o.read(key, "a string", &v) {
		return absent
	}
	return v
}

// token reads a token id. A null or a negative one says that there is none; an
// absent one has the default of Transformers' LlamaConfig.
func (o *object) token(key string, absent int) int {
	if _, ok := o.fields[key]; !ok {
		return absent
	}
	id := o.integer(key, None)
	if id < 0 {
		return None
	}
	if id > maxDim {
		o.fail("%s is %d, no token id", key, id)
	}
	return id
}

// maxTokenList is how long the text of a list of token ids may be.
const maxTokenList = 4096

// tokens reads a token id or a list of them.
func (o *object) tokens(key string, absent int) []int {
	if !o.has(key) || o.fields[key][0] != '[' {
		if id := o.token(key, absent); id != None {
			return []int{id}
		}
		return nil
	}
	if len(o.fields[key]) > maxTokenList {
		o.fail("%s is a list of %d bytes, want a few token ids", key, len(o.fields[key]))
		return nil
	}
	var list []json.RawMessage
	o.read(key, "a token id or a list of them", &list)
	var ids []int
	for _, n := range list {
		id, ok := wholeNumber(n)
		if !ok || id > maxDim {
			o.fail("%s holds %s, no token id", key, clip(string(n)))
			return nil
		}
		if id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

var dtypeNames = map[string]safetensors.DType{
	"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}

// dtype reads dtype (Transformers 5) or torch_dtype (4).
func (o *object) dtype() safetensors.DType {
	for _, key := range []string{"dtype", "torch_dtype"} {
		name := strings.TrimPrefix(o.text(key, ""), "torch.")
		if name == "" || name == "auto" {
			continue
		}
		dt, ok := dtypeNames[name]
		if !ok {
			o.fail("%s is %q, which no weights are stored in", key, clip(name))
		}
		return dt
	}
	return ""
}

// headDim is explicit, or hidden_size / num_attention_heads, which must divide.
func (o *object) headDim(c Config) int {
	if o.has("head_dim") {
		return o.required("head_dim")
	}
	if c.Heads < 1 || c.HiddenSize < 1 {
		return 1 // Validate names the key at fault
	}
	if c.HiddenSize%c.Heads != 0 {
		o.fail("hidden_size %d is not a multiple of num_attention_heads %d and there is no head_dim", c.HiddenSize, c.Heads)
	}
	return c.HiddenSize / c.Heads
}

// clip shortens what a file says for an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// configFile is config.json as Transformers 4 writes it.
type configFile struct {
	Architectures    []string        `json:"architectures"`
	AttentionBias    bool            `json:"attention_bias"`
	BOS              *int            `json:"bos_token_id"`
	EOS              any             `json:"eos_token_id"`
	HeadDim          int             `json:"head_dim"`
	HiddenAct        string          `json:"hidden_act"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	MaxPositions     int             `json:"max_position_embeddings"`
	MLPBias          bool            `json:"mlp_bias"`
	ModelType        string          `json:"model_type"`
	Heads            int             `json:"num_attention_heads"`
	Layers           int             `json:"num_hidden_layers"`
	KVHeads          int             `json:"num_key_value_heads"`
	RMSNormEps       float64         `json:"rms_norm_eps"`
	RopeScaling      *ropeScalingOut `json:"rope_scaling"`
	RopeTheta        float64         `json:"rope_theta"`
	Tie              bool            `json:"tie_word_embeddings"`
	DType            string          `json:"torch_dtype,omitempty"`
	VocabSize        int             `json:"vocab_size"`
}

// MarshalJSON writes the older spelling (rope_scaling, torch_dtype), which every
// loader opens.
func (c Config) MarshalJSON() ([]byte, error) {
	out := configFile{
		Architectures: []string{"LlamaForCausalLM"}, ModelType: "llama", HiddenAct: "silu",
		AttentionBias: c.AttentionBias, MLPBias: c.MLPBias,
		HeadDim: c.HeadDim, HiddenSize: c.HiddenSize, IntermediateSize: c.IntermediateSize,
		MaxPositions: c.MaxPositions, Heads: c.Heads, Layers: c.Layers, KVHeads: c.KVHeads,
		RMSNormEps: c.RMSNormEps, RopeScaling: c.RopeScaling.marshal(), RopeTheta: c.RopeTheta,
		Tie: c.TieWordEmbeddings, VocabSize: c.VocabSize,
	}
	if c.BOS >= 0 {
		out.BOS = &c.BOS
	}
	switch len(c.EOS) {
	case 0:
	case 1:
		out.EOS = c.EOS[0]
	default:
		out.EOS = c.EOS
	}
	for name, dt := range dtypeNames {
		if dt == c.DType {
			out.DType = name
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON is ParseConfig.
func (c *Config) UnmarshalJSON(data []byte) error {
	parsed, err := ParseConfig(data)
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}
