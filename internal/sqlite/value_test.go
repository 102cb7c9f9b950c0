package sqlite

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// TestValues stores JSON values in columns of all kinds and looks at what SQLite then holds:
// type|value, or "refused".
func TestValues(t *testing.T) {
	// One column for each affinity; x is the last, without a type.
	const ddl = `CREATE TABLE v (id integer PRIMARY KEY, i integer, n decimal(20,4), r double, t varchar(5), b blob, x)`
	columns := []string{"i", "n", "r", "t", "b", "x"}
	a := newApp(t, ddl)
	x := a.writer(TargetOptions{})
	for i, c := range []struct {
		json string
		want [6]string
	}{
		{`null`, [6]string{"null|NULL", "null|NULL", "null|NULL", "null|NULL", "null|NULL", "null|NULL"}},
		{`1`, [6]string{"integer|1", "integer|1", "real|1.0", "text|1", "integer|1", "integer|1"}},
		{`-9223372036854775808`, [6]string{"integer|-9223372036854775808", "integer|-9223372036854775808", "real|-9.223372036854775808e+18", "text|-9223372036854775808", "integer|-9223372036854775808", "integer|-9223372036854775808"}},
		{`9223372036854775807`, [6]string{"integer|9223372036854775807", "integer|9223372036854775807", "refused", "text|9223372036854775807", "integer|9223372036854775807", "integer|9223372036854775807"}},
		{`9223372036854775808`, [6]string{"refused", "refused", "refused", "text|9223372036854775808", "refused", "text|9223372036854775808"}},
		{`9007199254740993`, [6]string{"integer|9007199254740993", "integer|9007199254740993", "refused", "text|9007199254740993", "integer|9007199254740993", "integer|9007199254740993"}},
		{`1.0`, [6]string{"integer|1", "integer|1", "real|1.0", "text|1.0", "real|1.0", "real|1.0"}},
		{`1.10`, [6]string{"real|1.1", "real|1.1", "real|1.1", "text|1.10", "real|1.1", "real|1.1"}},
		{`-1.5E-7`, [6]string{"real|-1.5e-07", "real|-1.5e-07", "real|-1.5e-07", "text|-1.5E-7", "real|-1.5e-07", "real|-1.5e-07"}},
		{`1e3`, [6]string{"integer|1000", "integer|1000", "real|1000.0", "text|1e3", "real|1000.0", "real|1000.0"}},
		{`1e400`, [6]string{"refused", "refused", "refused", "text|1e400", "refused", "text|1e400"}},
		{`0.1234567890123456789`, [6]string{"refused", "refused", "refused", "text|0.1234567890123456789", "refused", "text|0.1234567890123456789"}},
		{`123456789012.1234`, [6]string{"real|123456789012.1234", "real|123456789012.1234", "real|123456789012.1234", "text|123456789012.1234", "real|123456789012.1234", "real|123456789012.1234"}},
		{`-0`, [6]string{"integer|0", "integer|0", "real|0.0", "text|-0", "integer|0", "integer|0"}},
		{`true`, [6]string{"integer|1", "integer|1", "real|1.0", "text|1", "integer|1", "integer|1"}},
		{`false`, [6]string{"integer|0", "integer|0", "real|0.0", "text|0", "integer|0", "integer|0"}},
		{`""`, [6]string{"text|", "text|", "text|", "text|", "blob|", "text|"}},
		{`"abc"`, [6]string{"text|abc", "text|abc", "text|abc", "text|abc", "refused", "text|abc"}},
		{`"12"`, [6]string{"integer|12", "integer|12", "real|12.0", "text|12", "refused", "text|12"}},
		{`"19.90"`, [6]string{"real|19.9", "real|19.9", "real|19.9", "text|19.90", "refused", "text|19.90"}},
		{`"12345678901234567890"`, [6]string{"refused", "refused", "refused", "text|12345678901234567890", "blob|" + "\xd7\x6d\xf8\xe7\xae\xfc\xf7\x4d\x76\xdf\x8e\x7a\xef\xcf\x74", "text|12345678901234567890"}},
		{`"007"`, [6]string{"refused", "refused", "refused", "text|007", "refused", "text|007"}},
		{`"+358401234567"`, [6]string{"refused", "refused", "refused", "text|+358401234567", "refused", "text|+358401234567"}},
		{`" 5 "`, [6]string{"refused", "refused", "refused", "text| 5 ", "refused", "text| 5 "}},
		{`"1e5"`, [6]string{"refused", "refused", "refused", "text|1e5", "refused", "text|1e5"}},
		{`".5"`, [6]string{"refused", "refused", "refused", "text|.5", "refused", "text|.5"}},
		{`"0x1F"`, [6]string{"text|0x1F", "text|0x1F", "text|0x1F", "text|0x1F", "blob|" + "\xd3\x1d\x45", "text|0x1F"}},
		{`"2026-01-31"`, [6]string{"text|2026-01-31", "text|2026-01-31", "text|2026-01-31", "text|2026-01-31", "refused", "text|2026-01-31"}},
		{`"NaN"`, [6]string{"text|NaN", "text|NaN", "text|NaN", "text|NaN", "refused", "text|NaN"}},
		{`"3q2+7w=="`, [6]string{"text|3q2+7w==", "text|3q2+7w==", "text|3q2+7w==", "text|3q2+7w==", "blob|\xde\xad\xbe\xef", "text|3q2+7w=="}},
		{`"\\xDEADbeef"`, [6]string{`text|\xDEADbeef`, `text|\xDEADbeef`, `text|\xDEADbeef`, `text|\xDEADbeef`, "blob|\xde\xad\xbe\xef", `text|\xDEADbeef`}},
		{`"\\x"`, [6]string{`text|\x`, `text|\x`, `text|\x`, `text|\x`, "blob|", `text|\x`}},
		{`"\\x1"`, [6]string{`text|\x1`, `text|\x1`, `text|\x1`, `text|\x1`, "refused", `text|\x1`}},
		{`"a\u0000b\ud83d\ude00\u00e9\n"`, [6]string{"text|a\x00b😀é\n", "text|a\x00b😀é\n", "text|a\x00b😀é\n", "text|a\x00b😀é\n", "refused", "text|a\x00b😀é\n"}},
		{`{"a":[1.10, 2]}`, [6]string{`text|{"a":[1.10, 2]}`, `text|{"a":[1.10, 2]}`, `text|{"a":[1.10, 2]}`, `text|{"a":[1.10, 2]}`, `text|{"a":[1.10, 2]}`, `text|{"a":[1.10, 2]}`}},
	} {
		for j, col := range columns {
			id := 10*i + j
			err := x.try([]waybill.Change{insert("v", fmt.Sprintf(`{"id":%d}`, id), fmt.Sprintf(`{%q:%s}`, col, c.json))})
			have := "refused"
			if err == nil {
				have = a.rows(fmt.Sprintf("SELECT typeof(%[1]s), iif(typeof(%[1]s) = 'real', format('%%!.17g', %[1]s), %[1]s) FROM v WHERE id = %d", col, id))
			} else if !errors.As(err, new(*waybill.Refusal)) {
				t.Fatal(err)
			}
			if !sameStored(have, c.want[j]) {
				t.Errorf("%s in %s: have %q, want %q", c.json, col, have, c.want[j])
			}
		}
	}
}

