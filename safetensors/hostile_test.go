package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fileOf makes a file from a header's JSON and n bytes of data.
func fileOf(json string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(json)))
	return append(append(b, json...), make([]byte, n)...)
}

// entry is the JSON of one tensor.
func entry(name, dtype, shape string, begin, end any) string {
	return fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":[%v,%v]}`, name, dtype, shape, begin, end)
}

type hostile struct {
	name   string
	file   []byte
	rule   Rule
	tensor string // the tensor that the error must name
}

// object wraps a header with one U8 tensor called t, whose entry is given, and n bytes of data.
func object(entries string, n int) []byte { return fileOf("{"+entries+"}", n) }

func hostileLengths() []hostile {
	length := func(n uint64, rest string) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	return []hostile{
		{"empty file", nil, RuleLength, ""},
		{"seven bytes", make([]byte, 7), RuleLength, ""},
		{"length beyond the file", length(3, "{}"), RuleLength, ""},
		{"length of 100,000,001", length(100_000_001, "{}"), RuleLength, ""},
		{"length of 2^64-1", length(1<<64-1, "{}"), RuleLength, ""},
		{"length of 2^63", length(1<<63, "{}"), RuleLength, ""},
		{"length that wraps to the file's size", length(1<<64-6, "{}"), RuleLength, ""},
		{"length 0", length(0, ""), RuleStart, ""},
		{"space before the brace", fileOf(" {}", 0), RuleStart, ""},
		{"byte order mark", fileOf("\ufeff{}", 0), RuleStart, ""},
		{"array", fileOf("[]", 0), RuleStart, ""},
		{"pickle", []byte("\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u."), RuleLength, ""},
	}
}

func hostileJSON() []hostile {
	one := entry("t", "U8", "[1]", 0, 1)
	return []hostile{
		{"UTF-8 broken in a name", object(entry("t\xff", "U8", "[1]", 0, 1), 1), RuleUTF8, ""},
		{"UTF-8 surrogate", object(entry("t\xed\xa0\x80", "U8", "[1]", 0, 1), 1), RuleUTF8, ""},
		{"UTF-8 overlong", object(entry("t\xc0\xaf", "U8", "[1]", 0, 1), 1), RuleUTF8, ""},
		{"half a surrogate pair escaped", object(entry(`t\ud800`, "U8", "[1]", 0, 1), 1), RuleJSON, ""},
		{"broken escape", object(entry(`t\x41`, "U8", "[1]", 0, 1), 1), RuleJSON, ""},
		{"short escape", fileOf(`{"t\u00`, 0), RuleJSON, ""},
		{"control character", object(entry("t\n", "U8", "[1]", 0, 1), 1), RuleJSON, ""},
		{"unclosed object", fileOf("{"+one, 1), RuleJSON, ""},
		{"unclosed string", fileOf(`{"t`, 0), RuleJSON, ""},
		{"cut after a key", fileOf(`{"t"`, 0), RuleJSON, ""},
		{"trailing comma", object(one+",", 1), RuleJSON, ""},
		{"leading comma", object(","+one, 1), RuleJSON, ""},
		{"no comma", object(one+entry("u", "U8", "[0]", 1, 1), 1), RuleJSON, ""},
		{"trailing comma in a shape", object(entry("t", "U8", "[1,]", 0, 1), 1), RuleNumber, "t"},
		{"single quotes", fileOf(`{'t':1}`, 0), RuleJSON, ""},
		{"comment", fileOf(`{/**/}`, 0), RuleJSON, ""},
		{"second object", fileOf(`{}{}`, 0), RuleJSON, ""},
		{"padded with NUL", fileOf("{}\x00\x00", 0), RuleJSON, ""},
		{"name twice", object(one+","+one, 1), RuleDuplicate, "t"},
		{"name twice, once escaped", object(one+","+entry(`\u0074`, "U8", "[1]", 0, 1), 1), RuleDuplicate, "t"},
		{"name twice, apart", object(one+","+entry("u", "U8", "[0]", 1, 1)+","+entry("t", "U8", "[0]", 1, 1), 1), RuleDuplicate, "t"},
		{"metadata twice", object(`"__metadata__":{},"__metadata__":{}`, 0), RuleDuplicate, ""},
		{"metadata key twice", object(`"__metadata__":{"a":"1","a":"2"}`, 0), RuleDuplicate, ""},
		{"metadata key twice, once escaped", object(`"__metadata__":{"a":"1","\u0061":"2"}`, 0), RuleDuplicate, ""},
		{"metadata of numbers", object(`"__metadata__":{"a":1}`, 0), RuleMetadata, ""},
		{"metadata nested", object(`"__metadata__":{"a":{"b":"c"}}`, 0), RuleMetadata, ""},
		{"metadata of null", object(`"__metadata__":{"a":null}`, 0), RuleMetadata, ""},
		{"metadata is an array", object(`"__metadata__":[]`, 0), RuleMetadata, ""},
		{"metadata is a tensor", object(entry("__metadata__", "U8", "[1]", 0, 1), 1), RuleMetadata, ""},
	}
}

