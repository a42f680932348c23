package procedural

import (
	"bufio"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// testdata/primitives.txt is written by hand: no program made its answers.
func TestPrimitivesAgainstHandWrittenSamples(t *testing.T) {
	file, err := os.Open("testdata/primitives.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	covered, samples := map[string]bool{}, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if fields[0] == "#" {
			continue
		}
		p := primitiveByName()[fields[0]]
		if p == nil {
			t.Errorf("there is no primitive %s", fields[0])
			continue
		}
		covered[p.name], covered[p.kind] = true, true
		for _, sample := range fields[1:] {
			x, want, _ := strings.Cut(sample, ">")
			if y := orTilde(p.rule(strings.Trim(x, "~"))); y != want {
				t.Errorf("%s(%q) = %q, want %q", p.name, x, y, want)
			}
			samples++
		}
	}
	for _, p := range primitives() {
		if !covered[p.kind] || !covered[p.name] && p.value.c == 0 { // of a letter's kind, some letters are enough
			t.Errorf("%s has no sample", p.name)
		}
	}
	t.Logf("%d samples of %d primitives", samples, len(primitives()))
}

// Primitives are total: no word, however short, makes one fail, and what they give is what they say.
func TestPrimitivesAreTotal(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for _, p := range primitives() {
		for range 300 {
			x := inputs["pair"].draw(r)
			switch p.input {
			case aNumber:
				x, _, _ = strings.Cut(x, "+")
			case "bits":
				x = drawBits(r)
			case "digits":
				x = inputs["digits"].draw(r)
			case aWord:
				x = randomWord(r)
			}
			allowed := map[string]string{aWord: Alphabet, aNumber: "0123456789", aText: Alphabet + "0123456789"}[p.gives]
			if y := p.rule(x); strings.Trim(y, allowed) != "" || p.gives == aNumber && y == "" {
				t.Fatalf("%s(%q) = %q, which is no %s", p.name, x, y, p.gives)
			}
		}
	}
}

// randomWord has 0 to 14 letters, as a step in the middle of a composition may meet them.
func randomWord(r *rand.Rand) string {
	x := make([]byte, r.IntN(15))
	for i := range x {
		x[i] = Alphabet[r.IntN(1+r.IntN(len(Alphabet)))]
	}
	return string(x)
}

func TestAlgebra(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	run := func(name, x string) string {
		steps := parseSteps(name)
		if steps == nil {
			t.Fatalf("%q doesn't parse", name)
		}
		for _, p := range steps {
			x = p.rule(x)
		}
		return x
	}
	same := strings.Fields(`reverse.reverse=copy mirror.mirror=copy swapends.swapends=copy swappairs.swappairs=copy
		swapfirst.swapfirst=copy swaplast.swaplast=copy exchange_cg.exchange_cg=copy vowelsfirst.vowelslast.vowelsfirst=vowelsfirst
		rotl1.rotr1=copy rotl2.rotr2=copy rotl3.rotr3=copy rotl1.rotl2=rotl3 reverse.rotl2.reverse=rotr2
		shift1.back1=copy shift2.back2=copy shift3.back3=copy shift4.back4=copy shift2.shift3=shift5 back3=shift7
		shift3.mirror=mirror.back3 reverse.take3.reverse=last3 reverse.drop2.reverse=chop2 drop1.drop2=drop3
		reverse.nth3.reverse=fromend3 reverse.del2.reverse=delend2 drop1.chop1=inner reverse.sort=sort sort.reverse=sortdesc
		sort.last=maxletter sort.take1=minletter mirror.maxletter.mirror=minletter dedup.dedup=dedup sort.dedup=sort.squeeze
		reverse.dedup.reverse=deduplast duplicates.duplicates=duplicates singles.dedup=singles double.squeeze=squeeze
		double.odds=copy double.evens=copy repeat.firsthalf=copy there_and_back.reverse=there_and_back there_and_back.firsthalf=copy
		prepend_c.drop1=copy append_d.chop1=copy reverse.append_f.reverse=prepend_f
		before_g.after_c=after_c.before_g remove_h.remove_c=remove_c.remove_h vowels.vowels=vowels vowels.length=countvowels
		consonants.length=countconsonants dedup.length=distinct before_e.length=countbefore_e reverse.swaphalves=swaphalves.reverse
		tofront2=swapfirst reverse.revfirst3.reverse=revlast3 twice1.drop1=copy
		twicelast.chop1=copy mirror.dropmin.mirror=dropmax`)
	for _, identity := range same {
		left, right, _ := strings.Cut(identity, "=")
		for range 300 {
			x := randomWord(r)
			if left == "reverse.swaphalves" && len(x)%2 == 1 { // holds for words of even length
				continue
			}
			if a, b := run(left, x), run(right, x); a != b {
				t.Fatalf("%s gives %q, %s gives %q for %q", left, a, right, b, x)
			}
		}
	}
	for range 300 { // parts that make up the whole
		x := randomWord(r)
		for _, parts := range []string{"take2 drop2", "chop3 last3", "firsthalf secondhalf"} {
			a, b, _ := strings.Cut(parts, " ")
			if got := run(a, x) + run(b, x); got != x {
				t.Fatalf("%s make %q of %q", parts, got, x)
			}
		}
		for _, parts := range []string{"vowels consonants", "duplicates singles", "odds evens"} {
			a, b, _ := strings.Cut(parts, " ")
			if got := run("sort", run(a, x)+run(b, x)); got != run("sort", x) {
				t.Fatalf("%s make %q of %q", parts, got, x)
			}
		}
	}
	t.Logf("%d identities hold", len(same))
}
