// Package python does what CPython does, bit for bit, where the numbers of an evaluation hang on it: its random
// generator, its string methods and its literals.
package python

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

const (
	stateWords = 624
	shiftWords = 397
)

// Random is random.Random: the Mersenne Twister MT19937 as CPython seeds it and draws from it. It is not safe for
// concurrent use.
type Random struct {
	state [stateWords]uint32
	at    int
	gauss *float64 // the second of the last pair
}

// NewRandom is random.Random(seed) with an integer.
func NewRandom(seed int) *Random { return NewRandomBig(big.NewInt(int64(seed))) }

// NewRandomBig is random.Random(seed) with an integer of any size; the sign doesn't count.
func NewRandomBig(seed *big.Int) *Random {
	n := new(big.Int).Abs(seed)
	var key []uint32
	mask := big.NewInt(math.MaxUint32)
	for n.Sign() > 0 {
		key = append(key, uint32(new(big.Int).And(n, mask).Uint64()))
		n.Rsh(n, 32)
	}
	if len(key) == 0 {
		key = []uint32{0}
	}
	r := &Random{}
	r.seedArray(key)
	return r
}

// NewRandomString is random.Random(seed) with a str, seeding version 2: the text followed by its SHA-512.
func NewRandomString(seed string) *Random {
	sum := sha512.Sum512([]byte(seed))
	return NewRandomBig(new(big.Int).SetBytes(append([]byte(seed), sum[:]...)))
}

// seedArray is init_by_array of the Mersenne Twister's authors.
func (r *Random) seedArray(key []uint32) {
	s := &r.state
	s[0] = 19650218
	for i := 1; i < stateWords; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	step := func() {
		if i++; i >= stateWords {
			s[0], i = s[stateWords-1], 1
		}
	}
	for range max(stateWords, len(key)) {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		step()
		j = (j + 1) % len(key)
	}
	for range stateWords - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		step()
	}
	s[0] = 1 << 31
	r.at = stateWords
}

func (r *Random) next() uint32 {
	if r.at == stateWords {
		for i := range r.state {
			y := r.state[i]&(1<<31) | r.state[(i+1)%stateWords]&(1<<31-1)
			r.state[i] = r.state[(i+shiftWords)%stateWords] ^ y>>1 ^ (y&1)*0x9908b0df
		}
		r.at = 0
	}
	y := r.state[r.at]
	r.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Random is random(): a number of [0, 1) with 53 bits.
func (r *Random) Random() float64 {
	a, b := r.next()>>5, r.next()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// Bits is getrandbits(k): an integer of k random bits.
func (r *Random) Bits(k int) *big.Int {
	n := new(big.Int)
	for at := 0; at < k; at += 32 {
		word := r.next()
		if k-at < 32 {
			word >>= 32 - (k - at)
		}
		n.Or(n, new(big.Int).Lsh(big.NewInt(int64(word)), uint(at)))
	}
	return n
}

// bits is Bits for k from 1 to 64.
func (r *Random) bits(k int) uint64 {
	if k <= 32 {
		return uint64(r.next() >> (32 - k))
	}
	low := uint64(r.next())
	return uint64(r.next()>>(64-k))<<32 | low
}

// Below is _randbelow(n): an integer of [0, n), n > 0.
func (r *Random) Below(n int) int {
	k := bits.Len(uint(n))
	for {
		if v := r.bits(k); v < uint64(n) {
			return int(v)
		}
	}
}

// Randint is randint(low, high): an integer of [low, high].
func (r *Random) Randint(low, high int) (int, error) {
	if high < low {
		return 0, fmt.Errorf("randint: the range from %d to %d is empty", low, high)
	}
	return low + r.Below(high-low+1), nil
}

// Sample is sample(range(n), k): k different positions of a population of n, in the order drawn. Small populations
// are drawn from a pool, large ones with a set of those already taken, as CPython chooses.
func (r *Random) Sample(n, k int) ([]int, error) {
	if k < 0 || k > n {
		return nil, fmt.Errorf("a sample of %d from %d: larger than the population or negative", k, n)
	}
	result := make([]int, k)
	setSize := 21.0
	if k > 5 {
		setSize += math.Pow(4, math.Ceil(math.Log(float64(k*3))/math.Log(4)))
	}
	if float64(n) <= setSize {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range result {
			j := r.Below(n - i)
			result[i] = pool[j]
			pool[j] = pool[n-i-1]
		}
		return result, nil
	}
	taken := make(map[int]bool, k)
	for i := range result {
		j := r.Below(n)
		for taken[j] {
			j = r.Below(n)
		}
		taken[j] = true
		result[i] = j
	}
	return result, nil
}

// Shuffle is shuffle(x) of a list of n, with swap exchanging two of its items.
func (r *Random) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, r.Below(i+1))
	}
}

// Choices is choices(range(n), weights, k=k): positions drawn with replacement; nil weights are equal ones.
func (r *Random) Choices(n int, weights []float64, k int) ([]int, error) {
	if n == 0 {
		return nil, errors.New("choices: the population is empty")
	}
	result := make([]int, k)
	if weights == nil {
		for i := range result {
			result[i] = int(math.Floor(r.Random() * float64(n)))
		}
		return result, nil
	}
	if len(weights) != n {
		return nil, fmt.Errorf("choices: %d weights for a population of %d", len(weights), n)
	}
	sums := make([]float64, n)
	total := 0.0
	for i, w := range weights {
		total += w
		sums[i] = total
	}
	if !(total > 0) || math.IsInf(total, 1) {
		return nil, errors.New("choices: the weights have to add up to a finite number above 0")
	}
	for i := range result {
		x := r.Random() * total
		at, high := 0, n-1 // bisect_right(sums, x, 0, n-1)
		for at < high {
			if mid := (at + high) / 2; x < sums[mid] {
				high = mid
			} else {
				at = mid + 1
			}
		}
		result[i] = at
	}
	return result, nil
}

// Gauss is gauss(mu, sigma): a normally distributed number.
func (r *Random) Gauss(mu, sigma float64) float64 {
	if r.gauss != nil {
		z := *r.gauss
		r.gauss = nil
		return mu + float64(z*sigma)
	}
	angle := r.Random() * 2 * math.Pi
	radius := math.Sqrt(-2 * exactLog(1-r.Random()))
	sin, cos := exactSinCos(angle)
	second := sin * radius
	r.gauss = &second
	return mu + float64(float64(cos*radius)*sigma)
}