// sameStored compares type|value, floats by their value.
func sameStored(have, want string) bool {
	a, okA := strings.CutPrefix(have, "real|")
	b, okB := strings.CutPrefix(want, "real|")
	if !okA || !okB {
		return have == want
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// TestNumbersAreNeverNarrowed compares with exact arithmetic: a number that was bound for a
// numeric column is an integer of the same value, or a float whose shortest decimal it is.
func TestNumbersAreNeverNarrowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lexeme := rapid.OneOf(
			rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?`),
			rapid.Map(rapid.Float64(), func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }),
			rapid.Map(rapid.Int64(), func(i int64) string { return strconv.FormatInt(i, 10) }),
		).Draw(t, "number")
		for _, aff := range []affinity{integer, numeric, double, blob} {
			v, reason := convertNumber([]byte(lexeme), &column{affinity: aff})
			exact, ok := new(big.Rat).SetString(lexeme)
			if !ok {
				t.Fatalf("%q is no number", lexeme)
			}
			switch v := v.(type) {
			case int64:
				if exact.Cmp(new(big.Rat).SetInt64(v)) != 0 {
					t.Fatalf("%s became %d", lexeme, v)
				}
				if f := float64(v); aff == double && (new(big.Rat).SetFloat64(f).Cmp(exact) != 0) {
					t.Fatalf("%s goes into a float column as %v", lexeme, f)
				}
			case float64:
				if math.IsInf(v, 0) || math.IsNaN(v) {
					t.Fatalf("%s became %v", lexeme, v)
				}
				short, _ := new(big.Rat).SetString(strconv.FormatFloat(v, 'g', -1, 64))
				if short.Cmp(exact) != 0 {
					t.Fatalf("%s became %v", lexeme, v)
				}
			case nil:
				if f, err := strconv.ParseFloat(lexeme, 64); err == nil && strconv.FormatFloat(f, 'g', -1, 64) == lexeme && (aff != double || f < 1<<53) {
					t.Fatalf("%s was refused: %s", lexeme, reason)
				}
			default:
				t.Fatalf("%s became a %T", lexeme, v)
			}
		}
	})
}

// TestLooksNumeric compares with SQLite itself: whatever text SQLite turns into a number in a
// numeric column is recognised.
func TestLooksNumeric(t *testing.T) {
	a := newApp(t, "CREATE TABLE n (v numeric)")
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.OneOf(
			rapid.StringMatching(`[ \t]?[-+]?[0-9]{0,3}(\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?[ ]?`),
			rapid.StringMatching(`[0-9.eE+x -]{0,6}`),
		).Draw(rt, "text")
		a.exec("DELETE FROM n")
		a.exec("INSERT INTO n VALUES (?)", s)
		number := a.rows("SELECT typeof(v) FROM n") != "text"
		if number != (looksNumeric([]byte(s)) || plainNumber([]byte(s))) {
			rt.Fatalf("%q: SQLite makes a number of it: %v", s, number)
		}
		if v, reason := convertText([]byte(s), &column{affinity: numeric}); reason == "" && number {
			if _, isText := v.(string); isText {
				rt.Fatalf("%q is bound as text, and SQLite would make a number of it", s)
			}
		}
	})
}

func TestAffinity(t *testing.T) {
	for declared, want := range map[string]affinity{
		"INT": integer, "bigint": integer, "UNSIGNED BIG INT": integer, "POINT": integer, "CHARINT": integer,
		"VARCHAR(255)": text, "nclob": text, "Text": text, "BLOB": blob, "longblob": blob, "": none,
		"REAL": double, "DOUBLE PRECISION": double, "float": double,
		"NUMERIC": numeric, "DECIMAL(10,5)": numeric, "BOOLEAN": numeric, "DATE": numeric, "STRING": numeric, "ANY": numeric,
	} {
		if have := affinityOf(declared); have != want {
			t.Errorf("%q: %d, want %d", declared, have, want)
		}
	}
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{`"x"`, `1`, `-0.10e-5`, `"\u0041"`, `true`, `[1]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		changes, err := envelope.DecodeChanges([]byte(`[{"entity":"e","op":"upsert","key":{"k":1},"row":{"c":` + string(raw) + `}}]`))
		if err != nil || len(changes) != 1 || len(changes[0].Row) != 1 {
			return
		}
		for aff := none; aff <= double; aff++ {
			if v, reason := convert(changes[0].Row[0].Value, &column{affinity: aff}); v != nil && reason != "" {
				t.Fatalf("%v and %q", v, reason)
			}
		}
	})
}
