package task

import "d2nwg/internal/jinja"

// OutputType tells what a task asks of the model.
type OutputType string

// The output types of the harness. A request is never MultipleChoice: that becomes one Loglikelihood a choice.
const (
	Loglikelihood        OutputType = "loglikelihood"
	LoglikelihoodRolling OutputType = "loglikelihood_rolling"
	GenerateUntil        OutputType = "generate_until"
	MultipleChoice       OutputType = "multiple_choice"
)

// Value is a value of Python: nil, bool, int, *big.Int, float64, string, *jinja.List, jinja.Tuple or *jinja.Dict.
type Value = jinja.Value

// Doc is a document: the columns of a row in their order, after process_docs.
type Doc = *jinja.Dict

// Request is one question to the model, as the harness would ask it.
type Request struct {
	Task  string     // name of the task
	DocID int        // position in the task's documents (with Options.Samples: in these)
	Index int        // among the document's requests
	Type  OutputType // Loglikelihood, LoglikelihoodRolling or GenerateUntil

	Context      string // "" for LoglikelihoodRolling
	Continuation string // Loglikelihood: what is scored; LoglikelihoodRolling: the whole text
	GenKwargs    Doc    // GenerateUntil: until, do_sample, temperature, max_gen_toks and what else was set; shared, not to be changed
	Repeats      int    // how often it is asked; 1 unless the task says otherwise
}

// Instance is one document of a task with its requests and what the metrics need of it.
type Instance struct {
	Task     string
	DocID    int // Request.DocID
	TrueID   int // position among all of the task's documents, as samples files tell it
	Doc      Doc
	Requests []Request // in the order of Index
	// Target is what doc_to_target gives: an index (int), a text, or a list of these. With MultipleInput it is the
	// text after each context, and Gold is the index of the right one.
	Target Value
	// Choices are what doc_to_choice gives, nil where the task has none. acc_norm divides by their length.
	Choices []string
	// Gold is what multiple_choice compares with: Target, or doc_to_text with MultipleInput.
	Gold Value

	DocHash, PromptHash, TargetHash string // SHA-256 in hex, as in the harness' samples files
	// FewshotIndices are the rows of the few-shot pool in the prompt, in order; nil without few-shot.
	FewshotIndices []int
}
