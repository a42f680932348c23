package metric

import (
	"maps"
	"math"
	"slices"
)

// GroupMean is the mean of subtasks' values, weighted by their numbers of documents, or not.
func GroupMean(values []float64, sizes []int, bySize bool) float64 {
	sum, total := 0.0, 0.0
	for i, v := range values {
		weight := 1.0
		if bySize {
			weight = float64(sizes[i])
		}
		sum, total = sum+v*weight, total+weight
	}
	return sum / total
}

// PooledStdErr is the standard error of a group, from those of its subtasks. It is not a number where every subtask has
// one document.
func PooledStdErr(errors []float64, sizes []int) float64 {
	sum, total := 0.0, 0
	for i, e := range errors {
		n := float64(sizes[i])
		sum += (n - 1) * e * e * n
		total += sizes[i]
	}
	return math.Sqrt(sum / float64(total-len(sizes)) / float64(total))
}

// Normalized places a score between chance (0) and perfect (100); below chance is 0.
func Normalized(score, chance float64) float64 {
	return 100 * max(0, (score-chance)/(1-chance))
}

// Board are the raw scores of the second Open LLM leaderboard, by the names of its tasks: of each of the tasks
// leaderboard_bbh_… and leaderboard_musr_…, and of leaderboard_gpqa, leaderboard_mmlu_pro, leaderboard_math_hard,
// leaderboard_ifeval_prompt (strict) and leaderboard_ifeval_inst (strict).
type Board map[string]float64

// Names in a Board that no task has.
const (
	IFEvalPrompt = "leaderboard_ifeval_prompt"
	IFEvalInst   = "leaderboard_ifeval_inst"
)

// BBHChoices is the number of choices of each task of leaderboard_bbh, MuSRChoices of leaderboard_musr.
var (
	BBHChoices = map[string]int{
		"boolean_expressions": 2, "causal_judgement": 2, "date_understanding": 6, "disambiguation_qa": 3,
		"formal_fallacies": 2, "geometric_shapes": 11, "hyperbaton": 2, "logical_deduction_five_objects": 5,
		"logical_deduction_seven_objects": 7, "logical_deduction_three_objects": 3, "movie_recommendation": 6,
		"navigate": 2, "object_counting": 19, "penguins_in_a_table": 5, "reasoning_about_colored_objects": 18,
		"ruin_names": 6, "salient_translation_error_detection": 6, "snarks": 2, "sports_understanding": 2,
		"temporal_sequences": 4, "tracking_shuffled_objects_five_objects": 5,
		"tracking_shuffled_objects_seven_objects": 7, "tracking_shuffled_objects_three_objects": 3, "web_of_lies": 2,
	}
	MuSRChoices = map[string]int{"murder_mysteries": 2, "object_placements": 5, "team_allocation": 3}
)

// Normalize returns the normalized score of each of the board's six benchmarks that the scores allow, and the board's
// average where all six are there. The harness leaves this to its readers; the formula is the leaderboard's own.
func (b Board) Normalize() (scores map[string]float64, average float64, complete bool) {
	scores = map[string]float64{}
	b.overSubtasks(scores, "leaderboard_bbh", BBHChoices)
	b.overSubtasks(scores, "leaderboard_musr", MuSRChoices)
	for name, chance := range map[string]float64{"leaderboard_gpqa": 0.25, "leaderboard_mmlu_pro": 0.1, "leaderboard_math_hard": 0} {
		if raw, ok := b[name]; ok {
			scores[name] = Normalized(raw, chance)
		}
	}
	prompt, first := b[IFEvalPrompt]
	inst, second := b[IFEvalInst]
	if first && second {
		scores["leaderboard_ifeval"] = 100 * (prompt + inst) / 2
	}
	if len(scores) < 6 {
		return scores, 0, false
	}
	for _, name := range boardOrder {
		average += scores[name] / 6
	}
	return scores, average, true
}

var boardOrder = []string{"leaderboard_ifeval", "leaderboard_bbh", "leaderboard_math_hard", "leaderboard_gpqa", "leaderboard_musr", "leaderboard_mmlu_pro"}

// overSubtasks normalizes each subtask by its own chance and averages them, if all are there.
func (b Board) overSubtasks(scores map[string]float64, group string, choices map[string]int) {
	sum := 0.0
	for _, task := range slices.Sorted(maps.Keys(choices)) {
		raw, ok := b[group+"_"+task]
		if !ok {
			return
		}
		sum += Normalized(raw, 1/float64(choices[task]))
	}
	scores[group] = sum / float64(len(choices))
}
