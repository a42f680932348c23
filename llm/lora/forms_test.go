package lora

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// column returns one tensor's values.
func vector(values ...float32) tensor { return tensor{shape: []int{len(values)}, values: values} }

// TestDoRA holds merged weights against m·(W+ΔW)/‖W+ΔW‖ over rows, computed here in float64, under every spelling of
// the magnitudes' key.
func TestDoRA(t *testing.T) {
	t.Parallel()
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16} {
		base := newBase(t, tiny(), dt, 7)
		factors := linear(q1, 32, 24, 4, 1)
		magnitude := tensor{shape: []int{32}, values: normals(32, 1, 9)}
		w, err := base.Float32(q1 + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		sum := effective(2, factors[keyPrefix+q1+".lora_B.weight"], factors[keyPrefix+q1+".lora_A.weight"])
		for i := range 32 {
			norm := 0.0
			for j := range 24 {
				sum[i*24+j] += float64(w[i*24+j])
				norm += sum[i*24+j] * sum[i*24+j]
			}
			for j := range 24 {
				sum[i*24+j] *= float64(magnitude.values[i]) / math.Sqrt(norm)
			}
		}
		want := make([]float32, len(sum))
		for i, x := range sum {
			want[i] = float32(x)
		}
		if err := safetensors.Round(dt, want); err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"", ".weight", ".default", ".default.weight"} {
			dir := folder(t, `{"peft_type":"LORA","r":4,"lora_alpha":8,"use_dora":true,"target_modules":["q_proj"]}`,
				join(factors, map[string]tensor{keyPrefix + q1 + ".lora_magnitude_vector" + end: magnitude}))
			v, _, err := Open(base, dir)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := v.Weights(q1 + ".weight"); err != nil || !slices.Equal(got, want) || len(v.LowRank) > 0 {
				t.Errorf("%s%s: %d low-rank; the weights differ: %v", dt, end, len(v.LowRank), err)
			}
		}
	}
}

// TestEmbedding: ΔW of an embedding is (B·A)ᵀ of its transposed factors; DoRA there goes by columns; a stored base is
// taken instead of the checkpoint's.
func TestEmbedding(t *testing.T) {
	t.Parallel()
	const vocab, hidden, rank = 37, 24, 3
	base := newBase(t, tiny(), safetensors.F32, 7)
	a := tensor{shape: []int{rank, vocab}, values: normals(rank*vocab, 0.3, 1)}
	b := tensor{shape: []int{hidden, rank}, values: normals(hidden*rank, 0.3, 2)}
	stored := tensor{shape: []int{vocab, hidden}, values: normals(vocab*hidden, 1, 3)}
	magnitude := tensor{shape: []int{hidden}, values: normals(hidden, 1, 4)}
	own, err := base.Float32(llm.EmbedName)
	if err != nil {
		t.Fatal(err)
	}
	ba := effective(0.5*3/rank, b, a) // (hidden, vocab)
	for name, c := range map[string]struct {
		options string
		more    map[string]tensor
		w       []float32
		dora    bool
	}{
		"alone":         {``, nil, own, false},
		"a stored base": {``, map[string]tensor{"base_layer.weight": stored}, stored.values, false},
		"its own base":  {``, map[string]tensor{"base_layer.weight": {shape: stored.shape, values: own}}, own, false},
		"DoRA":          {`"use_dora":true,`, map[string]tensor{"lora_magnitude_vector": magnitude}, own, true},
	} {
		tensors := map[string]tensor{keyPrefix + embedModule + ".lora_embedding_A": a, keyPrefix + embedModule + ".lora_embedding_B": b}
		for k, v := range c.more {
			tensors[keyPrefix+embedModule+"."+k] = v
		}
		v, _, err := Open(base, folder(t, `{"peft_type":"LORA","r":3,"lora_alpha":1.5,`+c.options+`"target_modules":["embed_tokens"]}`, tensors))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, norms := make([]float64, vocab*hidden), make([]float64, hidden)
		for i := range vocab {
			for j := range hidden {
				want[i*hidden+j] = float64(c.w[i*hidden+j]) + ba[j*vocab+i]
				norms[j] += want[i*hidden+j] * want[i*hidden+j]
			}
		}
		got, err := v.Weights(llm.EmbedName)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range want {
			if c.dora {
				x *= float64(magnitude.values[i%hidden]) / math.Sqrt(norms[i%hidden])
			}
			if math.Abs(float64(got[i])-x) > 1e-6 {
				t.Errorf("%s: element %d is %v, want %v", name, i, got[i], x)
				break
			}
		}
	}
}

