package finetune

import (
	"fmt"
	"slices"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/llm"
	"d2nwg/llm/train"
)

// Plan is what a job would do.
type Plan struct {
	Base    string `json:"base"`
	Kind    string `json:"kind"`            // "adapter" or "checkpoint"
	Trained int64  `json:"trained"`         // parameters
	Tensors int    `json:"tensors"`         // that change
	Rank    int    `json:"rank,omitempty"`  // of an adapter
	Items   int    `json:"items,omitempty"` // trained on; 0 where they are drawn without end
	Long    int    `json:"long"`            // questions left out, longer than a row
	Held    int    `json:"held"`            // held-out items
	Steps   int    `json:"steps"`           // at most
	Tokens  int    `json:"tokens_per_step"` // padding included
	Every   int    `json:"measured_every"`  // steps
}

// Plan tells what Run would do. Nothing is trained or written to make it.
func (j *Job) Plan() Plan {
	r := j.Recipe
	p := Plan{
		Base: r.Base, Kind: "adapter", Rank: j.lr.Rank, Items: j.data.items, Long: j.data.long,
		Steps: r.Train.Steps, Tokens: r.Data.Rows * r.Data.Length, Every: r.Stop.Every,
	}
	if j.data.held != nil {
		p.Held = j.data.held.Items(heldSplit)
	}
	if r.Full {
		p.Kind, p.Trained, p.Tensors = "checkpoint", j.base.Config.Parameters(), len(j.base.Config.TensorShapes())
		return p
	}
	shapes, _ := train.Adapted(j.base.Config, j.lr) // checked by shape
	p.Tensors = len(shapes)
	for _, s := range shapes {
		p.Trained += int64(j.lr.Rank * s.Shape[0])
		if j.lr.TrainA {
			p.Trained += int64(j.lr.Rank * s.Shape[1])
		}
	}
	return p
}

// shape completes what the recipe says of the adapter, from the adapter it starts from where there is one.
func (j *Job) shape() error {
	r := &j.Recipe.LoRA
	if len(j.start.Replace) > 0 {
		return recipeError("--init %s replaces whole tensors (%s), which an adapter can't start from; merge it into a checkpoint, or use --full",
			j.Recipe.Init, j.start.Names()[0])
	}
	if err := j.inherit(r); err != nil {
		return err
	}
	if r.Rank == 0 {
		r.Rank = 8
	}
	if r.Alpha == 0 {
		r.Alpha = float64(r.Rank)
	}
	j.lr = train.LowRankOptions{
		Rank: r.Rank, Scale: r.Alpha / float64(r.Rank), Modules: r.Modules, Layers: r.Layers, TrainA: r.SharedA == nil,
	}
	if len(j.start.LowRank) > 0 {
		j.lr.Init = []map[string]llm.LowRank{j.start.LowRank}
	}
	if _, err := train.Adapted(j.base.Config, j.lr); err != nil {
		return recipeError("%w", err)
	}
	return nil
}

// inherit takes rank, modules and layers from the initial adapter where the recipe leaves them open.
func (j *Job) inherit(r *recipe.FinetuneLoRA) error {
	rank, modules, layers := 0, []string{}, []int{}
	for _, s := range j.base.Config.TensorShapes() {
		l, ok := j.start.LowRank[s.Name]
		if !ok {
			continue
		}
		if s.Layer < 0 {
			return recipeError("--init %s adapts %s, which only layers' linear modules can be here", j.Recipe.Init, s.Name)
		}
		if rank != 0 && l.Rank != rank {
			return recipeError("--init %s has updates of ranks %d and %d; only one rank can be trained", j.Recipe.Init, rank, l.Rank)
		}
		rank = l.Rank
		if !slices.Contains(modules, s.Module) {
			modules = append(modules, s.Module)
		}
		if !slices.Contains(layers, s.Layer) {
			layers = append(layers, s.Layer)
		}
	}
	if rank == 0 {
		return nil
	}
	if r.Rank != 0 && r.Rank != rank {
		return recipeError("--rank is %d, --init %s has rank %d", r.Rank, j.Recipe.Init, rank)
	}
	r.Rank = rank
	if len(r.Modules) == 0 {
		r.Modules = modules
	}
	if len(r.Layers) == 0 {
		r.Layers = layers
	}
	return nil
}

// String is the plan for people.
func (p Plan) String() string {
	items := "drawn without end"
	if p.Items > 0 {
		items = fmt.Sprint(p.Items, " items")
	}
	if p.Long > 0 {
		items += fmt.Sprintf(", %d longer than a row left out", p.Long)
	}
	held := "nothing held out"
	if p.Held > 0 {
		held = fmt.Sprintf("%d held-out items, measured every %d steps", p.Held, p.Every)
	}
	return fmt.Sprintf("base   %s\ntrain  %s: %d parameters of %d tensors\ndata   %s; %s\nsteps  at most %d of %d tokens\n",
		p.Base, p.Kind, p.Trained, p.Tensors, items, held, p.Steps, p.Tokens)
}
