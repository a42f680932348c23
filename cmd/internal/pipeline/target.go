package pipeline

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"d2nwg/cmd/internal/evaluation"
	"d2nwg/cmd/internal/recipe"
	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/eval/task"
	"d2nwg/eval/taskrun"
	"d2nwg/eval/traindata"
	"d2nwg/internal/stats"
	"d2nwg/llm/tokenizer"
	"d2nwg/llm/train"
)

// target is what a run is judged on.
type target struct {
	data        *eval.Dataset
	mix         *procedural.Mix // nil for files
	bare        bool
	description string
	tok         tokenizer.Tokenizer
	judged      *taskrun.Judged // the documents of a task of lm-evaluation-harness; nil for all else
}

// Hash identifies what a split judges by.
func (t *target) Hash(split stats.Split) string {
	if t.judged != nil {
		return t.judged.Hash(split)
	}
	return t.data.Hash(split)
}

// items are the caps of a recipe; where it names none, enough for a verdict at a bearable price.
func items(s recipe.Score) recipe.Items {
	usual := recipe.Items{Select: 200, Confirm: 200, Test: 600}
	if s.Text != "" {
		usual = recipe.Items{Select: 60, Confirm: 120, Test: 300} // documents are much longer than questions
	}
	return recipe.Items{
		Select: cmp.Or(s.Items.Select, usual.Select), Confirm: cmp.Or(s.Items.Confirm, usual.Confirm), Test: cmp.Or(s.Items.Test, usual.Test),
	}
}

func newTarget(r recipe.Improve, tok tokenizer.Tokenizer, fetch evaluation.Fetch) (*target, error) {
	t := &target{tok: tok, bare: r.Score.Form == recipe.Bare, description: r.Describe}
	var err error
	items := items(r.Score)
	switch s := r.Score; {
	case s.Mix != "":
		mix, err := procedural.ParseMix(s.Mix)
		if err != nil {
			return nil, err
		}
		t.mix = &mix
		if t.description == "" {
			t.description = mix.Description()
		}
		// The questions are the same for every seed of a run: the ledger counts looks at one test split.
		t.data = eval.FromMix(mix, !t.bare, max(items.Select, items.Confirm, items.Test), 0)
	case s.Task != "":
		err = t.readTask(s, fetch)
	case s.Tasks != "":
		t.data, err = eval.ReadQuestions(s.Tasks, stats.DefaultShares)
	default:
		t.data, err = eval.ReadDocuments(s.Text, "", stats.DefaultShares)
	}
	if err != nil {
		return nil, err
	}
	for split, n := range map[stats.Split]int{stats.Select: items.Select, stats.Confirm: items.Confirm, stats.Test: items.Test} {
		t.limit(split, n)
	}
	return t, t.data.CheckJudged()
}

// readTask loads a task of lm-evaluation-harness. As questions its documents are what relatives are trained on; what
// judges are the task's own requests.
func (t *target) readTask(s recipe.Score, fetch evaluation.Fetch) error {
	var data []string
	if s.Data != "" {
		data = []string{s.Data}
	}
	set, err := evaluation.Load(evaluation.LoadOptions{
		Names: []string{s.Task}, Harness: s.Harness, Data: data, Fetch: fetch,
		Build: task.Options{Profile: task.Profile(s.Profile)},
	})
	if err != nil {
		return err
	}
	if len(set.Tasks) != 1 {
		return fmt.Errorf("score.task: %s stands for %d tasks; name one of them", s.Task, len(set.Tasks))
	}
	t.judged = taskrun.Cut(set.Tasks[0], stats.DefaultShares)
	t.data = &eval.Dataset{Name: s.Task, Questions: map[stats.Split][]eval.Question{}}
	for _, split := range stats.Splits {
		for _, in := range t.judged.Instances(split) {
			prompt, answer, ok := t.judged.Gold(in)
			if ok || split != stats.Train {
				t.data.Questions[split] = append(t.data.Questions[split], eval.Question{Prompt: prompt, Answer: answer})
			}
		}
	}
	return nil
}

