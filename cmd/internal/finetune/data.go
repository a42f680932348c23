package finetune

import (
	"fmt"
	"math"
	"strings"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/eval/traindata"
	"d2nwg/internal/stats"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
)

// heldSplit is where held-out items stand in a data set; the others are trained on.
const heldSplit = stats.Select

// data is what a fine-tune learns, and what it is stopped by.
type data struct {
	train train.Data
	items int             // questions or documents trained on; 0 where they are drawn without end
	long  int             // questions left out because a row doesn't hold them
	known *eval.Dataset   // the items trained on; nil where they are drawn
	held  *eval.Dataset   // whose heldSplit is held out; nil without
	rows  *traindata.Held // the same, as batches
}

// readData reads everything the recipe names. Files are paths by now; named is the recipe with the user's names for them.
func readData(r, named recipe.Finetune, tok tokenizer.Tokenizer, seed uint64) (*data, error) {
	var d data
	var err error
	switch {
	case len(r.Data.Tasks) > 0:
		err = d.tasks(r, tok, seed)
	default:
		err = d.files(r, named, tok, seed)
	}
	if err != nil {
		return nil, err
	}
	if d.held == nil {
		return &d, nil
	}
	if d.held.Items(heldSplit) == 0 {
		return nil, fmt.Errorf("%s: the share %v holds out none of its items; raise --eval-split, name a file with --validate, or set --eval-split 0", d.held.Name, r.Stop.Split)
	}
	if d.rows, err = traindata.NewHeld(tok, d.held, heldSplit, r.Data.Rows, r.Data.Length); err != nil {
		return nil, err
	}
	d.long += d.held.Items(heldSplit) - d.rows.Data().Items(heldSplit)
	d.held = d.rows.Data()
	return &d, nil
}

// tasks draws training items of procedural tasks without end, and holds out inputs of another cut.
func (d *data) tasks(r recipe.Finetune, tok tokenizer.Tokenizer, seed uint64) error {
	var tasks []procedural.Task
	for _, name := range r.Data.Tasks {
		task, err := procedural.Lookup(name)
		if err != nil {
			return err
		}
		tasks = append(tasks, task)
	}
	bare := r.Data.Form == recipe.Bare
	training, err := procedural.NewTraining(tasks...)
	if err != nil {
		return err
	}
	var held *eval.Dataset
	if bare {
		mix, err := procedural.NewMix(tasks...)
		if err != nil {
			return err
		}
		if training, err = mix.Training(); err != nil {
			return err
		}
		held = eval.FromMix(mix, false, r.Stop.Items, 0)
	} else if held, err = eval.FromTasks(strings.Join(r.Data.Tasks, "+"), tasks, r.Stop.Items, 0); err != nil {
		return err
	}
	if r.Stop.HoldsOut() {
		d.held = held
	}
	p := traindata.Procedural{Tokenizer: tok, Training: training, Rows: r.Data.Rows, Len: r.Data.Length, Seed: seed}
	if bare {
		p.Bare = 1
	}
	d.train = p
	return nil
}

// files reads questions or text, and cuts off what is held out.
func (d *data) files(r, named recipe.Finetune, tok tokenizer.Tokenizer, seed uint64) error {
	read := func(path, name string, shares stats.Shares) (set *eval.Dataset, err error) {
		if r.Data.Questions != "" {
			set, err = eval.ReadQuestions(path, shares)
		} else {
			set, err = eval.ReadDocuments(path, "", shares)
		}
		if err == nil {
			set.Name = name
		}
		return set, err
	}
	percent := int(math.Round(100 * r.Stop.Split))
	if r.Stop.File != "" {
		percent = 0
	}
	all, err := read(r.Data.Questions+r.Data.Text, named.Data.Questions+named.Data.Text, stats.Shares{Train: 100 - percent, Select: percent})
	if err != nil {
		return err
	}
	d.known, d.items = all, all.Items(stats.Train)
	switch {
	case r.Stop.File != "":
		if d.held, err = read(r.Stop.File, named.Stop.File, stats.Shares{Select: 100}); err != nil {
			return err
		}
	case percent > 0:
		d.held = all
	}
	if d.held != nil {
		d.held.Limit(heldSplit, r.Stop.Items)
	}
	if r.Data.Text != "" {
		d.train, err = traindata.NewText(tok, all, r.Data.Rows, r.Data.Length, seed)
		return err
	}
	q, err := traindata.NewQuestions(tok, all, r.Data.Rows, r.Data.Length, seed)
	if err != nil {
		return err
	}
	d.train, d.long, d.items = q, d.items-q.Len(), q.Len()
	return nil
}

// seen counts the held-out items that are trained on, too.
func (d *data) seen() int {
	if d.known == nil || d.held == nil {
		return 0
	}
	trained := map[string]bool{}
	for _, q := range d.known.Questions[stats.Train] {
		trained[q.Prompt] = true
	}
	for _, text := range d.known.Documents[stats.Train] {
		trained[text] = true
	}
	n := 0
	for _, q := range d.held.Questions[heldSplit] {
		if trained[q.Prompt] {
			n++
		}
	}
	for _, text := range d.held.Documents[heldSplit] {
		if trained[text] {
			n++
		}
	}
	return n
}
