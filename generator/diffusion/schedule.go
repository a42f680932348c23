package diffusion

import "math"

// Noise is a noise schedule: x_t = α_t·x_0 + σ_t·ε with α_t² + σ_t² = 1, t = 0…T. Time 0 is free of noise.
type Noise struct{ bar []float64 } // ᾱ_t = α_t²

// NewNoise makes the schedule of c. "cosine" follows Nichol & Dhariwal 2021 with β clipped at 0.999; "scaled_linear" has √β linear from
// √0.0015 to √0.0155 over T steps, the autoencoder-latent schedule of Rombach et al. 2022.
func NewNoise(c Config) *Noise {
	n := &Noise{bar: make([]float64, c.Timesteps+1)}
	n.bar[0] = 1
	cosine := func(t int) float64 {
		x := math.Cos((float64(t)/float64(c.Timesteps) + 0.008) / 1.008 * math.Pi / 2)
		return x * x
	}
	for t := 1; t <= c.Timesteps; t++ {
		var beta float64
		if c.Schedule == Cosine {
			beta = min(1-cosine(t)/cosine(t-1), 0.999)
		} else {
			x := 0.0
			if c.Timesteps > 1 {
				x = float64(t-1) / float64(c.Timesteps-1)
			}
			root := math.Sqrt(0.0015) + x*(math.Sqrt(0.0155)-math.Sqrt(0.0015))
			beta = root * root
		}
		n.bar[t] = n.bar[t-1] * (1 - beta)
	}
	return n
}

// Alpha is the signal's share α_t.
func (n *Noise) Alpha(t int) float64 { return math.Sqrt(n.bar[t]) }

// Sigma is the noise's share σ_t.
func (n *Noise) Sigma(t int) float64 { return math.Sqrt(1 - n.bar[t]) }

// Last is T, the time of pure noise.
func (n *Noise) Last() int { return len(n.bar) - 1 }

// Weight is the loss weight of time t for a prediction target: min-SNR-γ (Hang et al. 2023), or 1 without γ.
func (n *Noise) Weight(t int, predict string, gamma float64) float64 {
	if gamma <= 0 {
		return 1
	}
	snr := n.bar[t] / (1 - n.bar[t])
	if predict == PredictV {
		return min(snr, gamma) / (snr + 1)
	}
	return min(snr, gamma) / snr
}

// Target is what the network has to predict at time t: ε, or v = α·ε − σ·x_0 (Salimans & Ho 2022).
func (n *Noise) Target(t int, predict string, x0, eps float64) float64 {
	if predict == PredictV {
		return n.Alpha(t)*eps - n.Sigma(t)*x0
	}
	return eps
}

// X0 recovers x_0 from x_t and a prediction.
func (n *Noise) X0(t int, predict string, xt, out float64) float64 {
	if predict == PredictV {
		return n.Alpha(t)*xt - n.Sigma(t)*out
	}
	return (xt - n.Sigma(t)*out) / n.Alpha(t)
}

// Step goes from x_t to the earlier time s, given the estimate of x_0 and a standard normal number. eta 0 is DDIM; eta 1 draws from the
// posterior q(x_s | x_t, x_0), which is DDPM's ancestral step (Song et al. 2021, equations 12 and 16).
func (n *Noise) Step(t, s int, eta, xt, x0, normal float64) float64 {
	eps := (xt - n.Alpha(t)*x0) / n.Sigma(t)
	sig := eta * math.Sqrt((1-n.bar[s])/(1-n.bar[t])*(1-n.bar[t]/n.bar[s]))
	return n.Alpha(s)*x0 + math.Sqrt(max(0, 1-n.bar[s]-sig*sig))*eps + sig*normal
}

// times lists steps+1 times from T down to 0.
func (n *Noise) times(steps int) []int {
	steps = min(steps, n.Last())
	out := make([]int, steps+1)
	for i := range out {
		out[i] = int(math.Round(float64(n.Last()) * float64(steps-i) / float64(steps)))
	}
	return out
}