// limit keeps the first n items of each group of a split.
func (t *target) limit(split stats.Split, n int) {
	if t.judged != nil {
		t.judged.Limit(split, n)
	}
	if t.mix == nil {
		t.data.Limit(split, n)
		return
	}
	seen := map[string]int{}
	t.data.Questions[split] = slices.DeleteFunc(t.data.Questions[split], func(q eval.Question) bool {
		seen[q.Group]++
		return seen[q.Group] > n
	})
}

// material is the training data of one relative, with the words that describe it.
type material struct {
	name, description string
	data              train.Data
}

// materials lists what each relative is to be trained on. Only the train cut is in it.
func (t *target) materials(m recipe.MakeRelatives, seed uint64) ([]material, error) {
	if t.mix != nil || len(m.Mixes) > 0 {
		return t.mixMaterials(m, seed)
	}
	var all []material
	for i := range m.Count {
		chosen := rand.New(rand.NewPCG(Seed(seed, "parts", i), 0)).Perm(recipe.RelativeParts)[:m.Parts]
		slices.Sort(chosen)
		part, err := t.trainPart(chosen)
		if err != nil {
			return nil, err
		}
		out := material{name: fmt.Sprintf("%03d", i), description: fmt.Sprintf("Parts %v of %d of the training cut.", chosen, recipe.RelativeParts)}
		if rows := Seed(seed, "rows", i); len(part.Documents) > 0 {
			out.data, err = traindata.NewText(t.tok, part, m.Rows, m.Len, rows)
		} else {
			out.data, err = traindata.NewQuestions(t.tok, part, m.Rows, m.Len, rows)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, out)
	}
	return all, nil
}

// trainPart is the share of the train cut that falls into the chosen parts, by hash.
func (t *target) trainPart(chosen []int) (*eval.Dataset, error) {
	in := func(key string) bool {
		sum := sha256.Sum256([]byte("part:" + key))
		return slices.Contains(chosen, int(sum[0])%recipe.RelativeParts)
	}
	out := &eval.Dataset{Name: t.data.Name, Questions: map[stats.Split][]eval.Question{}, Documents: map[stats.Split][]string{}}
	for _, q := range t.data.Questions[stats.Train] {
		if in(q.Prompt) {
			out.Questions[stats.Train] = append(out.Questions[stats.Train], q)
		}
	}
	for _, d := range t.data.Documents[stats.Train] {
		if in(d) {
			out.Documents[stats.Train] = append(out.Documents[stats.Train], d)
		}
	}
	if out.Items(stats.Train) == 0 {
		return nil, fmt.Errorf("%s: parts %v of the train cut are empty; add data or raise relatives.make.parts", t.data.Name, chosen)
	}
	return out, nil
}

// mixMaterials gives each relative a mix: those the recipe names, or random ones other than the target's.
func (t *target) mixMaterials(m recipe.MakeRelatives, seed uint64) ([]material, error) {
	names := m.Mixes
	if len(names) == 0 {
		r := rand.New(rand.NewPCG(Seed(seed, "mixes", 0), 0))
		all := procedural.TrainingMixes()
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, mix := range all {
			if len(names) < m.Count && (t.mix == nil || mix.Name() != t.mix.Name()) {
				names = append(names, mix.Name())
			}
		}
		if len(names) < m.Count {
			return nil, fmt.Errorf("there are only %d mixes to make %d relatives of", len(names), m.Count)
		}
	}
	bare := 0.0
	if t.bare {
		bare = 1
	}
	var out []material
	for i, name := range names {
		mix, err := procedural.ParseMix(name)
		if err != nil {
			return nil, err
		}
		training, err := mix.Training()
		if err != nil {
			return nil, err
		}
		out = append(out, material{
			name: fmt.Sprintf("%03d-%s", i, mix.Name()), description: mix.Description(),
			data: traindata.Procedural{Tokenizer: t.tok, Training: training, Bare: bare, Rows: m.Rows, Len: m.Len,
				Seed: Seed(seed, "rows", i)},
		})
	}
	return out, nil
}