func hostileEntries() []hostile {
	broken := func(name, body string, rule Rule) hostile { return hostile{name, object(`"t":`+body, 4), rule, "t"} }
	return []hostile{
		broken("entry is null", `null`, RuleEntry),
		broken("entry is an array", `[]`, RuleEntry),
		broken("entry is nested deep", strings.Repeat("[", 100000), RuleEntry),
		broken("entry is empty", `{}`, RuleEntry),
		broken("no dtype", `{"shape":[4],"data_offsets":[0,4]}`, RuleEntry),
		broken("no shape", `{"dtype":"U8","data_offsets":[0,4]}`, RuleEntry),
		broken("no offsets", `{"dtype":"U8","shape":[4]}`, RuleEntry),
		broken("unknown key", `{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}`, RuleEntry),
		broken("dtype twice", `{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}`, RuleDuplicate),
		broken("shape twice", `{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}`, RuleDuplicate),
		broken("offsets twice", `{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]}`, RuleDuplicate),
		broken("dtype unknown", `{"dtype":"F12","shape":[4],"data_offsets":[0,4]}`, RuleDType),
		broken("dtype in lower case", `{"dtype":"f32","shape":[1],"data_offsets":[0,4]}`, RuleDType),
		broken("dtype is a number", `{"dtype":8,"shape":[4],"data_offsets":[0,4]}`, RuleDType),
		broken("shape is a string", `{"dtype":"U8","shape":"4","data_offsets":[0,4]}`, RuleNumber),
		broken("shape is null", `{"dtype":"U8","shape":null,"data_offsets":[0,4]}`, RuleNumber),
		broken("shape nested", `{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}`, RuleNumber),
		broken("negative dimension", `{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}`, RuleNumber),
		broken("fractional dimension", `{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}`, RuleNumber),
		broken("exponent in a dimension", `{"dtype":"U8","shape":[4e0],"data_offsets":[0,4]}`, RuleNumber),
		broken("leading zero", `{"dtype":"U8","shape":[04],"data_offsets":[0,4]}`, RuleNumber),
		broken("negative offset", `{"dtype":"U8","shape":[4],"data_offsets":[-0,4]}`, RuleNumber),
		broken("fractional offset", `{"dtype":"U8","shape":[4],"data_offsets":[0,4.0]}`, RuleNumber),
		broken("offset as a string", `{"dtype":"U8","shape":[4],"data_offsets":["0",4]}`, RuleNumber),
		broken("dimension of 2^63", `{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4]}`, RuleOverflow),
		broken("dimension of 2^64+4", `{"dtype":"U8","shape":[18446744073709551620],"data_offsets":[0,4]}`, RuleOverflow),
		broken("product wraps to 4", `{"dtype":"U8","shape":[4611686018427387905,4],"data_offsets":[0,4]}`, RuleOverflow),
		broken("product wraps to 0", `{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}`, RuleOverflow),
		broken("size wraps", `{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}`, RuleOverflow),
		broken("offset of 2^64", `{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551620]}`, RuleOverflow),
		broken("half a byte", `{"dtype":"F4","shape":[7],"data_offsets":[0,4]}`, RuleWhole),
		broken("six bits", `{"dtype":"F6_E2M3","shape":[5],"data_offsets":[0,4]}`, RuleWhole),
		broken("size too large", `{"dtype":"F32","shape":[2],"data_offsets":[0,4]}`, RuleSize),
		broken("size too small", `{"dtype":"U8","shape":[3],"data_offsets":[0,4]}`, RuleSize),
		broken("empty shape, no bytes", `{"dtype":"U8","shape":[],"data_offsets":[0,0]}`, RuleSize),
		broken("empty tensor, some bytes", `{"dtype":"U8","shape":[0],"data_offsets":[0,4]}`, RuleSize),
		broken("offsets backwards", `{"dtype":"U8","shape":[4],"data_offsets":[4,0]}`, RuleOrder),
		broken("one offset", `{"dtype":"U8","shape":[4],"data_offsets":[4]}`, RuleOrder),
		broken("three offsets", `{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}`, RuleOrder),
		broken("no offset", `{"dtype":"U8","shape":[4],"data_offsets":[]}`, RuleOrder),
		broken("offsets are an object", `{"dtype":"U8","shape":[4],"data_offsets":{"0":0,"1":4}}`, RuleOrder),
	}
}

