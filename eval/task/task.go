// Package task reads the task files of EleutherAI's lm-evaluation-harness unchanged and builds the requests that the
// harness would ask of a model, character for character:
//
//	Registry (YAML files) ─► Config ─► Task (documents, few-shot pool) ─► Build ─► []Instance with their Requests
//
// Templates are Jinja2 over Python's values (internal/jinja); Python helpers that task files name with !function are Go
// functions under the same names, and a task that needs another one is refused by that name.
package task

// Profile names an era of the harness, whose numbers differ.
type Profile string

// The profiles. V2 and Current build the same requests; they differ in the tokens before them.
const (
	V1      Profile = "v1"      // Open LLM Leaderboard of June 2023: documents shuffled, Random(42)
	V2      Profile = "v2"      // 0.4.0 to 0.4.9.1
	Current Profile = "current" // since 0.4.9.2
)

// Options say how requests are built, under the names of the harness' flags.
type Options struct {
	Profile            Profile // "" = Current
	NumFewshot         *int    // nil = the task's own; a task that says 0 keeps 0
	Limit              float64 // documents a task; below 1 a share; 0 = all
	Samples            []int   // positions of the documents to take; nil = all; not with Limit
	FewshotSeed        *int    // nil = 1234
	SystemInstruction  string
	Chat               ChatTemplate // nil = plain text
	FewshotAsMultiturn bool
	GenKwargs          Doc // on top of the task's generation_kwargs; nil = none
}

// ChatTemplate renders a conversation: messages are {"role": …, "content": …}.
type ChatTemplate func(messages []Message, addGenerationPrompt bool) (string, error)

// Message is a turn of a conversation.
type Message struct {
	Role, Content string
}

// Dataset is the data of a task: its splits by name.
type Dataset struct {
	Splits map[string][]Doc
	Files  []File // what was read
}

// File is a data file with what it held.
type File struct {
	Path   string
	SHA256 string // in hex
}

// Resolver finds the data of a task: local files or folders of jsonl, json, csv or parquet by split. It is asked with
// the task's dataset_path and dataset_name ("" = none).
type Resolver func(path, name string) (Source, error)

// Source is where the files of a data set lie.
type Source struct {
	// Splits maps a split to its files. With "" as the split, the file names tell it, as "test.jsonl",
	// "test-00000-of-00001.parquet" and a folder "test" do.
	Splits map[string][]string
}
