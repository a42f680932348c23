package llm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"d2nwg/safetensors"
)

// tiny is a config that has every kind of tensor.
func tiny() Config {
	return Config{VocabSize: 37, HiddenSize: 24, IntermediateSize: 40, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxPositions: 64,
		RMSNormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int{2}, AttentionBias: true, MLPBias: true}
}

// newCheckpoint writes a random checkpoint and opens it.
func newCheckpoint(t testing.TB, cfg Config, dt safetensors.DType, shardBytes int64) *Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := RandomCheckpoint(dir, cfg, dt, shardBytes, 7); err != nil {
		t.Fatal(err)
	}
	return openCheckpoint(t, dir)
}

func openCheckpoint(t testing.TB, dir string) *Checkpoint {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRandomCheckpoint(t *testing.T) {
	t.Parallel()
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F64, safetensors.F8E4M3} {
		for _, shardBytes := range []int64{0, 4096} {
			c := newCheckpoint(t, tiny(), dt, shardBytes)
			if shardBytes > 0 && len(c.Files()) < 3 || shardBytes == 0 && !slices.Equal(c.Files(), []string{safetensors.SingleName}) {
				t.Errorf("%s, shards of %d bytes: files %v", dt, shardBytes, c.Files())
			}
			if len(c.Tensors()) != len(tiny().TensorShapes()) || c.Config.DType != dt {
				t.Errorf("%d tensors, dtype %s", len(c.Tensors()), c.Config.DType)
			}
			for _, tensor := range c.Tensors() {
				values, err := c.Float32(tensor.Name)
				if err != nil {
					t.Fatal(err)
				}
				module, _, _ := ParseName(tensor.Name)
				want := 0.0
				if strings.HasSuffix(module, "norm") {
					want = 1
				}
				mean, std := moments(values)
				bound := 0.02 * 5 / math.Sqrt(float64(len(values)))
				if tensor.DType != dt || math.Abs(mean-want) > bound+0.03*want || want == 0 && math.Abs(std-0.02) > bound {
					t.Errorf("%s %s: mean %g, deviation %g", tensor.Name, tensor.DType, mean, std)
				}
			}
		}
	}
}

func moments(x []float32) (mean, std float64) {
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		std += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	return mean, math.Sqrt(std)
}

