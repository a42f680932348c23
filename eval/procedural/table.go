package procedural

import "sync"

// rows is the table: name, family, input, split, steps and description. Its tasks, held out for the reasons that their
// splits name, are fixed; TestAgainstReferenceSamples holds them.
var rows = [][6]string{
	{"copy", "F1", "word", "train", "copy", "Write the word again without any change."},
	{"reverse", "F1", "word", "train", "reverse", "Write the letters of the word from the last one to the first one."},
	{"rotl1", "F1", "word", "train", "rotl1", "Move the word one place to the left; letters that fall off the front go to the end."},
	{"rotl2", "F1", "word", "held-out:parameter", "rotl2", "Move the word two places to the left; letters that fall off the front go to the end."},
	{"rotl3", "F1", "word", "train", "rotl3", "Move the word three places to the left; letters that fall off the front go to the end."},
	{"rotr1", "F1", "word", "train", "rotr1", "Take the last letter of the word and put it in front."},
	{"swapends", "F1", "word", "train", "swapends", "Exchange the first and the last letter and keep the middle."},
	{"swappairs", "F1", "word", "train", "swappairs", "Exchange each pair of neighbouring letters; a letter left alone at the end stays."},
	{"double", "F1", "word", "train", "double", "Write every letter two times."},
	{"take1", "F1", "word", "train", "take1", "Keep only the first letter of the word."},
	{"take2", "F1", "word", "held-out:parameter", "take2", "Keep only the first two letters of the word."},
	{"take3", "F1", "word", "train", "take3", "Keep only the first three letters of the word."},
	{"drop1", "F1", "word", "train", "drop1", "Leave out the first letter of the word and keep the rest."},
	{"last", "F1", "word", "train", "last", "Give the last letter of the word."},
	{"sort", "F2", "word", "train", "sort", "Put the letters of the word in alphabetical order."},
	{"sortdesc", "F2", "word", "train", "sortdesc", "Put the letters of the word in reverse alphabetical order."},
	{"dedup", "F2", "word", "train", "dedup", "Remove repeated letters; keep the first time each letter occurs."},
	{"maxletter", "F2", "word", "train", "maxletter", "Give the letter that is latest in the alphabet."},
	{"remove_a", "F2", "word", "train", "remove_a", "Remove every letter a; write ~ if nothing is left."},
	{"remove_e", "F2", "word", "held-out:parameter", "remove_e", "Remove every letter e; write ~ if nothing is left."},
	{"vowels", "F2", "word", "train", "vowels", "Keep only the vowels; write ~ if there are none."},
	{"length", "F3", "word", "train", "length", "Count the letters of the word."},
	{"count_a", "F3", "word", "train", "count_a", "Count how many times the letter a occurs."},
	{"count_b", "F3", "word", "held-out:parameter", "count_b", "Count how many times the letter b occurs."},
	{"count_c", "F3", "word", "train", "count_c", "Count how many times the letter c occurs."},
	{"distinct", "F3", "word", "train", "distinct", "Count how many different letters the word has."},
	{"nth2", "F3", "word", "train", "nth2", "Give the second letter of the word."},
	{"nth3", "F3", "word", "held-out:parameter", "nth3", "Give the third letter of the word."},
	{"nth4", "F3", "word", "train", "nth4", "Give the fourth letter of the word."},
	{"mode", "F3", "word", "held-out:far", "mode", "Give the letter that occurs most often; if letters tie, the earliest in the alphabet."},
	{"shift1", "F4", "word", "train", "shift1", "Replace every letter by the one one step later in the alphabet a to j, going round to a after j."},
	{"shift2", "F4", "word", "train", "shift2", "Replace every letter by the one two steps later in the alphabet a to j, going round to a after j."},
	{"shift3", "F4", "word", "train", "shift3", "Replace every letter by the one three steps later in the alphabet a to j, going round to a after j."},
	{"shift4", "F4", "word", "held-out:parameter", "shift4", "Replace every letter by the one four steps later in the alphabet a to j, going round to a after j."},
	{"shift5", "F4", "word", "train", "shift5", "Replace every letter by the one five steps later in the alphabet a to j, going round to a after j."},
	{"shift7", "F4", "word", "train", "shift7", "Replace every letter by the one seven steps later in the alphabet a to j, going round to a after j."},
	{"mirror", "F4", "word", "train", "mirror", "Replace every letter by its mirror in the alphabet a to j, so a becomes j and j becomes a."},
	{"keyed", "F4", "word", "held-out:far", "keyed", "Replace every letter with the key a-d b-h c-a d-j e-c f-g g-b h-e i-i j-f."},
	{"todigits", "F4", "word", "train", "todigits", "Replace every letter by its number, a is 0 and j is 9."},
	{"add", "F5", "pair", "train", "add", "Add the two numbers."},
	{"diff", "F5", "pair", "train", "diff", "Give the difference of the two numbers, larger minus smaller."},
	{"larger", "F5", "pair", "train", "larger", "Give the larger of the two numbers."},
	{"addrev", "F5", "pair", "held-out:far", "addrev", "Add the two numbers and write the digits of the sum backwards."},
	{"modadd5", "F5", "digits", "train", "modadd5", "Add the two digits and give the remainder after division by 5."},
	{"modadd7", "F5", "digits", "held-out:parameter", "modadd7", "Add the two digits and give the remainder after division by 7."},
	{"modadd9", "F5", "digits", "train", "modadd9", "Add the two digits and give the remainder after division by 9."},
	{"times", "F5", "digits", "train", "times", "Multiply the two digits."},
	{"parity_a", "F6", "bits", "held-out:family", "parity_a", "Write 1 if the letter a occurs an odd number of times, otherwise 0."},
	{"flip", "F6", "bits", "held-out:family", "flip", "Exchange the letters a and b everywhere."},
	{"majority", "F6", "bits", "held-out:family", "majority", "Give the letter that occurs more often; a if they tie."},
	{"palin", "F6", "bits", "held-out:family", "palin", "Write 1 if the word reads the same backwards, otherwise 0."},
	{"running", "F6", "bits", "held-out:family", "running", "For each place write 1 if an odd number of a was seen so far, otherwise 0."},
	{"rev_shift2", "F7", "word", "held-out:composition", "reverse.shift2", "Write the letters from the last to the first, and replace every letter by the one two steps later in the alphabet a to j."},
	{"sort_shift1", "F7", "word", "train", "sort.shift1", "Put the letters in alphabetical order, then replace every letter by the one one step later in the alphabet a to j."},
	{"dedup_rev", "F7", "word", "train", "dedup.reverse", "Remove repeated letters, then write what is left from the last letter to the first."},
	{"take3_rev", "F7", "word", "held-out:composition", "take3.reverse", "Keep only the first three letters and write them backwards."},
	{"drop1_sort", "F7", "word", "held-out:composition", "drop1.sort", "Leave out the first letter and put the rest in alphabetical order."},
	{"rotl1_mirror", "F7", "word", "train", "rotl1.mirror", "Move the first letter to the end, then replace every letter by its mirror in the alphabet a to j."},
	{"sortdesc_take2", "F7", "word", "train", "sortdesc.take2", "Put the letters in reverse alphabetical order and keep only the first two letters."},
	{"shift3_todigits", "F7", "word", "held-out:composition", "shift3.todigits", "Replace every letter by the one three steps later in the alphabet a to j, then by its number, a is 0 and j is 9."},
}

var table = sync.OnceValue(func() []Task {
	tasks := make([]Task, len(rows))
	for i, r := range rows {
		tasks[i] = Task{Name: r[0], Family: r[1], Input: r[2], Split: r[3], Description: r[5], steps: parseSteps(r[4])}
		tasks[i].Impossible = impossible(tasks[i])
	}
	return tasks
})
