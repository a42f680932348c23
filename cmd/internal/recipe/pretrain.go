package recipe

// Pretrain is the recipe of `d2nwg pretrain`: a small LLaMA trained on the 41
// procedural training tasks in both prompt forms.
type Pretrain struct {
	Seed    uint64        `yaml:"seed" doc:"initial weights and data order"`
	Backend string        `yaml:"backend" doc:"training backend: auto, go, onnx or xla"`
	Model   PretrainModel `yaml:"model" doc:"LLaMA shape; the vocabulary is printable ASCII with byte fallback"`
	Data    PretrainData  `yaml:"data" doc:"how rows are filled"`
	Train   Optimizer     `yaml:"train" doc:"AdamW with warm-up, cosine decay and global-norm clipping"`
	Cotrain Cotrain       `yaml:"cotrain" doc:"what comes after: the model learns together with adapters that a small network makes from descriptions, over the training tasks of the whole procedural space; no steps = left out"`
}

// Cotrain is the second part of pretraining.
type Cotrain struct {
	Steps        int       `yaml:"steps" doc:"optimizer steps; 0 = the model stays as it is"`
	Warmup       int       `yaml:"warmup" doc:"steps of linear warm-up"`
	LearningRate float64   `yaml:"learning_rate" doc:"peak learning rate of a cosine schedule"`
	Rank         int       `yaml:"rank" doc:"of the adapters"`
	Shares       []float64 `yaml:"shares" doc:"how often tasks of one, two and three steps are drawn, relative to each other"`
	Groups       int       `yaml:"groups" doc:"adapters of a step"`
	Rows         int       `yaml:"rows" doc:"rows of an adapter's batch, in the bare prompt form"`
	Length       int       `yaml:"length" doc:"tokens of such a row"`
	PlainRows    int       `yaml:"plain_rows" doc:"rows of a step without an adapter, filled as data says"`
	PlainWeight  float64   `yaml:"plain_weight" doc:"weight of their loss; the adapters' is 1"`
	SaveEvery    int       `yaml:"save_every" doc:"steps between resumable states"`
}

// PretrainModel is the shape of the model.
type PretrainModel struct {
	Hidden  int `yaml:"hidden" doc:"hidden_size"`
	Layers  int `yaml:"layers" doc:"num_hidden_layers"`
	Heads   int `yaml:"heads" doc:"num_attention_heads"`
	KVHeads int `yaml:"kv_heads" doc:"num_key_value_heads"`
	FFN     int `yaml:"ffn" doc:"intermediate_size"`
	Context int `yaml:"context" doc:"max_position_embeddings"`
}

// PretrainData is the mixture of rows. A row is one description with as many
// examples as fit, or bare examples, each seeing only itself.
type PretrainData struct {
	Rows   int     `yaml:"rows" doc:"rows of a batch"`
	Length int     `yaml:"length" doc:"tokens of a row"`
	Bare   float64 `yaml:"bare" doc:"share of rows in the bare prompt form"`
}

// Optimizer is AdamW with a warm-up and a cosine schedule.
type Optimizer struct {
	Steps           int     `yaml:"steps" doc:"optimizer steps"`
	Warmup          int     `yaml:"warmup" doc:"steps of linear warm-up"`
	LearningRate    float64 `yaml:"learning_rate" doc:"peak learning rate"`
	MinLearningRate float64 `yaml:"min_learning_rate" doc:"learning rate at the end of the cosine"`
	WeightDecay     float64 `yaml:"weight_decay" doc:"decoupled; matrices only"`
	Clip            float64 `yaml:"clip" doc:"largest global gradient norm"`
	SaveEvery       int     `yaml:"save_every" doc:"steps between resumable states"`
}
