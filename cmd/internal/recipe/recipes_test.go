package recipe

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/eval/procedural"
)

// Every recipe that ships must load, and the relatives' must ask for nothing but training tasks, never the demo's
// combination of a word and a pair task.
func TestShippedRecipes(t *testing.T) {
	paths, err := filepath.Glob("../../../recipes/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recipes: %v", err)
	}
	for _, path := range paths {
		if filepath.Base(path) == "base.yaml" {
			if _, err := Load[Pretrain](path); err != nil {
				t.Error(err)
			}
			continue
		}
		if _, err := LoadImprove(path, nil); err != nil {
			t.Error(err)
		}
	}
	demo, err := LoadImprove("../../../recipes/demo.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	relatives, err := LoadImprove("../../../recipes/relatives.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	target := strings.Split(demo.Score.Mix, "+")
	for _, name := range relatives.Relatives.Make.Mixes {
		mix, err := procedural.ParseMix(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mix.Training(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		parts := strings.Split(name, "+")
		if slices.Contains(parts, target[0]) && slices.Contains(parts, target[1]) {
			t.Errorf("relative %s holds the demo's %s and %s", name, target[0], target[1])
		}
	}
}

// Settings reach the keys they name, the preset chooses the defaults, and what is misspelt is refused.
func TestSettings(t *testing.T) {
	r, err := LoadImprove("../../../recipes/demo.yaml", []string{"seed=7", "generator.vae.steps=12", "explore.scales=[0.5, 2]", `describe="a, b"`})
	if err != nil {
		t.Fatal(err)
	}
	if r.Seed != 7 || r.Generator.VAE.Steps != 12 || !slices.Equal(r.Explore.Scales, []float64{0.5, 2}) || r.Describe != "a, b" {
		t.Errorf("settings were lost: %+v", r)
	}
	p, err := LoadImprove("../../../recipes/demo.yaml", []string{"generator.preset=paper"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Generator.Diffusion.Predict != "epsilon" || p.Generator.VAE.Kind != "conv" {
		t.Errorf("the paper preset kept other defaults: %+v", p.Generator)
	}
	heldOut := ""
	for _, task := range procedural.All() {
		if task.Split != procedural.TrainSplit {
			heldOut = task.Name
		}
	}
	for _, bad := range []string{"sead=1", "generator.vae.step=1", "seed.x=1", "nothing", "explore.alpha=2", "score.mix=reverse+sort", "relatives.make.mixes=[nope]",
		"score.metric=bits_per_byte", "score.items.select=-1", "score.keep.disk=-1", "score.keep.memory=1e15", "score.keep.memory=2000000000", "explore.tries=49", "explore.scales=[.nan]", "explore.alpha=.nan", "explore.race.alpha=1", "explore.race.alpha=.nan",
		"relatives.make.train.steps=0", "relatives.make.mixes=[" + heldOut + "]"} {
		if _, err := LoadImprove("../../../recipes/demo.yaml", []string{bad}); err == nil {
			t.Errorf("setting %q was accepted", bad)
		}
	}
}
