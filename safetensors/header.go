package safetensors

import (
	"cmp"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// record is one tensor of a header while the header is checked: small, and pointing into the header, so that even a
// header that is nothing but tensors costs less than its own size until all of it has proved true.
type record struct {
	begin, end int64
	name       uint32 // where the key stands in the JSON
	shape      uint32 // where the shape stands
	rank       uint32
	dtype      uint8
}

// header is a checked header.
type header struct {
	infos    []Info   // in data order
	byName   []int32  // infos, ordered by name
	metadata []uint32 // where the keys of __metadata__ stand
	length   int64    // bytes of JSON
}

// split returns the JSON of a file and its data section.
func split(file []byte) (json, data []byte, err *FormatError) {
	if len(file) < 8 {
		e := broken(RuleLength, "the file has only %d bytes", len(file))
		e.Remedy = remedyFetch
		return nil, nil, e
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return nil, nil, broken(RuleLength, "the header's length is given as %d bytes", n)
	}
	if n > uint64(len(file)-8) {
		e := broken(RuleLength, "the header's length is given as %d bytes, but only %d follow", n, len(file)-8)
		e.Remedy = remedyFetch
		return nil, nil, e
	}
	return file[8 : 8+n], file[8+n:], nil
}

// parse checks a whole file against every rule. It reads the header three times: to check its grammar and count what is
// in it, to note the tensors, and, when all rules hold, to build the result.
func parse(file []byte) (*header, *FormatError) {
	json, data, err := split(file)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(json) {
		return nil, broken(RuleUTF8, "the header holds bytes that are not UTF-8")
	}
	if len(json) == 0 || json[0] != '{' {
		return nil, broken(RuleStart, "the header does not begin with {")
	}
	var tensors, keys int
	if err := walk(json, func(record) { tensors++ }, func(uint32) { keys++ }); err != nil {
		return nil, err
	}
	records, metadata := make([]record, 0, tensors), make([]uint32, 0, keys)
	_ = walk(json, func(r record) { records = append(records, r) }, func(at uint32) { metadata = append(metadata, at) })
	if err := unique(json, records, metadata); err != nil {
		return nil, err
	}
	if err := contiguous(json, records, int64(len(data))); err != nil {
		return nil, err
	}
	h := build(json, records)
	h.metadata = metadata
	h.length = int64(len(json))
	return h, nil
}

// walk reads the header's JSON, calling tensor for each tensor and key with the place of each metadata key.
func walk(json []byte, tensor func(record), key func(uint32)) *FormatError {
	s := &scanner{data: json}
	seen := false
	err := s.object(func(name text, at int) *FormatError {
		if !name.is(metadataKey) {
			r, err := s.entry()
			if err != nil {
				err.Tensor = name.String()
				return err
			}
			r.name = uint32(at)
			tensor(r)
			return nil
		}
		if seen {
			return broken(RuleDuplicate, "__metadata__ occurs twice")
		}
		seen = true
		return s.metadata(key)
	})
	if err != nil {
		return err
	}
	return s.end()
}

// metadata reads the string-to-string map.
func (s *scanner) metadata(key func(uint32)) *FormatError {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] != '{' {
		return broken(RuleMetadata, "__metadata__ is not an object")
	}
	return s.object(func(name text, at int) *FormatError {
		key(uint32(at))
		s.space()
		if s.pos < len(s.data) && s.data[s.pos] != '"' {
			return broken(RuleMetadata, "the value of %s in __metadata__ is not a string", quote(name.String()))
		}
		_, err := s.text("a string")
		return err
	})
}

// entry reads one tensor's object and checks its size.
func (s *scanner) entry() (record, *FormatError) {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] != '{' {
		return record{}, broken(RuleEntry, "its entry is not an object")
	}
	const hasDType, hasShape, hasOffsets = 1, 2, 4
	var r record
	var seen int
	var elements int64
	err := s.object(func(key text, _ int) *FormatError {
		var bit int
		var read func() *FormatError
		switch {
		case key.is("dtype"):
			bit, read = hasDType, func() *FormatError { return s.dtype(&r) }
		case key.is("shape"):
			bit, read = hasShape, func() (err *FormatError) { elements, err = s.shape(&r); return err }
		case key.is("data_offsets"):
			bit, read = hasOffsets, func() *FormatError { return s.offsets(&r) }
		default:
			return broken(RuleEntry, "its entry has the unknown key %s", quote(key.String()))
		}
		if seen&bit != 0 {
			return broken(RuleDuplicate, "its entry gives %s twice", key)
		}
		seen |= bit
		return read()
	})
	switch {
	case err != nil:
		return r, err
	case seen&hasDType == 0:
		return r, broken(RuleEntry, "its entry lacks dtype")
	case seen&hasShape == 0:
		return r, broken(RuleEntry, "its entry lacks shape")
	case seen&hasOffsets == 0:
		return r, broken(RuleEntry, "its entry lacks data_offsets")
	}
	return r, r.checkSize(elements)
}

func (s *scanner) dtype(r *record) *FormatError {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] != '"' {
		return broken(RuleDType, "its dtype is not a string")
	}
	name, err := s.text("a dtype")
	if err != nil {
		return err
	}
	code, ok := dtypeCode(string(name.raw))
	if !ok || name.escaped {
		return broken(RuleDType, "its dtype %s is unknown", quote(name.String()))
	}
	r.dtype = uint8(code)
	return nil
}

