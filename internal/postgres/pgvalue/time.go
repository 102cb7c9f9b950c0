package pgvalue

import (
	"encoding/binary"
	"math"
	"strconv"
)

const (
	second = int64(1_000_000) // in microseconds, as all times here are
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour

	epoch = 10957 // 2000-01-01, from which the server counts, in days since 1970-01-01
)

// civil is the date of a day counted from 1970-01-01 in the Gregorian calendar; year 0 is 1 BC.
// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
func civil(days int64) (year int64, month, dayOfMonth int) {
	z := days + 719468
	era := floor(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dayOfMonth = int(doy - (153*mp+2)/5 + 1)
	month = int(mp) + 3
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, dayOfMonth
}

// daysOf is the inverse of civil.
func daysOf(year int64, month, dayOfMonth int) int64 {
	m := int64(month)
	if m <= 2 {
		year--
		m += 12
	}
	era := floor(year, 400)
	yoe := year - era*400
	doy := (153*(m-3)+2)/5 + int64(dayOfMonth) - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendPadded appends v with at least width digits.
func appendPadded(dst []byte, v int64, width int) []byte {
	for limit := int64(10); width > 1; width-- {
		if v < limit {
			for ; width > 1; width-- {
				dst = append(dst, '0')
			}
			break
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, v, 10)
}

func appendTwo(dst []byte, v int64) []byte {
	if v > 99 {
		return strconv.AppendInt(dst, v, 10)
	}
	return append(dst, '0'+byte(v/10), '0'+byte(v%10))
}

// appendDay appends a day as 2024-01-02 and tells whether " BC" must follow.
func appendDay(dst []byte, days int64) (out []byte, bc bool) {
	year, month, dayOfMonth := civil(days)
	if year <= 0 {
		year, bc = 1-year, true
	}
	dst = append(appendPadded(dst, year, 4), '-')
	dst = append(appendTwo(dst, int64(month)), '-')
	return appendTwo(dst, int64(dayOfMonth)), bc
}

// appendClock appends microseconds, not negative, as 03:04:05.6, or with all six decimals.
func appendClock(dst []byte, t int64, full bool) []byte {
	dst = append(appendTwo(dst, t/hour), ':')
	dst = append(appendTwo(dst, t%hour/minute), ':')
	dst = appendTwo(dst, t%minute/second)
	fraction := t % second
	if fraction == 0 && !full {
		return dst
	}
	dst = append(dst, '.')
	for unit := second / 10; unit > 0 && (fraction > 0 || full); unit /= 10 {
		dst = append(dst, '0'+byte(fraction/unit))
		fraction %= unit
	}
	return dst
}

func appendDate(dst []byte, days int32) []byte {
	switch days {
	case math.MaxInt32:
		return append(dst, "infinity"...)
	case math.MinInt32:
		return append(dst, "-infinity"...)
	}
	dst, bc := appendDay(dst, int64(days)+epoch)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// appendTimestamp appends microseconds since 2000 with the zone's suffix.
func appendTimestamp(dst []byte, t int64, zone string) []byte {
	switch t {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case math.MinInt64:
		return append(dst, "-infinity"...)
	}
	days := floor(t, day)
	dst, bc := appendDay(dst, days+epoch)
	dst = appendClock(append(dst, ' '), t-days*day, false)
	dst = append(dst, zone...)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// The first and the last moment that RFC 3339 can say, in days since 2000.
const (
	firstDay = -730119 // 0001-01-01
	lastDay  = 2921939 // 9999-12-31
)

// appendMoment appends a timestamptz as a JSON string: RFC 3339 where that can say it, else text.
func appendMoment(dst []byte, t int64) []byte {
	dst = append(dst, '"')
	days := floor(t, day)
	if days < firstDay || days > lastDay {
		return append(appendTimestamp(dst, t, "+00"), '"')
	}
	dst, _ = appendDay(dst, days+epoch)
	dst = appendClock(append(dst, 'T'), t-days*day, true)
	return append(dst, 'Z', '"')
}

func appendTime(dst []byte, t int64) ([]byte, error) {
	if t < 0 || t > day {
		return nil, errRange
	}
	return appendClock(dst, t, false), nil
}

func appendTimetz(dst, raw []byte) ([]byte, error) {
	t := int64(binary.BigEndian.Uint64(raw))
	west := int64(int32(binary.BigEndian.Uint32(raw[8:]))) // seconds
	if t < 0 || t > day || west <= -86400 || west >= 86400 {
		return nil, errRange
	}
	dst = appendClock(dst, t, false)
	sign := byte('+')
	if west > 0 {
		sign = '-'
	} else {
		west = -west
	}
	dst = appendTwo(append(dst, sign), west/3600)
	if west%3600 != 0 {
		dst = appendTwo(append(dst, ':'), west/60%60)
	}
	if west%60 != 0 {
		dst = appendTwo(append(dst, ':'), west%60)
	}
	return dst, nil
}

// appendInterval appends 1 year 2 mons -3 days +04:05:06.7: a part that follows a negative one
// shows its plus.
func appendInterval(dst, raw []byte) []byte {
	t := int64(binary.BigEndian.Uint64(raw))
	days := int32(binary.BigEndian.Uint32(raw[8:]))
	months := int32(binary.BigEndian.Uint32(raw[12:]))
	switch {
	case t == math.MaxInt64 && days == math.MaxInt32 && months == math.MaxInt32:
		return append(dst, "infinity"...)
	case t == math.MinInt64 && days == math.MinInt32 && months == math.MinInt32:
		return append(dst, "-infinity"...)
	}
	start := len(dst)
	before := false
	part := func(v int32, unit string) {
		if v == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if before && v > 0 {
			dst = append(dst, '+')
		}
		dst = append(strconv.AppendInt(dst, int64(v), 10), unit...)
		if v != 1 {
			dst = append(dst, 's')
		}
		before = v < 0
	}
	part(months/12, " year")
	part(months%12, " mon")
	part(days, " day")
	if t == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	if t < 0 {
		dst = append(dst, '-')
	} else if before {
		dst = append(dst, '+')
	}
	if t == math.MinInt64 { // has no positive counterpart
		return append(dst, "2562047788:00:54.775808"...)
	}
	if t < 0 {
		t = -t
	}
	return appendClock(dst, t, false)
}

// parseMoment reads the text of a timestamptz: microseconds since 2000. It is not ok where RFC 3339
// could not say the value (infinity, BC, a year past 9999).
func parseMoment(s []byte) (t int64, ok bool, err error) {
	if string(s) == "infinity" || string(s) == "-infinity" {
		return 0, false, nil
	}
	p := scanner{s: s}
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	far := digits > 4
	year := p.number(digits)
	month := p.after('-')
	dayOfMonth := p.after('-')
	hours := p.after(' ')
	minutes := p.after(':')
	seconds := p.after(':')
	fraction := int64(0)
	if p.next('.') {
		for unit := second / 10; len(p.s) > 0 && p.s[0] >= '0' && p.s[0] <= '9'; unit /= 10 {
			fraction += p.number(1) * unit
		}
	}
	sign := int64(1)
	if p.next('-') {
		sign = -1
	} else if !p.next('+') {
		p.bad = true
	}
	offset := p.number(2) * hour
	if p.next(':') {
		offset += p.number(2) * minute
		if p.next(':') {
			offset += p.number(2) * second
		}
	}
	bc := string(p.s) == " BC"
	if bc {
		p.s = nil
	}
	if p.bad || digits < 4 || digits > 6 || len(p.s) > 0 || month < 1 || month > 12 || dayOfMonth < 1 || dayOfMonth > 31 ||
		hours > 24 || minutes > 59 || seconds > 60 {
		return 0, false, errForm
	}
	if bc || far || year == 0 {
		return 0, false, nil
	}
	t = (daysOf(year, int(month), int(dayOfMonth))-epoch)*day + hours*hour + minutes*minute + seconds*second + fraction
	return t - sign*offset, true, nil
}

// scanner takes a text apart; bad once it was not as expected.
type scanner struct {
	s   []byte
	bad bool
}

func (p *scanner) next(c byte) bool {
	if len(p.s) == 0 || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

// number takes n digits, at most 18.
func (p *scanner) number(n int) int64 {
	if len(p.s) < n || n > 18 {
		p.bad = true
		return 0
	}
	v := int64(0)
	for _, c := range p.s[:n] {
		if c < '0' || c > '9' {
			p.bad = true
			return 0
		}
		v = v*10 + int64(c-'0')
	}
	p.s = p.s[n:]
	return v
}

// after takes two digits that follow c.
func (p *scanner) after(c byte) int64 {
	if !p.next(c) {
		p.bad = true
		return 0
	}
	return p.number(2)
}
