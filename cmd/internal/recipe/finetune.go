package recipe

import (
	"math"

	"d2nwg/eval/procedural"
)

// Finetune is the recipe of `d2nwg finetune`: a low-rank adapter of a base, or all of its weights, trained on one set of
// data. A copy with every default filled in and the hashes of what was read is saved beside the outputs.
type Finetune struct {
	Base    string       `yaml:"base" json:"base" doc:"checkpoint folder or its address (hf://org/name@revision), or 'bundled' for the small model that ships with d2nwg"`
	Seed    uint64       `yaml:"seed" json:"seed" doc:"order of the data, initial factors; same seed, same bytes"`
	Backend string       `yaml:"backend" json:"backend" doc:"training backend: auto, go, onnx or xla"`
	Data    FinetuneData `yaml:"data" json:"data" doc:"what is learned; exactly one of questions, tasks and text"`
	Init    string       `yaml:"init" json:"init" doc:"adapter to start from: folder or address of a PEFT adapter or a saved variant (empty or zero: the base as it is)"`
	Full    bool         `yaml:"full" json:"full" doc:"train every weight, not an adapter"`
	LoRA    FinetuneLoRA `yaml:"lora" json:"lora" doc:"the adapter"`
	Train   Optimizer    `yaml:"train" json:"train" doc:"AdamW with warm-up, cosine decay and global-norm clipping; learning rate 0 is 0.002 for an adapter, 0.0003 with full"`
	Stop    FinetuneStop `yaml:"stop" json:"stop" doc:"early stopping on held-out items"`
	// Inputs is empty in a recipe that is written by hand.
	Inputs map[string]string `yaml:"inputs" json:"inputs,omitempty" doc:"hashes of what was read, filled in by a run, which refuses others"`
}

// FinetuneData names the data and says how rows are filled.
type FinetuneData struct {
	Questions string   `yaml:"questions" json:"questions,omitempty" doc:"JSONL file of {\"prompt\",\"answer\"}, or its address"`
	Tasks     []string `yaml:"tasks" json:"tasks,omitempty" doc:"procedural tasks (see 'd2nwg tasks')"`
	Form      string   `yaml:"form" json:"form" doc:"prompt form of tasks: bare (x>; one task for each kind of input) or described (each task's description, newline, x>)"`
	Text      string   `yaml:"text" json:"text,omitempty" doc:"text file (.gz too) or its address"`
	Rows      int      `yaml:"rows" json:"rows" doc:"rows of a batch"`
	Length    int      `yaml:"length" json:"length" doc:"tokens of a row; longer questions are left out"`
}

// FinetuneLoRA is the shape of an adapter.
type FinetuneLoRA struct {
	Rank    int      `yaml:"rank" json:"rank" doc:"of every update (0: that of init, or 8)"`
	Alpha   float64  `yaml:"alpha" json:"alpha" doc:"the update is alpha/rank·B·A while it is trained; the factors written have that folded in (0: the rank)"`
	Modules []string `yaml:"modules" json:"modules,omitempty" doc:"modules to adapt: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (empty: those of init, or all)"`
	Layers  []int    `yaml:"layers" json:"layers,omitempty" doc:"layers to adapt (empty: those of init, or all)"`
	SharedA *uint64  `yaml:"shared_a" json:"shared_a,omitempty" doc:"seed of a frozen factor A that many adapters share; only B is trained (null: A is trained, too)"`
}

// FinetuneStop says when to stop.
type FinetuneStop struct {
	Split    float64 `yaml:"split" json:"split" doc:"share of the data that is held out, by hash (of tasks, where it is above 0: inputs of the select cut); 0 = none"`
	File     string  `yaml:"file" json:"file,omitempty" doc:"held-out questions or text in a file of their own; all of the data is trained on then"`
	Items    int     `yaml:"items" json:"items" doc:"most held-out items (of each task)"`
	Every    int     `yaml:"every" json:"every" doc:"steps between measurements (0: a twentieth of all steps)"`
	Patience int     `yaml:"patience" json:"patience" doc:"stop after so many measurements in a row without a lower held-out loss (0: never; the best parameters are kept all the same)"`
}

