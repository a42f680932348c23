package task

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"d2nwg/internal/jinja"
)

// readParquet reads the rows of a parquet file as Python's values: groups are dicts, repeated ones lists.
func readParquet(_ string, data []byte) (rows []Doc, err error) {
	defer func() { // the library panics where a file contradicts itself
		if r := recover(); r != nil {
			rows, err = nil, fmt.Errorf("it isn't a whole parquet file: %v", r)
		}
	}()
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	for _, group := range f.RowGroups() {
		part, err := readGroup(f.Schema(), group)
		if err != nil {
			return nil, err
		}
		rows = append(rows, part...)
	}
	return rows, nil
}

func readGroup(schema *parquet.Schema, group parquet.RowGroup) ([]Doc, error) {
	r := group.Rows()
	defer r.Close()
	var rows []Doc
	batch := make([]parquet.Row, 64)
	for int64(len(rows)) < group.NumRows() {
		n, err := r.ReadRows(batch)
		for _, row := range batch[:n] {
			v := &parquetRow{}
			v.columns = make([][]parquet.Value, len(schema.Columns()))
			row.Range(func(i int, values []parquet.Value) bool {
				v.columns[i] = values
				return true
			})
			doc, err := v.group(schema, 0, 0)
			if err != nil {
				return nil, err
			}
			rows = append(rows, doc)
		}
		if n == 0 {
			return nil, fmt.Errorf("its rows end after %d of %d: %w", len(rows), group.NumRows(), err)
		}
	}
	return rows, nil
}

// parquetRow takes a row's columns apart from left to right.
type parquetRow struct {
	columns [][]parquet.Value
	at      int // the next column
}

// group reads a group's fields: definition and repetition are the levels that it is at.
func (p *parquetRow) group(node parquet.Node, definition, repetition int) (Doc, error) {
	d := jinja.NewDict()
	for _, field := range node.Fields() {
		v, err := p.field(field, definition, repetition)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", field.Name(), err)
		}
		d.Put(field.Name(), v)
	}
	return d, nil
}

// leaves is the number of columns of a node.
func leaves(node parquet.Node) int {
	if node.Leaf() {
		return 1
	}
	n := 0
	for _, field := range node.Fields() {
		n += leaves(field)
	}
	return n
}

func (p *parquetRow) field(node parquet.Node, definition, repetition int) (Value, error) {
	if node.Optional() {
		definition++
		if first := p.columns[p.at]; len(first) == 0 || first[0].DefinitionLevel() < definition {
			p.at += leaves(node)
			return nil, nil
		}
	}
	if node.Repeated() {
		return p.repeated(node, definition+1, repetition+1, func(sub *parquetRow) (Value, error) {
			return sub.one(node, definition+1, repetition+1)
		})
	}
	if !node.Leaf() && isList(node) {
		inner := node.Fields()[0]
		return p.repeated(inner, definition+1, repetition+1, func(sub *parquetRow) (Value, error) {
			if fields := inner.Fields(); !inner.Leaf() && len(fields) == 1 {
				return sub.field(fields[0], definition+1, repetition+1)
			}
			return sub.one(inner, definition+1, repetition+1)
		})
	}
	return p.one(node, definition, repetition)
}

// isList tells whether a group is the wrapper that parquet puts around a list.
func isList(node parquet.Node) bool {
	fields := node.Fields()
	_, ok := logicalType[*format.ListType](node)
	return ok && len(fields) == 1 && fields[0].Repeated()
}

// repeated cuts the columns of a node where its items begin, and reads each item.
func (p *parquetRow) repeated(node parquet.Node, definition, repetition int, read func(*parquetRow) (Value, error)) (Value, error) {
	n := leaves(node)
	columns := p.columns[p.at : p.at+n]
	p.at += n
	list := &jinja.List{}
	if len(columns[0]) == 0 || columns[0][0].DefinitionLevel() < definition {
		return list, nil
	}
	for len(columns[0]) > 0 {
		item := &parquetRow{columns: make([][]parquet.Value, n)}
		for i, values := range columns {
			end := min(1, len(values))
			for end < len(values) && values[end].RepetitionLevel() > repetition {
				end++
			}
			item.columns[i], columns[i] = values[:end], values[end:]
		}
		v, err := read(item)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, v)
	}
	return list, nil
}

func (p *parquetRow) one(node parquet.Node, definition, repetition int) (Value, error) {
	if !node.Leaf() {
		return p.group(node, definition, repetition)
	}
	values := p.columns[p.at]
	p.at++
	if len(values) == 0 || values[0].IsNull() {
		return nil, nil
	}
	return parquetValue(node, values[0])
}

// logicalType returns a node's logical type if it is a T.
func logicalType[T any](node parquet.Node) (t T, ok bool) {
	if logical := node.Type().LogicalType(); logical != nil {
		t, ok = logical.Value.(T)
	}
	return t, ok
}

func parquetValue(node parquet.Node, v parquet.Value) (Value, error) {
	integer, isInteger := logicalType[*format.IntType](node)
	unsigned := isInteger && !integer.IsSigned
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean(), nil
	case parquet.Int32:
		if unsigned {
			return int(v.Uint32()), nil
		}
		if _, isDate := logicalType[*format.DateType](node); isDate {
			return time.Unix(int64(v.Int32())*86400, 0).UTC().Format("2006-01-02"), nil
		}
		return int(v.Int32()), nil
	case parquet.Int64:
		if unsigned && v.Uint64() > math.MaxInt64 {
			return nil, fmt.Errorf("the number %d is beyond what is read", v.Uint64())
		}
		return int(v.Int64()), nil
	case parquet.Float:
		return float64(v.Float()), nil
	case parquet.Double:
		return v.Double(), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return string(v.ByteArray()), nil
	}
	return nil, fmt.Errorf("values of the kind %s aren't read", v.Kind())
}
