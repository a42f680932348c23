package diffusion

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat"
)

func schedules() map[string]Config {
	modern, paper := Default("modern"), Default("paper")
	return map[string]Config{"modern": modern, "paper": paper}
}

func near(a, b, tol float64) bool { return math.Abs(a-b) <= tol*(1+math.Abs(b)) }

func TestScheduleIdentities(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, c := range schedules() {
		n := NewNoise(c)
		if n.Alpha(0) != 1 || n.Last() != 1000 || n.Alpha(1000) > 0.03 {
			t.Errorf("%s: α_0 = %v, T = %d, α_T = %v", name, n.Alpha(0), n.Last(), n.Alpha(1000))
		}
		for time := 1; time <= n.Last(); time++ {
			a, s := n.Alpha(time), n.Sigma(time)
			if !near(a*a+s*s, 1, 1e-12) || a >= n.Alpha(time-1) {
				t.Fatalf("%s: α %v σ %v at %d do not fit", name, a, s, time)
			}
			x0, eps := r.NormFloat64(), r.NormFloat64()
			xt := a*x0 + s*eps
			for _, predict := range []string{PredictV, PredictEpsilon} {
				if got := n.X0(time, predict, xt, n.Target(time, predict, x0, eps)); !near(got, x0, 1e-9/a) {
					t.Fatalf("%s at %d: %s gives x_0 %v back as %v", name, time, predict, x0, got)
				}
			}
			// With the true x_0, DDIM moves along the line of one ε.
			earlier := r.IntN(time)
			want := n.Alpha(earlier)*x0 + n.Sigma(earlier)*eps
			if got := n.Step(time, earlier, 0, xt, x0, 0); !near(got, want, 1e-9) {
				t.Fatalf("%s: DDIM from %d to %d gives %v, want %v", name, time, earlier, got, want)
			}
		}
	}
}

// The ancestral step against the posterior q(x_{t−1} | x_t, x_0) as DDPM writes it (Ho et al. 2020, equations 6 and 7).
func TestAncestralStepIsThePosterior(t *testing.T) {
	for name, c := range schedules() {
		n := NewNoise(c)
		for _, time := range []int{2, 17, 500, 999, 1000} {
			bar, prev := n.bar[time], n.bar[time-1]
			beta := 1 - bar/prev
			x0, xt := 0.7, -1.3
			mean := math.Sqrt(prev)*beta/(1-bar)*x0 + math.Sqrt(1-beta)*(1-prev)/(1-bar)*xt
			std := math.Sqrt((1 - prev) / (1 - bar) * beta)
			for _, normal := range []float64{0, 1, -2} {
				if got := n.Step(time, time-1, 1, xt, x0, normal); !near(got, mean+std*normal, 1e-9) {
					t.Errorf("%s at %d: %v, posterior %v", name, time, got, mean+std*normal)
				}
			}
		}
	}
}

func TestWeights(t *testing.T) {
	n := NewNoise(Default("modern"))
	for time := 1; time <= n.Last(); time++ {
		snr := n.bar[time] / (1 - n.bar[time])
		// Both predictions weigh an error of x_0 alike: an error e of x_0 is e/σ of v, and e·α/σ of ε.
		v, eps := n.Weight(time, PredictV, 5)/(1-n.bar[time]), n.Weight(time, PredictEpsilon, 5)*snr
		if !near(v, min(snr, 5), 1e-9) || !near(eps, min(snr, 5), 1e-9) {
			t.Fatalf("at %d the weights of an x_0 error are %v and %v, want min(SNR, 5) = %v", time, v, eps, min(snr, 5))
		}
		if n.Weight(time, PredictV, 0) != 1 {
			t.Fatal("no γ has to mean no weighting")
		}
	}
}

// The sampler with the exact denoiser of a Gaussian, E[x_0 | x_t], has to give that Gaussian.
func TestSamplersRecoverAGaussian(t *testing.T) {
	const mean, std = 1.5, 0.4
	for name, c := range schedules() {
		n := NewNoise(c)
		for _, eta := range []float64{0, 1} {
			steps := 30
			if eta == 1 || name == "paper" { // 30 steps are for the cosine schedule; on the other DDIM's own error is 0.07
				steps = 250
			}
			r := rand.New(rand.NewPCG(2, 3))
			var samples []float64
			for range 4000 {
				x := r.NormFloat64()
				times := n.times(steps)
				for k, time := range times[:len(times)-1] {
					a, s := n.Alpha(time), n.Sigma(time)
					x0 := mean + a*std*std/(a*a*std*std+s*s)*(x-a*mean)
					x = n.Step(time, times[k+1], eta, x, x0, r.NormFloat64())
				}
				samples = append(samples, x)
			}
			m, s := stat.MeanStdDev(samples, nil)
			if math.Abs(m-mean) > 0.04 || math.Abs(s-std) > 0.05 {
				t.Errorf("%s, η %v: mean %.3f std %.3f, want %v and %v", name, eta, m, s, mean, std)
			}
		}
	}
}
