package spectrum

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// reference derives the SNR anew, step by step as method.md words it, on a
// descending spectrum.
func reference(s []float64, rows, cols int) (snr, threshold float64) {
	quantile := func(q float64) float64 { // numpy's default, by ranks counted from the top
		n := float64(len(s) - 1)
		at := (1 - q) * n
		floor, ceil := math.Floor(at), math.Ceil(at)
		return s[int(floor)]*(1-(at-floor)) + s[int(ceil)]*(at-floor)
	}
	iqr := quantile(0.75) - quantile(0.25)
	ratio := float64(rows) / float64(cols)
	if ratio > 1 {
		ratio = 1 / ratio
	}
	threshold = iqr / 1.349 * (1 + math.Sqrt(ratio))
	above, below := 0.0, 0.0
	for _, x := range s {
		if x > threshold {
			above += x
		} else {
			below += x
		}
	}
	if below == 0 {
		return math.Inf(1), threshold
	}
	return above / below / s[0], threshold
}

func TestMeasureAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SliceOfN(rapid.Float64Range(1e-3, 10), 1, 40).Draw(t, "spectrum")
		// A few far outliers, as trained matrices have.
		for range rapid.IntRange(0, 3).Draw(t, "outliers") {
			s = append(s, rapid.Float64Range(20, 500).Draw(t, "outlier"))
		}
		long := len(s) + rapid.IntRange(0, 60).Draw(t, "longer")
		l := Layer{Shape: []int{len(s), long}}
		if rapid.Bool().Draw(t, "tall") {
			l.Shape = []int{long, len(s)}
		}
		l.measure(s)
		sort.Sort(sort.Reverse(sort.Float64Slice(s)))
		snr, threshold := reference(s, l.Shape[0], l.Shape[1])
		if math.Abs(l.Threshold-threshold) > 1e-12*(1+threshold) {
			t.Fatalf("threshold %g, want %g", l.Threshold, threshold)
		}
		if l.SNR != snr && math.Abs(l.SNR-snr) > 1e-12*snr {
			t.Fatalf("SNR %g, want %g", l.SNR, snr)
		}
		if l.Largest != s[0] {
			t.Fatalf("largest %g, want %g", l.Largest, s[0])
		}
	})
}

// TestMeasureByHand holds figures worked out on paper.
func TestMeasureByHand(t *testing.T) {
	cases := map[string]struct {
		spectrum []float64
		shape    []int
		snr      float64
		signal   int
	}{
		// Quartiles 2 and 4: σ = 2/1.349 = 1.48258, β = 1, threshold 2.96516: 3+4+5 over 1+2, by 5.
		"five":             {[]float64{5, 4, 3, 2, 1}, []int{5, 5}, 12.0 / 3 / 5, 3},
		"five, tall":       {[]float64{1, 2, 3, 4, 5}, []int{20, 5}, 12.0 / 3 / 5, 3}, // β = 1/4: 2.22387
		"all equal":        {[]float64{2, 2, 2}, []int{3, 9}, math.Inf(1), 3},         // IQR 0: no noise
		"one":              {[]float64{7}, []int{1, 30}, math.Inf(1), 1},
		"zeros":            {[]float64{0, 0, 0, 0}, []int{4, 4}, 0, 0},
		"exactly low rank": {[]float64{9, 0, 0, 0, 0, 0}, []int{6, 6}, math.Inf(1), 1}, // its noise sums to 0
	}
	for name, c := range cases {
		l := Layer{Shape: c.shape}
		l.measure(c.spectrum)
		if l.Signal != c.signal || l.SNR != c.snr && math.Abs(l.SNR-c.snr) > 1e-14 {
			t.Errorf("%s: SNR %g of %d signals, want %g of %d", name, l.SNR, l.Signal, c.snr, c.signal)
		}
	}
}