// Zero names the start from nothing.
const Zero = "zero"

// SetDefaults fills in what a recipe need not say.
func (f *Finetune) SetDefaults() {
	f.Base, f.Backend = Bundled, "auto"
	f.Data = FinetuneData{Form: Bare, Rows: 8, Length: 128}
	f.Train = Optimizer{Steps: 200, Warmup: 10, Clip: 1, SaveEvery: 50}
	f.Stop = FinetuneStop{Split: 0.1, Items: 200, Patience: 5}
}

// Validate refuses values no run can have.
func (f *Finetune) Validate() error {
	chosen := 0
	for _, given := range []bool{f.Data.Questions != "", len(f.Data.Tasks) > 0, f.Data.Text != ""} {
		if given {
			chosen++
		}
	}
	d, v := f.Data, f.Stop
	switch {
	case chosen != 1:
		return Invalid("data", "name exactly one of questions (--data), tasks (--task) and text (--text)")
	case d.Form != Bare && d.Form != Described:
		return Invalid("data.form", "%q is neither bare nor described", d.Form)
	case d.Rows < 1 || d.Length < 2:
		return Invalid("data", "%d rows of %d tokens are no batch", d.Rows, d.Length)
	case f.Train.Steps < 1:
		return Invalid("train.steps", "%d has to be at least 1", f.Train.Steps)
	case !(f.Train.LearningRate >= 0) || math.IsInf(f.Train.LearningRate, 0):
		return Invalid("train.learning_rate", "%v is not a number from 0", f.Train.LearningRate)
	case f.LoRA.Rank < 0:
		return Invalid("lora.rank", "%d is negative", f.LoRA.Rank)
	case !(f.LoRA.Alpha >= 0) || math.IsInf(f.LoRA.Alpha, 0):
		return Invalid("lora.alpha", "%v is not a number from 0", f.LoRA.Alpha)
	case f.Full && (f.LoRA.SharedA != nil || f.LoRA.Rank > 0 || f.LoRA.Alpha > 0 || len(f.LoRA.Modules)+len(f.LoRA.Layers) > 0):
		return Invalid("lora", "with full there is no adapter to shape")
	case !(v.Split == 0 || v.Split >= 0.005 && v.Split < 0.995):
		return Invalid("stop.split", "%v is not 0 and not a share between 0.01 and 0.99", v.Split)
	case v.File != "" && len(d.Tasks) > 0:
		return Invalid("stop.file", "tasks hold out inputs of their own cut")
	case v.Items < 1 || v.Every < 0 || v.Patience < 0:
		return Invalid("stop", "items, every and patience can't be negative, nor items 0")
	}
	if err := trainable(d.Tasks, d.Form == Bare); err != nil {
		return Invalid("data.tasks", "%v", err)
	}
	return nil
}

// trainable tells whether training may use the tasks, in the prompt form.
func trainable(names []string, bare bool) error {
	var tasks []procedural.Task
	for _, name := range names {
		task, err := procedural.Lookup(name)
		if err != nil {
			return err
		}
		tasks = append(tasks, task)
	}
	if len(tasks) == 0 {
		return nil
	}
	if _, err := procedural.NewTraining(tasks...); err != nil || !bare {
		return err
	}
	_, err := procedural.NewMix(tasks...)
	return err
}

// Complete fills in what depends on other values.
func (f *Finetune) Complete() {
	if f.Train.LearningRate == 0 {
		f.Train.LearningRate = 2e-3
		if f.Full {
			f.Train.LearningRate = 3e-4
		}
	}
	if f.Stop.Every == 0 {
		f.Stop.Every = max(1, f.Train.Steps/20)
	}
	if f.Init == Zero {
		f.Init = ""
	}
}

// HoldsOut tells whether there is anything to stop by.
func (s FinetuneStop) HoldsOut() bool { return s.Split > 0 || s.File != "" }
