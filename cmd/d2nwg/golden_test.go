package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared returns the folder of reference files, or skips the test.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("D2NWG_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no reference files in %s; set D2NWG_SHARED to their folder", dir)
	}
	return dir
}

// commandOutput runs one command line and returns its standard output.
func commandOutput(t *testing.T, stdin io.Reader, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if err := execute(context.Background(), append([]string{"d2nwg"}, args...), stdin, &out, &errs); err != nil {
		t.Fatalf("d2nwg %s: %v", strings.Join(args, " "), err)
	}
	if errs.Len() > 0 {
		t.Errorf("d2nwg %s wrote to standard error: %q", strings.Join(args, " "), errs.String())
	}
	return out.Bytes()
}

// goldenCase is one sequence of golden/llama/*.json, computed in float64 by an independent program.
type goldenCase struct {
	IDs           []int     `json:"ids"`
	LogitsLast    []float64 `json:"logits_last"`
	TokenLogProbs []float64 `json:"token_logprobs"`
}

// TestGoldenLogits runs the logits command over every reference model and compares what it prints.
func TestGoldenLogits(t *testing.T) {
	dir := shared(t)
	files, err := filepath.Glob(filepath.Join(dir, "golden", "llama", "*.json"))
	if err != nil || len(files) == 0 {
		t.Skipf("no golden logits below %s", dir)
	}
	held := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Model string       `json:"model"`
			Cases []goldenCase `json:"cases"`
		}
		if err := json.Unmarshal(data, &golden); err != nil {
			t.Fatal(err)
		}
		var input bytes.Buffer
		for _, c := range golden.Cases {
			if err := json.NewEncoder(&input).Encode(map[string]any{"ids": c.IDs}); err != nil {
				t.Fatal(err)
			}
		}
		out := commandOutput(t, &input, "logits", filepath.Join(dir, "models", golden.Model))
		lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
		if len(lines) != len(golden.Cases) {
			t.Fatalf("%s: %d answers to %d lines", golden.Model, len(lines), len(golden.Cases))
		}
		for i, c := range golden.Cases {
			if compareLogits(t, golden.Model, c, lines[i]) {
				held++
			}
		}
	}
	t.Logf("%d sequences of %d models agree", held, len(files))
}

// compareLogits holds an answer to within 2e-4 of the reference logits' deviation.
func compareLogits(t *testing.T, model string, want goldenCase, line []byte) bool {
	t.Helper()
	var got struct {
		LogitsLast    []float64 `json:"logits_last"`
		TokenLogProbs []float64 `json:"token_logprobs"`
		Argmax        []int     `json:"argmax"`
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", model, err)
	}
	n := len(want.IDs)
	if len(got.LogitsLast) != len(want.LogitsLast) || len(got.TokenLogProbs) != n-1 || len(got.Argmax) != n {
		t.Errorf("%s, %d ids: %d logits, %d log-probabilities, %d argmax", model, n, len(got.LogitsLast), len(got.TokenLogProbs), len(got.Argmax))
		return false
	}
	tolerance := 2e-4 * deviation(want.LogitsLast)
	worst := maxDifference(got.LogitsLast, want.LogitsLast)
	if worst > tolerance {
		t.Errorf("%s, %d ids: logits differ by %.3g, allowed %.3g", model, n, worst, tolerance)
		return false
	}
	if len(want.TokenLogProbs) == n-1 {
		if d := maxDifference(got.TokenLogProbs, want.TokenLogProbs); d > 2*tolerance+1e-5 {
			t.Errorf("%s, %d ids: log-probabilities differ by %.3g", model, n, d)
			return false
		}
	}
	return true
}

func maxDifference(a, b []float64) float64 {
	worst := 0.0
	for i := range a {
		worst = math.Max(worst, math.Abs(a[i]-b[i]))
	}
	return worst
}

func deviation(x []float64) float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	return math.Sqrt(square)
}

// TestGoldenInspect opens every reference model and compares what inspect prints with config.json.
func TestGoldenInspect(t *testing.T) {
	dir := shared(t)
	configs, err := filepath.Glob(filepath.Join(dir, "models", "*", "config.json"))
	if err != nil || len(configs) == 0 {
		t.Skipf("no models below %s", dir)
	}
	for _, path := range configs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := json.Unmarshal(data, &config); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Parameters, Bytes int64
			Config            map[string]any
			Tensors           []tensorInfo
		}
		if err := json.Unmarshal(commandOutput(t, nil, "inspect", filepath.Dir(path), "--json"), &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size"} {
			if got.Config[key] != config[key] {
				t.Errorf("%s: %s is %v, want %v", path, key, got.Config[key], config[key])
			}
		}
		sum := int64(0)
		for _, tensor := range got.Tensors {
			sum += elements(tensor.Shape)
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), tensor.File)); err != nil {
				t.Errorf("%s: %v", tensor.Name, err)
			}
		}
		if sum != got.Parameters || got.Bytes < 2*sum {
			t.Errorf("%s: %d parameters in %d bytes, the shapes give %d", path, got.Parameters, got.Bytes, sum)
		}
	}
	t.Logf("%d models agree with their config.json", len(configs))
}