func TestSelection(t *testing.T) {
	layers := []Layer{}
	for i, module := range []string{"a", "a", "a", "a", "a", "a", "a", "b", "c", "c"} {
		layers = append(layers, Layer{Module: module, Layer: i})
	}
	for percent, want := range map[int]int{1: 3, 25: 3, 29: 4, 50: 5, 99: 8, 100: 10} {
		sel(layers, percent)
		got := 0
		for i, l := range layers {
			if l.Selected {
				got++
			}
			if i > 0 && l.Module == layers[i-1].Module && l.Rank != layers[i-1].Rank+1 {
				t.Errorf("rank %d follows %d", l.Rank, layers[i-1].Rank)
			}
		}
		if got != want { // int(7·p/100) + int(1·p/100) + int(2·p/100), each at least one
			t.Errorf("%d %%: %d selected, want %d", percent, got, want)
		}
	}
}

func config() llm.Config {
	return llm.Config{VocabSize: 300, HiddenSize: 48, IntermediateSize: 160, Layers: 5, Heads: 6, KVHeads: 2, HeadDim: 8, MaxPositions: 64,
		RMSNormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int{2}, AttentionBias: true}
}

func openCheckpoint(t testing.TB, dir string) *llm.Checkpoint {
	t.Helper()
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestRankPlanted: low rank planted into noise, in every dtype, ranked as an
// SVD of the decoded values and the reference formula rank it.
func TestRankPlanted(t *testing.T) {
	random := filepath.Join(t.TempDir(), "random")
	if err := llm.RandomCheckpoint(random, config(), safetensors.F32, 0, 3); err != nil {
		t.Fatal(err)
	}
	base := openCheckpoint(t, random)
	for _, dt := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F8E4M3} {
		dir := filepath.Join(t.TempDir(), "planted")
		err := llm.WriteCheckpoint(dir, config(), dt, func(name string) ([]float32, error) {
			w, err := base.Float32(name)
			info, _ := base.Tensor(name)
			_, layer, _ := llm.ParseName(name)
			for r := range layer { // rank and strength grow with the layer
				for i := range w {
					w[i] += 0.03 * float32(math.Cos(float64((r+1)*(i/info.Shape[len(info.Shape)-1]))))
				}
			}
			return w, err
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkRanking(t, openCheckpoint(t, dir))
	}
}

func checkRanking(t *testing.T, c *llm.Checkpoint) {
	t.Helper()
	var events []progress.Event
	layers, err := Rank(context.Background(), c, 40, func(e progress.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 7*5+2 || len(events) != len(layers)+1 || events[len(layers)].Done != int64(len(layers)) {
		t.Errorf("%d layers, %d events", len(layers), len(events))
	}
	snr := map[string]float64{}
	for i, l := range layers {
		w, err := c.Float32(l.Tensor)
		if err != nil {
			t.Fatal(err)
		}
		dense := mat.NewDense(l.Shape[0], l.Shape[1], nil)
		dense.Apply(func(i, j int, _ float64) float64 { return float64(w[i*l.Shape[1]+j]) }, dense)
		var svd mat.SVD
		if !svd.Factorize(dense, mat.SVDNone) {
			t.Fatal(l.Tensor)
		}
		snr[l.Tensor], _ = reference(svd.Values(nil), l.Shape[0], l.Shape[1])
		if l.SNR != snr[l.Tensor] && math.Abs(l.SNR-snr[l.Tensor]) > 1e-9*l.SNR {
			t.Errorf("%s: SNR %g, want %g", l.Tensor, l.SNR, snr[l.Tensor])
		}
		module, layer, _ := llm.ParseName(l.Tensor)
		if module != l.Module || layer != l.Layer {
			t.Errorf("%+v", l)
		}
		if l.Selected != (l.Rank <= 2 && layer >= 0 || l.Rank == 1) { // int(5·40/100) = 2, int(1·40/100) = 0
			t.Errorf("%s: rank %d, selected %v", l.Tensor, l.Rank, l.Selected)
		}
		if i > 0 && layers[i-1].Module == l.Module && snr[layers[i-1].Tensor] < snr[l.Tensor] {
			t.Errorf("%s stands before %s", layers[i-1].Tensor, l.Tensor)
		}
	}
}

func TestRankWithoutAndTies(t *testing.T) {
	cfg := config()
	cfg.Layers = 12
	dir := filepath.Join(t.TempDir(), "same")
	err := llm.WriteCheckpoint(dir, cfg, safetensors.F32, func(name string) ([]float32, error) {
		for _, s := range cfg.TensorShapes() {
			if s.Name == name { // every layer of a module has the same values
				out := make([]float32, s.Elements())
				for i := range out {
					out[i] = float32(math.Sin(float64(i * i)))
				}
				return out, nil
			}
		}
		return nil, errors.New("unknown")
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := Rank(context.Background(), openCheckpoint(t, dir), 50, nil, llm.EmbedTokens, llm.LMHead)
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 7*12 {
		t.Errorf("%d layers", len(layers))
	}
	for i, l := range layers {
		if l.Layer < 0 {
			t.Errorf("%s isn't left out", l.Tensor)
		}
		if i > 0 && layers[i-1].Module == l.Module && layers[i-1].Tensor >= l.Tensor {
			t.Errorf("a tie puts %s before %s", layers[i-1].Tensor, l.Tensor)
		}
		if l.Selected != (l.Rank <= 6) {
			t.Errorf("%s: rank %d, selected %v", l.Tensor, l.Rank, l.Selected)
		}
	}
}

func TestRankRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if err := llm.RandomCheckpoint(dir, config(), safetensors.F32, 0, 3); err != nil {
		t.Fatal(err)
	}
	c := openCheckpoint(t, dir)
	for _, percent := range []int{-1, 0, 101} {
		if _, err := Rank(context.Background(), c, percent, nil); err == nil {
			t.Errorf("%d %% is accepted", percent)
		}
	}
	if _, err := Rank(context.Background(), c, 25, nil, "q_prj"); err == nil || !strings.Contains(err.Error(), "q_prj") {
		t.Errorf("an unknown module: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Rank(ctx, c, 25, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	path := filepath.Join(dir, safetensors.SingleName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(data[len(data)-4:], []byte{0, 0, 0x80, 0x7f}) // the last value of lm_head: +Inf
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Rank(context.Background(), openCheckpoint(t, dir), 25, nil); err == nil || !strings.Contains(err.Error(), "lm_head.weight") {
		t.Errorf("an infinite weight: %v", err)
	}
}

func TestLayerJSON(t *testing.T) {
	for snr, want := range map[float64]string{0.5: `"snr":0.5`, math.Inf(1): `"snr":"inf"`} {
		data, err := json.Marshal(Layer{Tensor: "t", SNR: snr})
		if err != nil || !strings.Contains(string(data), want) || strings.Count(string(data), `"snr"`) != 1 {
			t.Errorf("%s, %v", data, err)
		}
	}
}

func TestGoldenRank(t *testing.T) {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	configs, _ := filepath.Glob(filepath.Join(root, "models", "*", llm.ConfigName))
	if len(configs) == 0 {
		t.Skipf("no models below %s: set D2NWG_SHARED to the shared folder", root)
	}
	matrices := 0
	for _, path := range configs {
		c := openCheckpoint(t, filepath.Dir(path))
		layers, err := Rank(context.Background(), c, 25, nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for _, l := range layers {
			m, err := open(c, l.Tensor)
			if err != nil {
				t.Fatal(err)
			}
			s, err := direct(m)
			if err != nil {
				t.Fatal(err)
			}
			if snr, _ := reference(s, m.rows, m.cols); math.Abs(l.SNR-snr) > 1e-9*snr {
				t.Errorf("%s: SNR %g, want %g", l.Tensor, l.SNR, snr)
			}
			matrices++
		}
	}
	t.Logf("%d matrices of %d models", matrices, len(configs))
}
