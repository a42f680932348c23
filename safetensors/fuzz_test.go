package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// FuzzOpen builds a file from a header, the length that the file gives for it, and n bytes of data.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{}`), uint16(0), uint64(2))
	f.Add([]byte(`{"__metadata__":{"format":"pt"},`+entry("a", "BF16", "[2,3]", 0, 12)+","+entry(`\u00e9\n`, "F4", "[2]", 12, 13)+`}   `),
		uint16(13), uint64(107))
	for _, some := range [][]hostile{hostileLengths(), hostileJSON(), hostileEntries(), hostilePlaces()} {
		for _, h := range some {
			if len(h.file) < 8 || len(h.file) > 1000 {
				continue
			}
			length := binary.LittleEndian.Uint64(h.file)
			cut := 8 + min(length, uint64(len(h.file)-8))
			f.Add(h.file[8:cut], uint16(len(h.file))-uint16(cut), length)
		}
	}
	f.Fuzz(func(t *testing.T, header []byte, n uint16, length uint64) {
		for _, l := range []uint64{length, uint64(len(header))} {
			file := append(binary.LittleEndian.AppendUint64(nil, l), header...)
			checkAgainstReference(t, append(file, make([]byte, n)...))
		}
	})
}

// FuzzIndex holds what parseIndex accepts against encoding/json and against itself after writing.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{},"metadata":{"total_size":12.0,"total_parameters":3,"x":[1,{"y":null}]},"more":"\u00e9"}`))
	for _, h := range hostileIndexes() {
		if len(h.file) < 1000 {
			f.Add(h.file)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, bad := parseIndex(data)
		if bad != nil {
			if strings.ContainsAny(bad.Error(), "\n\r") {
				t.Fatalf("%q: not one line: %q", data, bad.Error())
			}
			return
		}
		var other struct {
			Shards map[string]string `json:"weight_map"`
		}
		exact := !strings.Contains(string(data), `\`) // encoding/json also takes WEIGHT_MAP, and replaces half a pair
		for key := range ix.Extra {
			exact = exact && !strings.EqualFold(key, "weight_map")
		}
		if err := json.Unmarshal(data, &other); err != nil && exact {
			t.Fatalf("%q: accepted, but encoding/json says %v", data, err)
		}
		if exact && !maps.Equal(other.Shards, ix.Shards) {
			t.Fatalf("%q: %v, want %v", data, ix.Shards, other.Shards)
		}
		written, err := ix.encode()
		if err != nil {
			t.Fatalf("%q: written again: %v", data, err)
		}
		again, bad := parseIndex(written)
		if bad != nil || !maps.Equal(again.Shards, ix.Shards) || !maps.Equal(again.Metadata, ix.Metadata) ||
			!maps.Equal(again.Extra, ix.Extra) || again.TotalSize != ix.TotalSize {
			t.Fatalf("%q: written again: %q: %v", data, written, bad)
		}
	})
}
