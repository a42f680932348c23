package safetensors

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// layout describes a floating-point type by its definition; everything expected in this file is derived from it in
// float64, value by value, and shares nothing with the bit arithmetic under test.
type layout struct {
	exp, man, bias int
	special        string // ieee: the top exponent is infinity and NaN; fn: only all ones is NaN; fnuz: only −0 is NaN
	max, least     float64
}

// layouts gives each type's definition with its largest and smallest positive values as its specification prints them.
var layouts = map[DType]layout{
	F16:        {5, 10, 15, "ieee", 65504, 0x1p-24},
	BF16:       {8, 7, 127, "ieee", 0x1.fep127, 0x1p-133},
	F8E5M2:     {5, 2, 15, "ieee", 57344, 0x1p-16},
	F8E4M3:     {4, 3, 7, "fn", 448, 0x1p-9},
	F8E4M3FNUZ: {4, 3, 8, "fnuz", 240, 0x1p-10},
	F8E5M2FNUZ: {5, 2, 16, "fnuz", 57344, 0x1p-17},
}

func (l layout) width() int { return 1 + l.exp + l.man }

// value decodes one code.
func (l layout) value(code int) float64 {
	top := 1<<(l.exp+l.man) - 1
	magnitude, negative := code&top, code > top
	exp, man := magnitude>>l.man, magnitude&(1<<l.man-1)
	switch {
	case l.special == "ieee" && exp == 1<<l.exp-1 && man == 0:
		return math.Inf(1 - 2*(code>>(l.exp+l.man)))
	case l.special == "ieee" && exp == 1<<l.exp-1, l.special == "fn" && magnitude == top, l.special == "fnuz" && code == top+1:
		return math.NaN()
	}
	fraction, e := float64(man)/float64(int(1)<<l.man), exp-l.bias
	if exp > 0 {
		fraction++
	} else {
		e++
	}
	v := fraction * math.Pow(2, float64(e))
	if negative {
		return -v
	}
	return v
}

// encoded returns the codes as bytes of the file.
func (l layout) encoded(codes []int) []byte {
	var b []byte
	for _, c := range codes {
		if l.width() == 8 {
			b = append(b, byte(c))
		} else {
			b = binary.LittleEndian.AppendUint16(b, uint16(c))
		}
	}
	return b
}

func same(a, b float64) bool {
	return a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b)
}

func TestDecodeEveryCode(t *testing.T) {
	for dt, l := range layouts {
		codes := make([]int, 1<<l.width())
		largest, least := 0.0, math.Inf(1)
		for i := range codes {
			codes[i] = i
		}
		got := make([]float32, len(codes))
		if err := Decode(got, dt, l.encoded(codes)); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if want := l.value(i); !same(float64(v), want) {
				t.Fatalf("%s code %#x: got %g, want %g", dt, i, v, want)
			}
			if v := float64(v); v > 0 && !math.IsInf(v, 0) {
				largest, least = max(largest, v), min(least, v)
			}
		}
		if largest != l.max || least != l.least {
			t.Errorf("%s: values from %g to %g, want %g to %g", dt, least, largest, l.least, l.max)
		}
	}
}

// TestEncodeNearestEven takes, between each two neighbours of a type, the midpoint, its float32 neighbours, and points
// at random; the expected code is the nearer one, in a tie the even one.
func TestEncodeNearestEven(t *testing.T) {
	for _, dt := range []DType{F16, BF16, F8E5M2, F8E4M3} {
		l := layouts[dt]
		var in []float32
		var want []int
		add := func(v float32, code int) {
			in, want = append(in, v, -v), append(want, code, code|1<<(l.width()-1))
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for code := 0; ; code++ {
			lo, hi := l.value(code), l.value(code+1)
			if math.IsNaN(lo) || math.IsInf(lo, 0) {
				break
			}
			if math.IsInf(hi, 0) || math.IsNaN(hi) { // the next step there would be, were there room
				hi = lo + (lo - l.value(code-1))
			}
			mid := lo + (hi-lo)/2
			even := code + code&1
			for _, p := range []struct {
				v    float64
				code int
			}{{lo, code}, {mid, even}, {lo + (hi-lo)*rng.Float64()*0.49, code}, {hi - (hi-lo)*rng.Float64()*0.49, code + 1}} {
				v := float32(p.v)
				add(v, p.code)
				if p.v == mid && float64(v) == mid {
					add(math.Nextafter32(v, 0), code)
					add(math.Nextafter32(v, math.MaxFloat32), code+1)
				}
			}
		}
		checkEncode(t, dt, in, want)
		overflow := 1<<(l.exp+l.man) - 1
		if l.special == "ieee" {
			overflow = (1<<l.exp - 1) << l.man
		}
		inf := float32(math.Inf(1))
		checkEncode(t, dt, []float32{inf, -inf, math.MaxFloat32}, []int{overflow, overflow | 1<<(l.width()-1), overflow})
	}
}

func checkEncode(t *testing.T, dt DType, in []float32, want []int) {
	t.Helper()
	l := layouts[dt]
	got := make([]byte, len(in)*l.width()/8)
	if err := Encode(got, dt, in); err != nil {
		t.Fatal(err)
	}
	expect := l.encoded(want)
	for i, v := range in {
		n := l.width() / 8
		if g, w := got[i*n:][:n], expect[i*n:][:n]; !slices.Equal(g, w) {
			t.Fatalf("%s of %g (%#x): got % x, want % x", dt, v, math.Float32bits(v), g, w)
		}
	}
	decoded, rounded := make([]float32, len(in)), slices.Clone(in)
	if err := Decode(decoded, dt, got); err != nil {
		t.Fatal(err)
	}
	if err := Round(dt, rounded); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if !same(float64(decoded[i]), float64(rounded[i])) {
			t.Fatalf("%s of %g: Round gives %g, Encode and Decode %g", dt, in[i], rounded[i], decoded[i])
		}
	}
}

