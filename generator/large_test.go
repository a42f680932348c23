package generator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"d2nwg/generator/tokens"
	"d2nwg/internal/compute"
)

// TestLarge trains two steps of each stage on dense weights of LLaMA-3.2-1B's shapes and samples one layer. It runs when D2NWG_LARGE is
// set to the number of layers, takes minutes, and fails above 12 GiB.
func TestLarge(t *testing.T) {
	layers := 0
	if _, err := fmt.Sscan(os.Getenv("D2NWG_LARGE"), &layers); err != nil {
		t.Skip("set D2NWG_LARGE to a number of layers to train on shapes of LLaMA-3.2-1B")
	}
	b, err := compute.Open(context.Background(), "auto")
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int{"q_proj": {2048, 2048}, "k_proj": {512, 2048}, "v_proj": {512, 2048}, "o_proj": {2048, 2048},
		"gate_proj": {8192, 2048}, "up_proj": {8192, 2048}, "down_proj": {2048, 8192}}
	set := Set{Names: []string{"a", "b"}, Conditions: [][]float32{make([]float32, 2048), make([]float32, 2048)}}
	set.Conditions[0][0] = 1
	for l := range layers {
		for _, m := range []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} {
			set.Specs = append(set.Specs, tokens.Spec{Name: fmt.Sprintf("layers.%d.%s", l, m), Module: m, Layer: l, Shape: shapes[m]})
		}
	}
	elements := map[string]int{}
	for _, s := range set.Specs {
		elements[s.Name] = s.Elements()
	}
	set.Load = func(i int, name string) ([]float32, error) {
		r := rand.New(rand.NewPCG(uint64(i), uint64(len(name))))
		v := make([]float32, elements[name])
		for k := range v {
			v[k] = r.Float32() - 0.5
		}
		return v, nil
	}
	cfg, err := Default(Modern)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ChunkLen, cfg.Scope, cfg.MaxTokens = 65536, ScopeLayer, 256
	cfg.VAE.Hidden, cfg.VAE.Batch, cfg.VAE.Steps, cfg.Diffusion.Steps, cfg.Diffusion.Batch = 512, 64, 2, 2, 4
	start := time.Now()
	g, err := TrainVAE(context.Background(), cfg, set, TrainOptions{Backend: b})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	t.Logf("VAE: %v", time.Since(start).Round(time.Second))
	if err := g.TrainDiffusion(context.Background(), set, TrainOptions{Backend: b}); err != nil {
		t.Fatal(err)
	}
	t.Logf("diffusion: %v", time.Since(start).Round(time.Second))
	out, err := g.SampleWith(context.Background(), set.Conditions[0], 1, 1, SampleOptions{Steps: 2, Only: func(s tokens.Spec) bool { return s.Layer == 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if len(out[0]) != 7 || len(out[0]["layers.0.down_proj"]) != 2048*8192 {
		t.Errorf("%d tensors were sampled", len(out[0]))
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	t.Logf("sample: %v; largest memory %.1f GiB", time.Since(start).Round(time.Second), float64(u.Maxrss)/(1<<20))
	if u.Maxrss > 12<<20 {
		t.Error("more than 12 GiB")
	}
}
