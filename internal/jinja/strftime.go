package jinja

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats the rendering's time as Python's datetime.strftime does in the C locale, for a time without a zone.
func (rt *run) strftime(format string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		flag := byte(0)
		if strings.IndexByte("-_0^", format[i]) >= 0 && i+1 < len(format) {
			flag = format[i]
			i++
		}
		s, ok := datePart(rt.now, format[i])
		if !ok {
			s, flag = format[strings.LastIndexByte(format[:i], '%'):i+1], 0 // kept as it stands
		}
		switch flag {
		case '-':
			if trimmed := strings.TrimLeft(s, "0 "); trimmed != "" {
				s = trimmed
			} else {
				s = "0"
			}
		case '_':
			zeros := len(s) - len(strings.TrimLeft(s[:max(len(s)-1, 0)], "0")) - min(len(s), 1)
			s = strings.Repeat(" ", zeros) + s[zeros:]
		case '0':
			s = strings.ReplaceAll(s, " ", "0")
		case '^':
			s = strings.ToUpper(s)
		}
		if err := rt.charge(len(s)); err != nil {
			return "", err
		}
		out.WriteString(s)
	}
	return out.String(), nil
}

// layouts are the parts of a date that Go's time package writes.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'm': "01", 'y': "06",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'c': "Mon Jan _2 15:04:05 2006",
	'x': "01/02/06", 'D': "01/02/06", 'X': "15:04:05", 'T': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM",
}

func datePart(t time.Time, verb byte) (string, bool) {
	year, week := t.ISOWeek()
	weekday := int(t.Weekday()) // Sunday = 0
	number := func(format string, n int) (string, bool) { return fmt.Sprintf(format, n), true }
	switch verb {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'z', 'Z':
		return "", true
	case 'f':
		return number("%06d", t.Nanosecond()/1000)
	case 'Y':
		return number("%d", t.Year())
	case 'C':
		return number("%02d", t.Year()/100)
	case 'F':
		return fmt.Sprintf("%d-%02d-%02d", t.Year(), t.Month(), t.Day()), true
	case 'G':
		return number("%d", year)
	case 'g':
		return number("%02d", year%100)
	case 'V':
		return number("%02d", week)
	case 'u':
		return number("%d", (weekday+6)%7+1)
	case 'w':
		return number("%d", weekday)
	case 'U':
		return number("%02d", (t.YearDay()-1+7-weekday)/7)
	case 'W':
		return number("%02d", (t.YearDay()-1+7-(weekday+6)%7)/7)
	case 'k':
		return number("%2d", t.Hour())
	case 'l':
		return number("%2d", (t.Hour()+11)%12+1)
	case 's':
		return number("%d", int(t.Unix()))
	case 'P':
		return strings.ToLower(t.Format("PM")), true
	}
	layout, ok := layouts[verb]
	return t.Format(layout), ok
}