// shape notes where the shape stands and returns the number of elements, 1 for no dimensions.
func (s *scanner) shape(r *record) (int64, *FormatError) {
	s.space()
	r.shape = uint32(s.pos)
	elements := int64(1)
	err := s.array("a shape", func() *FormatError {
		n, err := s.count()
		if err != nil {
			return err
		}
		if n > maxInt {
			return broken(RuleOverflow, "the dimension %d of its shape does not fit this machine", n)
		}
		var ok bool
		if elements, ok = mulCount(elements, n); !ok {
			return broken(RuleOverflow, "the product of its shape does not fit")
		}
		r.rank++
		return nil
	})
	return elements, err
}

const maxInt = int64(int(^uint(0) >> 1))

func (s *scanner) offsets(r *record) *FormatError {
	n := 0
	err := s.array("data_offsets", func() *FormatError {
		v, err := s.count()
		if err != nil {
			return err
		}
		switch n {
		case 0:
			r.begin = v
		case 1:
			r.end = v
		default:
			return broken(RuleOrder, "its data_offsets have more than two numbers")
		}
		n++
		return nil
	})
	if err != nil {
		return err
	}
	if n != 2 {
		return broken(RuleOrder, "its data_offsets have only %d of two numbers", n)
	}
	if r.begin > r.end {
		return broken(RuleOrder, "its data_offsets [%d, %d] run backwards", r.begin, r.end)
	}
	return nil
}

// checkSize compares the size that shape and dtype ask for with the span of the offsets.
func (r *record) checkSize(elements int64) *FormatError {
	dt := dtypes[r.dtype]
	size, whole, fits := byteSize(elements, dt.bits)
	switch {
	case !fits:
		return broken(RuleOverflow, "%d elements of %s have a size that does not fit", elements, dt.name)
	case !whole:
		return broken(RuleWhole, "%d elements of %s, %d bits each, do not fill whole bytes", elements, dt.name, dt.bits)
	case size != r.end-r.begin:
		return broken(RuleSize, "shape and %s ask for %d bytes, but data_offsets [%d, %d] span %d",
			dt.name, size, r.begin, r.end, r.end-r.begin)
	}
	return nil
}

// keyAt reads the key that begins at byte at of a checked header.
func keyAt(json []byte, at uint32) text {
	s := scanner{data: json, pos: int(at)}
	t, _ := s.text("a key")
	return t
}

// unique refuses two tensors of one name and two equal metadata keys; it leaves the records ordered by name.
func unique(json []byte, records []record, metadata []uint32) *FormatError {
	slices.SortFunc(records, func(a, b record) int { return keyAt(json, a.name).compare(keyAt(json, b.name)) })
	for i := 1; i < len(records); i++ {
		if a := keyAt(json, records[i].name); a.compare(keyAt(json, records[i-1].name)) == 0 {
			e := broken(RuleDuplicate, "its name occurs twice")
			e.Tensor = a.String()
			return e
		}
	}
	sorted := slices.Clone(metadata)
	slices.SortFunc(sorted, func(a, b uint32) int { return keyAt(json, a).compare(keyAt(json, b)) })
	for i := 1; i < len(sorted); i++ {
		if a := keyAt(json, sorted[i]); a.compare(keyAt(json, sorted[i-1])) == 0 {
			return broken(RuleDuplicate, "__metadata__ has the key %s twice", quote(a.String()))
		}
	}
	return nil
}

// contiguous orders the records by place and checks that they cover the data section exactly.
func contiguous(json []byte, records []record, dataBytes int64) *FormatError {
	slices.SortStableFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := int64(0)
	for i := range records {
		var e *FormatError
		switch r := &records[i]; {
		case r.begin < at:
			e = broken(RuleOverlap, "it begins at offset %d, inside %s, which ends at %d",
				r.begin, quote(keyAt(json, records[i-1].name).String()), at)
		case r.begin > at:
			e = broken(RuleHole, "it begins at offset %d, after a hole from %d", r.begin, at)
		case r.end > dataBytes:
			e = broken(RuleEnd, "it ends at offset %d, but only %d bytes of data follow the header", r.end, dataBytes)
			e.Remedy = remedyFetch
		default:
			at = r.end
			continue
		}
		e.Tensor = keyAt(json, records[i].name).String()
		return e
	}
	if at != dataBytes {
		return broken(RuleEnd, "%d bytes follow the last tensor", dataBytes-at)
	}
	return nil
}

// build turns checked records, in data order, into Infos that share one string of names and one array of dimensions.
func build(json []byte, records []record) *header {
	nameBytes, dims := 0, 0
	for _, r := range records {
		nameBytes += len(keyAt(json, r.name).raw)
		dims += int(r.rank)
	}
	names := make([]byte, 0, nameBytes)
	for _, r := range records {
		names = keyAt(json, r.name).append(names)
	}
	all, shapes := string(names), make([]int, 0, dims)
	h := &header{infos: make([]Info, len(records)), byName: make([]int32, len(records))}
	used := 0
	for i, r := range records {
		name := all[used : used+keyAt(json, r.name).size()]
		used += len(name)
		first := len(shapes)
		s := scanner{data: json, pos: int(r.shape)}
		_ = s.array("a shape", func() *FormatError {
			n, err := s.count()
			shapes = append(shapes, int(n))
			return err
		})
		h.infos[i] = Info{Name: name, DType: dtypes[r.dtype].name, Shape: shapes[first:len(shapes):len(shapes)],
			Offset: r.begin, Size: r.end - r.begin}
		h.byName[i] = int32(i)
	}
	slices.SortFunc(h.byName, func(a, b int32) int { return cmp.Compare(h.infos[a].Name, h.infos[b].Name) })
	return h
}
