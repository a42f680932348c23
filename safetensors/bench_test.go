package safetensors

import (
	"fmt"
	"path/filepath"
	"testing"
)

// llamaInfos are the 146 tensors of LLaMA-3.2-1B by name, with every dimension divided by scale.
func llamaInfos(dt DType, scale int) []Info {
	hidden, kv, ffn, vocab := 2048/scale, 512/scale, 8192/scale, 128256/scale
	infos := []Info{{Name: "model.embed_tokens.weight", DType: dt, Shape: []int{vocab, hidden}}}
	add := func(layer int, name string, shape ...int) {
		infos = append(infos, Info{Name: fmt.Sprintf("model.layers.%d.%s.weight", layer, name), DType: dt, Shape: shape})
	}
	for layer := range 16 {
		add(layer, "input_layernorm", hidden)
		add(layer, "mlp.down_proj", hidden, ffn)
		add(layer, "mlp.gate_proj", ffn, hidden)
		add(layer, "mlp.up_proj", ffn, hidden)
		add(layer, "post_attention_layernorm", hidden)
		add(layer, "self_attn.k_proj", kv, hidden)
		add(layer, "self_attn.o_proj", hidden, hidden)
		add(layer, "self_attn.q_proj", hidden, hidden)
		add(layer, "self_attn.v_proj", kv, hidden)
	}
	return append(infos, Info{Name: "model.norm.weight", DType: dt, Shape: []int{hidden}})
}

// zeros makes sources of zero bytes for infos.
func zeros(tb testing.TB, infos []Info) []Source {
	tb.Helper()
	_, placed, err := Layout(nil, infos)
	if err != nil {
		tb.Fatal(err)
	}
	var sources []Source
	for _, t := range placed {
		sources = append(sources, Raw(t.Name, t.DType, t.Shape, make([]byte, t.Size)))
	}
	return sources
}

func BenchmarkOpen146(b *testing.B) {
	path := filepath.Join(b.TempDir(), SingleName)
	if err := Write(path, map[string]string{"format": "pt"}, zeros(b, llamaInfos(BF16, 16))); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if len(f.Tensors()) != 146 {
			b.Fatal(len(f.Tensors()))
		}
		f.Close()
	}
}

const benchElements = 1 << 20

func benchValues() []float32 {
	x := make([]float32, benchElements)
	for i := range x {
		x[i] = float32(i%2039-1000) / 4096
	}
	return x
}

func BenchmarkDecode(b *testing.B) {
	for _, dt := range []DType{F32, BF16, F16, F8E4M3, F64} {
		b.Run(string(dt), func(b *testing.B) {
			width, _ := dt.Bits()
			src, dst := make([]byte, benchElements*width/8), benchValues()
			if err := Encode(src, dt, dst); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := Decode(dst, dt, src); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(benchElements)*float64(b.N)/1e9/b.Elapsed().Seconds(), "Gelem/s")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, dt := range []DType{F32, BF16, F16, F8E4M3, F8E5M2} {
		b.Run(string(dt), func(b *testing.B) {
			width, _ := dt.Bits()
			dst, src := make([]byte, benchElements*width/8), benchValues()
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				if err := Encode(dst, dt, src); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(benchElements)*float64(b.N)/1e9/b.Elapsed().Seconds(), "Gelem/s")
		})
	}
}

func BenchmarkRound(b *testing.B) {
	for _, dt := range []DType{BF16, F16, F8E4M3} {
		b.Run(string(dt), func(b *testing.B) {
			x := benchValues()
			b.SetBytes(4 * benchElements)
			for b.Loop() {
				if err := Round(dt, x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
