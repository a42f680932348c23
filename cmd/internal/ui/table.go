package ui

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is a plain text table. Columns whose cells all look like numbers are aligned to the right.
type Table struct {
	header []string
	rows   [][]string
}

// NewTable starts a table with the given column names.
func NewTable(header ...string) *Table { return &Table{header: header} }

// Row adds a row; cells are formatted with %v, floats with four significant digits.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch v := c.(type) {
		case float64:
			row[i] = fmt.Sprintf("%.4g", v)
		case float32:
			row[i] = fmt.Sprintf("%.4g", v)
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	t.rows = append(t.rows, row)
}

// Write prints the table, two spaces between columns, no trailing blanks.
func (t *Table) Write(w io.Writer) {
	width := make([]int, len(t.header))
	right := make([]bool, len(t.header))
	for i, name := range t.header {
		width[i] = utf8.RuneCountInString(name)
		right[i] = len(t.rows) > 0
	}
	for _, row := range t.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
			right[i] = right[i] && looksNumeric(cell)
		}
	}
	for _, row := range append([][]string{t.header}, t.rows...) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			b.WriteString(cell + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// looksNumeric tells whether a cell belongs in a right-aligned column.
func looksNumeric(cell string) bool {
	if cell == "" || cell == "-" || cell == "+Inf" || cell == "NaN" {
		return true
	}
	first := strings.TrimLeft(cell, "+-−±")
	return first != "" && (first[0] >= '0' && first[0] <= '9' || first[0] == '.')
}

// Bytes formats a number of bytes for people, in binary units.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// Count formats a number with thousands separated by commas.
func Count(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
