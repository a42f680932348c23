package safetensors

const maxInt = int64(int(^uint(0) >> 1))

// The keys of a tensor's entry, as bits of a set.
const (
	keyDType = 1 << iota
	keyShape
	keyOffsets
)

// entry reads one tensor's object and checks that its parts agree.
func (s *scanner) entry() (record, *FormatError) {
	var r record
	if !s.accept('{') {
		return r, broken(RuleEntry, "its entry is not an object")
	}
	seen, elements := 0, int64(0)
	for first := true; ; first = false {
		more, err := s.more('}', first)
		if err != nil {
			return r, err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return r, err
		}
		bit := entryKey(key)
		switch {
		case bit == 0:
			return r, broken(RuleEntry, "its entry has the unknown key %s", quote(key.String()))
		case seen&bit != 0:
			return r, broken(RuleDuplicate, "its entry gives %s twice", key)
		case bit == keyDType:
			r.dtype, err = s.dtype()
		case bit == keyShape:
			elements, err = s.shape(&r)
		default:
			r.begin, r.end, err = s.offsets()
		}
		if err != nil {
			return r, err
		}
		seen |= bit
	}
	switch {
	case seen&keyDType == 0:
		return r, broken(RuleEntry, "its entry lacks dtype")
	case seen&keyShape == 0:
		return r, broken(RuleEntry, "its entry lacks shape")
	case seen&keyOffsets == 0:
		return r, broken(RuleEntry, "its entry lacks data_offsets")
	}
	return r, r.checkSize(elements)
}

// entryKey returns the bit of a key of an entry, 0 for an unknown one.
func entryKey(key text) int {
	switch {
	case key.is("dtype"):
		return keyDType
	case key.is("shape"):
		return keyShape
	case key.is("data_offsets"):
		return keyOffsets
	}
	return 0
}

// dtype reads a type's name and returns its code.
func (s *scanner) dtype() (uint8, *FormatError) {
	if !s.next('"') {
		return 0, broken(RuleDType, "its dtype is not a string")
	}
	name, err := s.text("a dtype")
	if err != nil {
		return 0, err
	}
	for i := range dtypes {
		if name.is(string(dtypes[i].name)) {
			return uint8(i), nil
		}
	}
	return 0, broken(RuleDType, "its dtype %s is unknown", quote(name.String()))
}

// shape notes where the shape stands and returns the number of elements, 1 for no dimensions.
func (s *scanner) shape(r *record) (int64, *FormatError) {
	if !s.next('[') {
		return 0, broken(RuleNumber, "its shape is not an array")
	}
	r.shape = uint32(s.pos)
	s.pos++
	elements := int64(1)
	for first := true; ; first = false {
		more, err := s.more(']', first)
		if err != nil || !more {
			return elements, err
		}
		n, err := s.count()
		if err != nil {
			return 0, err
		}
		if n > maxInt {
			return 0, broken(RuleOverflow, "the dimension %d of its shape does not fit this machine", n)
		}
		var fits bool
		if elements, fits = mulCount(elements, n); !fits {
			return 0, broken(RuleOverflow, "the product of its shape does not fit")
		}
		r.rank++
	}
}

// offsets reads [begin, end].
func (s *scanner) offsets() (begin, end int64, err *FormatError) {
	if !s.accept('[') {
		return 0, 0, broken(RuleOrder, "its data_offsets are not an array")
	}
	var pair [2]int64
	for n := 0; ; n++ {
		more, err := s.more(']', n == 0)
		switch {
		case err != nil:
			return 0, 0, err
		case !more && n < 2:
			return 0, 0, broken(RuleOrder, "its data_offsets have %d of two numbers", n)
		case !more && pair[0] > pair[1]:
			return 0, 0, broken(RuleOrder, "its data_offsets [%d, %d] run backwards", pair[0], pair[1])
		case !more:
			return pair[0], pair[1], nil
		case n == 2:
			return 0, 0, broken(RuleOrder, "its data_offsets have more than two numbers")
		}
		if pair[n], err = s.count(); err != nil {
			return 0, 0, err
		}
	}
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
