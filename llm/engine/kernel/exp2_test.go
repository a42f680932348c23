package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestExp2(t *testing.T) {
	s := Best()
	for _, in := range []int{1024, 2048, 8192} {
		for _, a := range []Arithmetic{Float32, BFloat16} {
			for _, kb := range []int{16, 128, 512, 4096} {
				out := kb << 10 / in / 2
				d := BF16
				x := fill(s, a, normal(rand.New(rand.NewPCG(1, 1)), in), 1, in)
				data := make([]byte, out*in*d.Size())
				encode(data, normal(rand.New(rand.NewPCG(1, 1)), in*out), d)
				w := Weights{data, d, out, in}
				c := make([]float32, out)
				best := 1e9
				for range 20 {
					st := time.Now()
					for range 4096 / kb {
						s.Multiply(c, out, x, w, 0, out, false)
					}
					best = min(best, time.Since(st).Seconds())
				}
				fmt.Printf("in %d a %d %d KB: %.1f GB/s\n", in, a, kb, 4096*1024/best/1e9)
			}
		}
	}
}