func hostilePlaces() []hostile {
	pair := func(a, b [2]int, n int) []byte {
		u8 := func(name string, p [2]int) string {
			return entry(name, "U8", fmt.Sprintf("[%d]", p[1]-p[0]), p[0], p[1])
		}
		return object(u8("a", a)+","+u8("b", b), n)
	}
	return []hostile{
		{"overlap", pair([2]int{0, 4}, [2]int{3, 7}, 7), RuleOverlap, "b"},
		{"same bytes twice", pair([2]int{0, 4}, [2]int{0, 4}, 4), RuleOverlap, "b"},
		{"one inside the other", pair([2]int{0, 8}, [2]int{2, 4}, 8), RuleOverlap, "b"},
		{"empty tensor inside another", pair([2]int{0, 8}, [2]int{4, 4}, 8), RuleOverlap, "b"},
		{"hole", pair([2]int{0, 4}, [2]int{5, 9}, 9), RuleHole, "b"},
		{"hole at the start", pair([2]int{1, 4}, [2]int{4, 8}, 8), RuleHole, "a"},
		{"empty tensor beyond the end", pair([2]int{0, 4}, [2]int{5, 5}, 4), RuleHole, "b"},
		{"data cut short", pair([2]int{0, 4}, [2]int{4, 8}, 7), RuleEnd, "b"},
		{"no data", pair([2]int{0, 4}, [2]int{4, 8}, 0), RuleEnd, "a"},
		{"bytes after the end", pair([2]int{0, 4}, [2]int{4, 8}, 9), RuleEnd, ""},
		{"bytes but no tensors", fileOf("{}", 1), RuleEnd, ""},
		{"size of 2^59", object(entry("t", "U8", "[576460752303423488]", 0, 1<<59), 4), RuleEnd, "t"},
	}
}

