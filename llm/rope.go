package llm

import "math"

// Kinds of rotary scaling.
const (
	RopeLinear = "linear" // every frequency divided by Factor
	RopeLlama3 = "llama3" // low frequencies divided by Factor, high ones kept, a ramp between
)

// RopeScaling stretches the rotary embedding to longer sequences.
type RopeScaling struct {
	Type           string  // RopeLinear or RopeLlama3
	Factor         float64 // ≥ 1
	LowFreqFactor  float64 // llama3 only: wavelengths above OriginalMaxPositions/LowFreqFactor are divided
	HighFreqFactor float64 // llama3 only: wavelengths below OriginalMaxPositions/HighFreqFactor are kept
	// OriginalMaxPositions is the length the model was first trained for; llama3 only.
	OriginalMaxPositions int
}

func (s *RopeScaling) validate() error {
	if s == nil {
		return nil
	}
	switch s.Type {
	case RopeLinear, RopeLlama3:
	default:
		return badf("rope type %q is not supported, only default, linear and llama3", clip(s.Type))
	}
	if !positive(s.Factor) || s.Factor < 1 {
		return badf("rope factor is %v, want a number from 1", s.Factor)
	}
	if s.Type == RopeLinear {
		return nil
	}
	if !positive(s.LowFreqFactor) || !positive(s.HighFreqFactor) || s.HighFreqFactor <= s.LowFreqFactor {
		return badf("rope low_freq_factor %v and high_freq_factor %v: want 0 < low < high", s.LowFreqFactor, s.HighFreqFactor)
	}
	if s.OriginalMaxPositions < 1 || s.OriginalMaxPositions > maxDim {
		return badf("rope original_max_position_embeddings is %d, want 1 to %d", s.OriginalMaxPositions, maxDim)
	}
	return nil
}

// InverseFrequencies returns the angle per position of each rotated pair,
// (head_dim/2), with the scaling applied:
// Transformers' modeling_rope_utils, _compute_llama3_parameters.
func (c Config) InverseFrequencies() []float64 {
	inv := make([]float64, c.HeadDim/2) // (head_dim/2)
	for i := range inv {
		inv[i] = c.RopeScaling.scale(math.Pow(c.RopeTheta, -float64(2*i)/float64(c.HeadDim)))
	}
	return inv
}

func (s *RopeScaling) scale(inv float64) float64 {
	if s == nil {
		return inv
	}
	if s.Type == RopeLinear {
		return inv / s.Factor
	}
	wavelength := 2 * math.Pi / inv
	length := float64(s.OriginalMaxPositions)
	switch {
	case wavelength > length/s.LowFreqFactor:
		return inv / s.Factor
	case wavelength < length/s.HighFreqFactor:
		return inv
	}
	smooth := (length/wavelength - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return (1-smooth)*inv/s.Factor + smooth*inv
}

// rope reads rope_theta and the scaling in both spellings. A config that gives
// both must mean the same by them.
func (o *object) rope() (float64, *RopeScaling) {
	theta := o.number("rope_theta", 0)
	old, oldTheta := o.ropeScaling("rope_scaling")
	now, nowTheta := o.ropeScaling("rope_parameters")
	if o.has("rope_scaling") && o.has("rope_parameters") && !sameScaling(old, now) {
		o.fail("rope_scaling and rope_parameters disagree: remove one")
	}
	if now == nil {
		now = old
	}
	for _, t := range []float64{nowTheta, oldTheta} {
		if t == 0 {
			continue
		}
		if theta != 0 && theta != t {
			o.fail("rope_theta is given twice, as %v and %v", theta, t)
		}
		theta = t
	}
	if theta == 0 && !o.has("rope_theta") {
		theta = 10000
	}
	return theta, now
}

func sameScaling(a, b *RopeScaling) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// ropeScaling reads one scaling object; nil stands for the default type. The
// second result is the rope_theta inside it, 0 when absent.
func (o *object) ropeScaling(key string) (*RopeScaling, float64) {
	var p object
	if !o.read(key, "an object", &p.fields) {
		return nil, 0
	}
	theta := p.number("rope_theta", 0)
	kind := p.text("rope_type", p.text("type", ""))
	if f := p.number("partial_rotary_factor", 1); f != 1 {
		p.fail("partial_rotary_factor is %v, only 1 is supported", f)
	}
	var s *RopeScaling
	switch kind {
	case "default":
	case RopeLinear, RopeLlama3:
		s = &RopeScaling{
			Type: kind, Factor: p.number("factor", 0),
			LowFreqFactor: p.number("low_freq_factor", 0), HighFreqFactor: p.number("high_freq_factor", 0),
			OriginalMaxPositions: p.integer("original_max_position_embeddings", 0),
		}
		if kind == RopeLinear {
			*s = RopeScaling{Type: kind, Factor: s.Factor}
		}
	case "":
		p.fail("rope_type is missing")
	default:
		p.fail("rope type %q is not supported, only default, linear and llama3", clip(kind))
	}
	if p.err == nil {
		p.err = s.validate()
	}
	if p.err != nil {
		if o.err == nil {
			o.err = p.err
		}
		return nil, 0
	}
	return s, theta
}

// ropeScalingOut is the JSON of rope_scaling.
type ropeScalingOut struct {
	Factor               float64 `json:"factor"`
	HighFreqFactor       float64 `json:"high_freq_factor,omitempty"`
	LowFreqFactor        float64 `json:"low_freq_factor,omitempty"`
	OriginalMaxPositions int     `json:"original_max_position_embeddings,omitempty"`
	Type                 string  `json:"rope_type"`
}

func (s *RopeScaling) marshal() *ropeScalingOut {
	if s == nil {
		return nil
	}
	return &ropeScalingOut{s.Factor, s.HighFreqFactor, s.LowFreqFactor, s.OriginalMaxPositions, s.Type}
}
