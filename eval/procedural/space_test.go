package procedural

import (
	"testing"
	"time"
)

func TestSpaceCounts(t *testing.T) {
	start := time.Now()
	all := Space()
	t.Logf("%d tasks in %s", len(all), time.Since(start))
	counts := map[string]map[string]int{}
	for _, task := range all {
		if counts[task.Split] == nil {
			counts[task.Split] = map[string]int{}
		}
		counts[task.Split][task.Family]++
	}
	for split, c := range counts {
		n := 0
		for _, k := range c {
			n += k
		}
		t.Log(split, n, c)
	}
	for i := 0; i < len(all); i += len(all) / 20 {
		d := all[i].Descriptions()
		t.Log(all[i].Name, all[i].Split, d[0], d[len(d)/2], all[i].Unseen())
	}
}