// hostileBombs are headers of a megabyte that ask for as much memory as they can.
func hostileBombs() []hostile {
	many := func(n int, item func(i int) string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item(i))
		}
		return b.String()
	}
	tensors := many(20000, func(i int) string { return entry(fmt.Sprintf("%x", i), "U8", "[]", i, i+1) })
	keys := many(100000, func(i int) string { return fmt.Sprintf(`"%x":""`, i) })
	escapes := many(40000, func(i int) string { return fmt.Sprintf(`"\u0061%x":""`, i) })
	dims := many(500000, func(int) string { return "1" })
	return []hostile{
		{"20,000 tensors, the last one twice", object(tensors+","+entry("4e1f", "U8", "[]", 19999, 20000), 20000), RuleDuplicate, "4e1f"},
		{"20,000 tensors, data cut short", object(tensors, 19999), RuleEnd, "4e1f"},
		{"100,000 metadata keys, one twice", object(`"__metadata__":{`+keys+`,"0":""}`, 0), RuleDuplicate, ""},
		{"100,000 metadata keys, a byte too many", object(`"__metadata__":{`+keys+`}`, 1), RuleEnd, ""},
		{"40,000 escaped keys, a byte too many", object(`"__metadata__":{`+escapes+`}`, 1), RuleEnd, ""},
		{"500,000 dimensions", object(entry("t", "U8", "["+dims+"]", 0, 1), 0), RuleEnd, "t"},
		{"a name of a megabyte", object(entry(strings.Repeat("n", 1<<20), "F12", "[]", 0, 1), 1), RuleDType, strings.Repeat("n", 1<<20)},
		{"a key of a megabyte", object(`"t":{"`+strings.Repeat("k", 1<<20)+`":1}`, 1), RuleEntry, "t"},
		{"a megabyte of brackets", object(strings.Repeat("[", 1<<20), 1), RuleJSON, ""},
		{"a number of a megabyte", object(entry("t", "U8", "["+strings.Repeat("9", 1<<20)+"]", 0, 1), 1), RuleOverflow, "t"},
	}
}

// TestHostileFiles holds for each file that breaks a rule: it is refused with that rule, in one line that names the file
// and the tensor, and without allocating more than the file's size and some kilobytes for the error.
func TestHostileFiles(t *testing.T) {
	var all []hostile
	for _, some := range [][]hostile{hostileLengths(), hostileJSON(), hostileEntries(), hostilePlaces(), hostileBombs()} {
		all = append(all, some...)
	}
	dir := t.TempDir()
	for i, h := range all {
		path := filepath.Join(dir, fmt.Sprintf("%d.safetensors", i))
		if err := os.WriteFile(path, h.file, 0o666); err != nil {
			t.Fatal(err)
		}
		var f *File
		var err error
		used := allocated(func() { f, err = Open(path) })
		if err == nil {
			f.Close()
			t.Errorf("%s: opened", h.name)
			continue
		}
		checkRefusal(t, h, path, err)
		if limit := uint64(len(h.file)) + 64<<10; used > limit {
			t.Errorf("%s: %d bytes allocated for a file of %d", h.name, used, len(h.file))
		}
	}
	t.Logf("%d hostile files refused", len(all))
}

func checkRefusal(t *testing.T, h hostile, path string, err error) {
	t.Helper()
	var bad *FormatError
	if !errors.Is(err, ErrFormat) || !errors.As(err, &bad) {
		t.Errorf("%s: %v is no format error", h.name, err)
		return
	}
	text := err.Error()
	switch {
	case bad.Rule != h.rule:
		t.Errorf("%s: refused by the rule %q, want %q: %v", h.name, bad.Rule, h.rule, err)
	case bad.Tensor != h.tensor:
		t.Errorf("%s: the error names tensor %q, want %q: %v", h.name, bad.Tensor, h.tensor, err)
	case strings.ContainsAny(text, "\n\r\x00") || len(text) > 600:
		t.Errorf("%s: not one short line: %q", h.name, text)
	case !strings.Contains(text, path) || !strings.Contains(text, string(h.rule)) || bad.Remedy == "":
		t.Errorf("%s: the error lacks file, rule or remedy: %v", h.name, err)
	case h.tensor != "" && !strings.Contains(text, quote(h.tensor)):
		t.Errorf("%s: the error does not show the tensor: %v", h.name, err)
	}
}

// allocated returns the bytes that f allocates in all, garbage included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
