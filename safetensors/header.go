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
	name       uint32 // where the name stands in the JSON
	nameLen    uint32
	shape      uint32 // where the shape stands
	rank       uint32
	dtype      uint8
	escaped    bool // the name is escaped
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
		e := broken(RuleLength, "the header's length is given as %d bytes", n)
		e.Remedy = "check that it is a safetensors file, or " + remedyFetch
		return nil, nil, e
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
	counter := &walker{scanner: scanner{data: json}}
	if err := counter.walk(); err != nil {
		return nil, err
	}
	w := &walker{scanner: scanner{data: json}, keep: true,
		records: make([]record, 0, counter.tensors), metadata: make([]uint32, 0, counter.keys)}
	if err := w.walk(); err != nil {
		return nil, err
	}
	if err := unique(json, w.records, w.metadata); err != nil {
		return nil, err
	}
	if err := contiguous(json, w.records, int64(len(data))); err != nil {
		return nil, err
	}
	h := build(json, w.records)
	h.metadata = w.metadata
	h.length = int64(len(json))
	return h, nil
}

// walker reads a header's JSON; it always counts and, if asked to, keeps the tensors and the places of the metadata keys.
type walker struct {
	scanner
	keep          bool
	tensors, keys int
	records       []record
	metadata      []uint32
}

// walk reads the whole header.
func (w *walker) walk() *FormatError {
	if err := w.expect('{', "an object"); err != nil {
		return err
	}
	seen := false
	for first := true; ; first = false {
		more, err := w.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			return w.end()
		}
		key, err := w.key()
		switch {
		case err != nil:
			return err
		case !key.is(metadataKey):
			err = w.tensor(key)
		case seen:
			err = broken(RuleDuplicate, "__metadata__ occurs twice")
		default:
			seen = true
			err = w.strings()
		}
		if err != nil {
			return err
		}
	}
}

// tensor reads the entry of the tensor called name.
func (w *walker) tensor(name text) *FormatError {
	r, err := w.entry()
	if err != nil {
		err.Tensor = name.String()
		return err
	}
	w.tensors++
	if w.keep {
		r.name, r.nameLen, r.escaped = uint32(name.at), uint32(len(name.raw)), name.escaped
		w.records = append(w.records, r)
	}
	return nil
}

// strings reads the string-to-string map of __metadata__.
func (w *walker) strings() *FormatError {
	if !w.accept('{') {
		return broken(RuleMetadata, "__metadata__ is not an object")
	}
	for first := true; ; first = false {
		more, err := w.more('}', first)
		if err != nil || !more {
			return err
		}
		key, err := w.key()
		if err != nil {
			return err
		}
		if !w.next('"') {
			return broken(RuleMetadata, "the value of %s in __metadata__ is not a string", quote(key.String()))
		}
		if _, err := w.text("a string"); err != nil {
			return err
		}
		w.keys++
		if w.keep {
			w.metadata = append(w.metadata, uint32(key.at-1)) // its quote
		}
	}
}

// name returns the record's name as it stands in the header.
func (r *record) text(json []byte) text {
	return text{raw: json[r.name : r.name+r.nameLen], at: int(r.name), escaped: r.escaped}
}

// keyAt reads the key whose quote stands at byte at of a checked header.
func keyAt(json []byte, at uint32) text {
	s := scanner{data: json, pos: int(at)}
	t, _ := s.text("a key")
	return t
}

// unique refuses two tensors of one name and two equal metadata keys. It orders both by name.
func unique(json []byte, records []record, metadata []uint32) *FormatError {
	slices.SortFunc(records, func(a, b record) int { return a.text(json).compare(b.text(json)) })
	for i := 1; i < len(records); i++ {
		if a := records[i].text(json); a.compare(records[i-1].text(json)) == 0 {
			e := broken(RuleDuplicate, "its name occurs twice")
			e.Tensor = a.String()
			return e
		}
	}
	slices.SortFunc(metadata, func(a, b uint32) int { return keyAt(json, a).compare(keyAt(json, b)) })
	for i := 1; i < len(metadata); i++ {
		if a := keyAt(json, metadata[i]); a.compare(keyAt(json, metadata[i-1])) == 0 {
			return broken(RuleDuplicate, "__metadata__ has the key %s twice", quote(a.String()))
		}
	}
	return nil
}

// contiguous orders the records by place and checks that they cover the data section exactly. An empty tensor has no
// place of its own and stands before the tensor that begins where it does.
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
				r.begin, quote(records[i-1].text(json).String()), at)
		case r.begin > at:
			e = broken(RuleHole, "it begins at offset %d, after a hole from %d", r.begin, at)
		case r.end > dataBytes:
			e = broken(RuleEnd, "it ends at offset %d, but only %d bytes of data follow the header", r.end, dataBytes)
			e.Remedy = remedyFetch
		default:
			at = r.end
			continue
		}
		e.Tensor = records[i].text(json).String()
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
	for i := range records {
		nameBytes += int(records[i].nameLen)
		dims += int(records[i].rank)
	}
	names, ends := make([]byte, 0, nameBytes), make([]uint32, len(records))
	for i := range records {
		names = records[i].text(json).append(names)
		ends[i] = uint32(len(names))
	}
	all, shapes := string(names), make([]int, 0, dims)
	h := &header{infos: make([]Info, len(records)), byName: make([]int32, len(records))}
	used := uint32(0)
	for i := range records {
		r := &records[i]
		first := len(shapes)
		shapes = r.dims(json, shapes)
		h.infos[i] = Info{Name: all[used:ends[i]], DType: dtypes[r.dtype].name, Shape: shapes[first:len(shapes):len(shapes)],
			Offset: r.begin, Size: r.end - r.begin}
		h.byName[i] = int32(i)
		used = ends[i]
	}
	slices.SortFunc(h.byName, func(a, b int32) int { return cmp.Compare(h.infos[a].Name, h.infos[b].Name) })
	return h
}

// dims appends the dimensions of a checked shape.
func (r *record) dims(json []byte, dst []int) []int {
	s := scanner{data: json, pos: int(r.shape) + 1} // after the bracket
	for i := range r.rank {
		if i > 0 {
			s.accept(',')
		}
		n, _ := s.count()
		dst = append(dst, int(n))
	}
	return dst
}