func TestEncodeNaN(t *testing.T) {
	var in []float32
	for _, u := range []uint32{0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff, 0x7f80ffff, 0x7f818000, 0x7fbfffff} {
		in = append(in, math.Float32frombits(u))
	}
	for _, dt := range []DType{F64, F32, F16, BF16, F8E5M2, F8E4M3} {
		width, _ := dt.Bits()
		b, out := make([]byte, len(in)*width/8), make([]float32, len(in))
		if err := Encode(b, dt, in); err != nil {
			t.Fatal(err)
		}
		if err := Decode(out, dt, b); err != nil {
			t.Fatal(err)
		}
		for i, v := range out {
			if v == v {
				t.Errorf("%s: NaN %#x became %g", dt, math.Float32bits(in[i]), v)
			}
		}
	}
}

// TestVectorsAgree runs every length through both forms of the loops: where there are vectors, the first elements go
// through them and the rest through the functions for one element.
func TestVectorsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := make([]float32, 1<<16)
	for i := range random {
		random[i] = math.Float32frombits(rng.Uint32())
	}
	for _, dt := range []DType{BF16, F16} {
		to, from := toBF16, fromBF16
		if dt == F16 {
			to, from = toF16, fromF16
		}
		for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 31, 1000, len(random)} {
			in := random[len(random)-n:]
			b, out, rounded := make([]byte, 2*n), make([]float32, n), slices.Clone(in)
			if err := Encode(b, dt, in); err != nil {
				t.Fatal(err)
			}
			if err := Decode(out, dt, b); err != nil {
				t.Fatal(err)
			}
			if err := Round(dt, rounded); err != nil {
				t.Fatal(err)
			}
			for i, v := range in {
				code := binary.LittleEndian.Uint16(b[2*i:])
				want := math.Float32bits(from(to(v)))
				if code != to(v) || math.Float32bits(out[i]) != want || math.Float32bits(rounded[i]) != want {
					t.Fatalf("%s, element %d of %d: %#x encodes to %#x, not %#x; decodes to %g, rounds to %g", dt, i, n,
						math.Float32bits(v), code, to(v), out[i], rounded[i])
				}
			}
		}
	}
}

func TestDecodeOthers(t *testing.T) {
	for _, c := range []struct {
		dt   DType
		src  string
		want []float32
	}{
		{Bool, "\x00\x01", []float32{0, 1}},
		{U8, "\x00\xff", []float32{0, 255}},
		{I8, "\x80\x7f", []float32{-128, 127}},
		{U16, "\xff\xff", []float32{65535}},
		{I16, "\x00\x80", []float32{-32768}},
		{U32, "\xff\xff\xff\xff", []float32{0x1p32}},
		{I32, "\xfe\xff\xff\xff", []float32{-2}},
		{U64, "\x01\x00\x00\x01\x00\x00\x00\x00", []float32{0x1p24}}, // 2^24 + 1 ties to even
		{I64, "\xff\xff\xff\xff\xff\xff\xff\xff", []float32{-1}},
		{F64, "\x00\x00\x00\x10\x00\x00\xf0\x3f", []float32{1}}, // 1 + 2^−24 ties to even
		{F32, "\x00\x00\x80\x3f\x00\x00\x80\xff", []float32{1, float32(math.Inf(-1))}},
		{F8E8M0, "\x7f\x00\xfe\x80", []float32{1, 0x1p-127, 0x1p127, 2}},
	} {
		got := make([]float32, len(c.want))
		if err := Decode(got, c.dt, []byte(c.src)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.dt, got, err, c.want)
		}
	}
	nan := make([]float32, 1)
	if err := Decode(nan, F8E8M0, []byte{0xff}); err != nil || nan[0] == nan[0] {
		t.Errorf("F8_E8M0 0xff: got %v, %v, want NaN", nan, err)
	}
}

func TestConvertErrors(t *testing.T) {
	x := make([]float32, 2)
	for _, c := range []struct {
		err  error
		want string
	}{
		{Decode(x, F32, make([]byte, 7)), "2 elements of F32 do not take 7 bytes"},
		{Decode(x, C64, make([]byte, 16)), "C64 cannot be read as float32"},
		{Decode(x, F4, make([]byte, 1)), "F4 cannot be read as float32"},
		{Decode(x, "F12", make([]byte, 3)), `"F12" is unknown`},
		{Encode(make([]byte, 3), BF16, x), "2 elements of BF16 do not take 3 bytes"},
		{Encode(make([]byte, 2), I8, x), "cannot be written as dtype I8"},
		{Round(U8, x), "cannot be written as dtype U8"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got error %v, want %q", c.err, c.want)
		}
	}
}
