package target

import "bytes"

// Dates and times in the forms of RFC 3339 and ISO 8601, as JSON has them. Whatever else a
// server understands is left to it.

// epochDays is the day that PostgreSQL counts from, 2000-01-01, in days since 1970-01-01.
const epochDays = 10957

// digits2 reads two decimal digits, -1 if they are not.
func digits2(b []byte) int {
	if len(b) < 2 || b[0] < '0' || b[0] > '9' || b[1] < '0' || b[1] > '9' {
		return -1
	}
	return int(b[0]-'0')*10 + int(b[1]-'0')
}

// parseDate reads YYYY-MM-DD at the start of text and returns PostgreSQL's day number and
// what follows.
func parseDate(text []byte) (days int32, rest []byte, ok bool) {
	if len(text) < 10 || text[4] != '-' || text[7] != '-' {
		return 0, nil, false
	}
	century, year, month, day := digits2(text), digits2(text[2:]), digits2(text[5:]), digits2(text[8:])
	if century < 0 || year < 0 || month < 1 || month > 12 || day < 1 {
		return 0, nil, false
	}
	year += century * 100
	if year == 0 || day > daysIn(year, month) {
		return 0, nil, false
	}
	return int32(civilDays(year, month, day) - epochDays), text[10:], true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// civilDays counts days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date
// Algorithms").
func civilDays(year, month, day int) int {
	if month <= 2 {
		year--
	}
	era := year / 400
	yearOfEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146097 + dayOfEra - 719468
}

// parseTimestamp reads a date, optionally with a time of at most microseconds and a zone,
// and returns microseconds since 2000-01-01. Without a time zone in the type, only UTC may
// be named; with it, a zone must be.
func parseTimestamp(text []byte, zoned bool) (micros int64, ok bool) {
	days, rest, ok := parseDate(text)
	if !ok || len(rest) < 9 || rest[0] != 'T' && rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' {
		return 0, false
	}
	h, m, s := digits2(rest[1:]), digits2(rest[4:]), digits2(rest[7:])
	if h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59 {
		return 0, false
	}
	micros = int64(days)*86400e6 + int64(h*3600+m*60+s)*1e6
	rest = rest[9:]
	if len(rest) > 0 && rest[0] == '.' {
		n := 1
		for scale := int64(1e5); n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			if n > 6 {
				return 0, false
			}
			micros += int64(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 {
			return 0, false
		}
		rest = rest[n:]
	}
	offset, ok := parseZone(rest)
	if !ok || zoned && len(rest) == 0 || !zoned && offset != 0 {
		return 0, false
	}
	return micros - int64(offset)*1e6, true
}

// parseZone reads nothing, Z or ±HH[[:]MM] and returns seconds east of UTC.
func parseZone(text []byte) (seconds int, ok bool) {
	if len(text) == 0 || len(text) == 1 && (text[0] == 'Z' || text[0] == 'z') {
		return 0, true
	}
	if text[0] != '+' && text[0] != '-' || len(text) < 3 {
		return 0, false
	}
	h, m := digits2(text[1:]), 0
	if minutes := bytes.TrimPrefix(text[3:], []byte{':'}); len(minutes) == 2 {
		m = digits2(minutes)
	} else if len(text) > 3 {
		return 0, false
	}
	if h < 0 || h > 15 || m < 0 || m > 59 {
		return 0, false
	}
	seconds = h*3600 + m*60
	if text[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// zoneOf is the zone at the end of a date and time, in seconds; 0 where none is recognised.
func zoneOf(text []byte) int {
	_, rest, ok := parseDate(text)
	if !ok {
		return 0
	}
	i := bytes.LastIndexAny(rest, "+-")
	if i < 0 {
		return 0
	}
	seconds, _ := parseZone(rest[i:])
	return seconds
}

// hasTimeOfDay tells whether what follows a date is a time other than midnight.
func hasTimeOfDay(rest []byte) bool {
	if len(rest) == 0 || rest[0] != 'T' && rest[0] != ' ' {
		return false
	}
	if i := bytes.LastIndexAny(rest, "+-Zz"); i > 0 {
		rest = rest[:i]
	}
	return bytes.ContainsAny(rest, "123456789")
}