func TestRandomCheckpointSeed(t *testing.T) {
	t.Parallel()
	hash := func(seed uint64) string {
		dir := filepath.Join(t.TempDir(), "c")
		if err := RandomCheckpoint(dir, tiny(), safetensors.BF16, 0, seed); err != nil {
			t.Fatal(err)
		}
		h, err := openCheckpoint(t, dir).Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if a, b, c := hash(1), hash(1), hash(2); a != b || a == c {
		t.Fatalf("seeds 1, 1, 2 give %s, %s, %s", a, b, c)
	}
}

func TestHash(t *testing.T) {
	c := newCheckpoint(t, tiny(), safetensors.F16, 4096)
	h := sha256.New()
	for _, name := range c.Files() {
		data, err := os.ReadFile(filepath.Join(c.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	if got, err := c.Hash(); err != nil || got != hex.EncodeToString(h.Sum(nil)) {
		t.Fatalf("%s, %v", got, err)
	}
}

// tensors returns sources of every tensor of cfg, which a case may then spoil.
func tensors(cfg Config) []safetensors.Source {
	var sources []safetensors.Source
	for _, s := range cfg.TensorShapes() {
		sources = append(sources, zeros(s.Name, safetensors.F32, s.Shape...))
	}
	return sources
}

func zeros(name string, dt safetensors.DType, shape ...int) safetensors.Source {
	bits, _ := dt.Bits()
	return safetensors.Raw(name, dt, shape, make([]byte, elements(shape)*bits/8))
}

// put writes a directory of a config and one weight file.
func put(t *testing.T, cfg any, sources []safetensors.Source) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, ConfigName, data)
	if sources != nil {
		if err := safetensors.Write(filepath.Join(dir, safetensors.SingleName), nil, sources); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestOpenHarmlessExtras(t *testing.T) {
	cfg := tiny()
	cfg.TieWordEmbeddings = true
	sources := append(tensors(cfg), zeros(LMHeadName, safetensors.F32, cfg.VocabSize, cfg.HiddenSize),
		zeros("model.layers.0.self_attn.rotary_emb.inv_freq", safetensors.F32, 4))
	c := openCheckpoint(t, put(t, cfg, sources))
	if _, ok := c.Tensor(LMHeadName); !ok {
		t.Fatal("the stored head of a tied model is gone")
	}
}

func TestOpenRefuses(t *testing.T) {
	cfg := tiny()
	without := func(name string) []safetensors.Source {
		return slices.DeleteFunc(tensors(cfg), func(s safetensors.Source) bool { return s.Name == name })
	}
	norm := "model.norm.weight"
	up := "model.layers.1.mlp.up_proj.weight"
	more := cfg
	more.Layers = 60000
	tied := cfg
	tied.TieWordEmbeddings = true
	cases := map[string]struct {
		dir  string
		want string
	}{
		"a missing tensor":       {put(t, cfg, without(up)), up},
		"a missing bias":         {put(t, cfg, without("model.layers.1.mlp.up_proj.bias")), "up_proj.bias"},
		"a missing head":         {put(t, cfg, without(LMHeadName)), LMHeadName},
		"a wrong shape":          {put(t, cfg, append(without(up), zeros(up, safetensors.F32, cfg.HiddenSize, cfg.IntermediateSize))), up},
		"a wrong rank":           {put(t, cfg, append(without(norm), zeros(norm, safetensors.F32, cfg.HiddenSize, 1))), norm},
		"an integer tensor":      {put(t, cfg, append(without(norm), zeros(norm, safetensors.I32, cfg.HiddenSize))), "I32"},
		"a scaled float dtype":   {put(t, cfg, append(without(norm), zeros(norm, safetensors.F8E8M0, cfg.HiddenSize))), "F8_E8M0"},
		"an unexpected tensor":   {put(t, cfg, append(tensors(cfg), zeros("model.\nlayers", safetensors.F32, 1))), `model.\nlayers`},
		"a layer too many":       {put(t, cfg, append(tensors(cfg), zeros("model.layers.2.input_layernorm.weight", safetensors.F32, 24))), "layers.2"},
		"layers that lack":       {put(t, more, tensors(cfg)), "model.layers.2.input_layernorm.weight"},
		"a head of other shape":  {put(t, tied, append(tensors(tied), zeros(LMHeadName, safetensors.F32, 3, cfg.HiddenSize))), LMHeadName},
		"a config of no meaning": {put(t, []int{1}, tensors(cfg)), "config"},
	}
	for name, c := range cases {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ck, err := Open(c.dir)
		runtime.ReadMemStats(&after)
		switch {
		case err == nil:
			t.Errorf("%s is accepted", name)
			ck.Close()
		case !errors.Is(err, safetensors.ErrFormat):
			t.Errorf("%s: %v doesn't wrap ErrFormat", name, err)
		case !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: error %q, want one line with %q", name, err, c.want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: refusing allocated %d bytes", name, used)
		}
	}
}

func TestOpenMissing(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	onlyConfig := put(t, tiny(), nil)
	pickle := put(t, tiny(), nil)
	write(t, pickle, "pytorch_model.bin", []byte("x"))
	noShard := newCheckpoint(t, tiny(), safetensors.F32, 4096).Dir
	if err := os.Remove(filepath.Join(noShard, safetensors.ShardName(1, len(openCheckpoint(t, noShard).Files())))); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{empty: ConfigName, onlyConfig: safetensors.SingleName, pickle: "pytorch_model.bin",
		noShard: "model-00001", filepath.Join(empty, "no"): "no"} {
		if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a missing file and %q", dir, err, want)
		}
	}
}

func TestOpenIndexDisagrees(t *testing.T) {
	t.Parallel()
	base := newCheckpoint(t, tiny(), safetensors.F32, 4096)
	files := base.Files()
	norm, _ := base.Tensor("model.norm.weight")
	for name, spoil := range map[string]func(ix *safetensors.Index){
		"a tensor in the wrong shard":  func(ix *safetensors.Index) { ix.Shards[norm.Name] = files[0] },
		"a tensor without a shard":     func(ix *safetensors.Index) { delete(ix.Shards, norm.Name) },
		"a tensor that isn't anywhere": func(ix *safetensors.Index) { ix.Shards["ghost"] = files[0] },
	} {
		path := filepath.Join(base.Dir, safetensors.IndexName)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ix, err := safetensors.ReadIndex(path)
		if err != nil {
			t.Fatal(err)
		}
		spoil(ix)
		if err := ix.Write(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(base.Dir); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		write(t, base.Dir, safetensors.IndexName, good)
	}
	data, err := os.ReadFile(filepath.Join(base.Dir, files[0]))
	if err != nil {
		t.Fatal(err)
	}
	ix, err := safetensors.ReadIndex(filepath.Join(base.Dir, safetensors.IndexName))
	if err != nil {
		t.Fatal(err)
	}
	write(t, base.Dir, "twin.safetensors", data)
	ix.Shards["ghost"] = "twin.safetensors"
	if err := ix.Write(filepath.Join(base.Dir, safetensors.IndexName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(base.Dir); !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), "twin") {
		t.Errorf("a tensor in two shards: %v", err)
	}
}

func TestWriteCheckpoint(t *testing.T) {
	t.Parallel()
	cfg := tiny()
	values := func(name string) ([]float32, error) {
		out := make([]float32, elements(cfg.shapeOf(name)))
		newNormals(name, 1).fill(out, 0, 1)
		return out, nil
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	extra := map[string][]byte{"tokenizer.json": []byte("{}")}
	if err := WriteCheckpoint(dir, cfg, safetensors.F32, values, extra); err != nil {
		t.Fatal(err)
	}
	c := openCheckpoint(t, dir)
	for _, s := range cfg.TensorShapes() {
		want, _ := values(s.Name)
		if got, err := c.Float32(s.Name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s differs: %v", s.Name, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json")); err != nil || !bytes.Equal(data, extra["tokenizer.json"]) {
		t.Error(err)
	}
	if err := WriteCheckpoint(dir, cfg, safetensors.F32, values, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing target: %v", err)
	}
	for name, get := range map[string]func(string) ([]float32, error){
		"short": func(n string) ([]float32, error) { v, _ := values(n); return v[1:], nil },
		"nan":   func(n string) ([]float32, error) { v, _ := values(n); v[3] = float32(math.NaN()); return v, nil },
		"lost":  func(string) ([]float32, error) { return nil, fs.ErrNotExist },
	} {
		target := filepath.Join(t.TempDir(), "bad")
		err := WriteCheckpoint(target, cfg, safetensors.BF16, get, nil)
		if err == nil || !strings.Contains(err.Error(), EmbedName) {
			t.Errorf("%s: %v, want an error that names %s", name, err, EmbedName)
		}
		if left, _ := os.ReadDir(filepath.Dir(target)); len(left) > 0 {
			t.Errorf("%s: %v left behind", name, left)
		}
	}
	if err := WriteCheckpoint(filepath.Join(t.TempDir(), "x"), cfg, safetensors.F32, values, map[string][]byte{"../x": nil}); err == nil {
		t.Error("a file outside of the directory is accepted")
	}
}

func TestSharedA(t *testing.T) {
	cfg := Llama32_1B()
	const q = "model.layers.3.self_attn.q_proj.weight"
	a := SharedA(cfg, q, 8, 42) // (8, 2048)
	mean, std := moments(a)
	if want := 1 / math.Sqrt(2048); math.Abs(mean) > 4*want/math.Sqrt(float64(len(a))) || math.Abs(std/want-1) > 0.02 {
		t.Errorf("mean %g, deviation %g, want 0, %g", mean, std, want)
	}
	for name, b := range map[string][]float32{"seed": SharedA(cfg, q, 8, 43), "layer": SharedA(cfg, "model.layers.4.self_attn.q_proj.weight", 8, 42)} {
		if slices.Equal(a[:16], b[:16]) {
			t.Errorf("another %s gives the same values", name)
		}
	}
	if !slices.Equal(SharedA(cfg, q, 4, 42), a[:4*2048]) {
		t.Error("a lower rank isn't a prefix")
	}
	for _, name := range []string{"", "model.norm.weight", "model.layers.16.mlp.up_proj.weight", LMHeadName} {
		if SharedA(cfg, name, 4, 1) != nil {
			t.Errorf("%q has a factor", name)
		}
	}
	// Relatives ship the seed alone, so these bits may never change.
	sum := sha256.New()
	for _, x := range a {
		_ = binary.Write(sum, binary.LittleEndian, x)
	}
	if got := hex.EncodeToString(sum.Sum(nil))[:16]; got != sharedAHash {
		t.Errorf("values changed: hash %s, want %s", got, sharedAHash)
	}
}

const sharedAHash = "a5cc36c12e42e601"