// TestBiases: biases of the base's layers are replaced, a bias of lora_B is added with the scale.
func TestBiases(t *testing.T) {
	t.Parallel()
	cfg := tiny()
	cfg.AttentionBias = true
	base := newBase(t, cfg, safetensors.F32, 7)
	own, err := base.Float32(q1 + ".bias")
	if err != nil {
		t.Fatal(err)
	}
	given, extra := normals(32, 1, 5), normals(32, 1, 6)
	const config = `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],`
	for name, c := range map[string]struct {
		options string
		more    map[string]tensor
		want    func(i int) float32
	}{
		"all":       {`"bias":"all"}`, map[string]tensor{".base_layer.bias": vector(given...)}, func(i int) float32 { return given[i] }},
		"lora_only": {`"bias":"lora_only"}`, map[string]tensor{".bias": vector(given...)}, func(i int) float32 { return given[i] }},
		"lora_bias": {`"lora_bias":true}`, map[string]tensor{".lora_B.bias": vector(extra...)}, func(i int) float32 { return own[i] + 2*extra[i] }},
		"both": {`"lora_bias":true,"bias":"all"}`, map[string]tensor{".lora_B.default.bias": vector(extra...), ".base_layer.bias": vector(given...)},
			func(i int) float32 { return given[i] + 2*extra[i] }},
	} {
		tensors := linear(q1, 32, 24, 4, 1)
		for k, v := range c.more {
			tensors[keyPrefix+q1+k] = v
		}
		v, _, err := Open(base, folder(t, config+c.options, tensors))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := v.Weights(q1 + ".bias")
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != c.want(i) {
				t.Errorf("%s: bias %d is %v, want %v", name, i, got[i], c.want(i))
				break
			}
		}
	}
}

// TestTied: embedding and head of a tied base change together or not at all.
func TestTied(t *testing.T) {
	t.Parallel()
	const vocab, hidden, rank = 37, 24, 3
	cfg := tiny()
	cfg.TieWordEmbeddings = true
	base := newBase(t, cfg, safetensors.F32, 7)
	own, err := base.Float32(llm.EmbedName)
	if err != nil {
		t.Fatal(err)
	}
	matrix := func(seed uint64) tensor {
		return tensor{shape: []int{vocab, hidden}, values: normals(vocab*hidden, 1, seed)}
	}
	embed, head := keyPrefix+llm.EmbedName, keyPrefix+llm.LMHeadName
	rows := tensor{shape: []int{rank, vocab}, values: normals(rank*vocab, 0.3, 1)}
	columns := tensor{shape: []int{hidden, rank}, values: normals(hidden*rank, 0.3, 2)}
	lowEmbed := map[string]tensor{keyPrefix + embedModule + ".lora_embedding_A": rows, keyPrefix + embedModule + ".lora_embedding_B": columns}
	lowHead := map[string]tensor{
		keyPrefix + "lm_head.lora_A.weight": {shape: []int{rank, hidden}, values: transposed(columns.values, hidden, rank)},
		keyPrefix + "lm_head.lora_B.weight": {shape: []int{vocab, rank}, values: transposed(rows.values, rank, vocab)},
	}
	both, saved := `"target_modules":["embed_tokens","lm_head","q_proj"]`, `"modules_to_save":["embed_tokens","lm_head"]`
	for name, c := range map[string]struct {
		options string
		tensors map[string]tensor
		ok      bool
	}{
		"both whole, the same":       {saved, map[string]tensor{embed: matrix(1), head: matrix(1)}, true},
		"both whole, different":      {saved, map[string]tensor{embed: matrix(1), head: matrix(2)}, false},
		"the embedding alone":        {`"modules_to_save":["embed_tokens"]`, map[string]tensor{embed: matrix(1)}, false},
		"the head alone":             {`"modules_to_save":["lm_head"]`, map[string]tensor{head: matrix(1)}, false},
		"both as they were":          {saved, map[string]tensor{embed: {shape: []int{vocab, hidden}, values: own}, head: {shape: []int{vocab, hidden}, values: own}}, true},
		"the head kept":              {saved, map[string]tensor{embed: matrix(1), head: {shape: []int{vocab, hidden}, values: own}}, false},
		"both updated, the same":     {both, join(lowEmbed, lowHead), true},
		"only the embedding updated": {both, lowEmbed, false},
		"only the head updated":      {both, lowHead, false},
		"tying ensured":              {both + `,"ensure_weight_tying":true`, lowEmbed, true},
	} {
		dir := folder(t, `{"peft_type":"LORA","r":3,"lora_alpha":3,`+c.options+`}`, c.tensors)
		v, _, err := Open(base, dir)
		if !c.ok {
			if err == nil || !strings.Contains(err.Error(), "tie_word_embeddings") || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: error %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if names := v.Names(); len(names) > 1 || len(names) == 1 && names[0] != llm.EmbedName {
			t.Errorf("%s: names %v", name, names)
		}
		if len(v.LowRank) == 1 {
			again := filepath.Join(t.TempDir(), "again")
			if err := Write(again, v, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			back, _, err := Open(base, again)
			if err != nil {
				t.Fatal(err)
			}
			sameVariant(t, name, back, v)
		}
	}
}
