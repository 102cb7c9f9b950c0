package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/outbox"
)

// recorder has the methods of a pgx transaction and keeps what it was sent.
type recorder struct {
	query string
	args  []any
	err   error
}

type recorded struct{ err error }

func (r recorded) Scan(dest ...any) error {
	*dest[0].(*string) = "the-id"
	return r.err
}

func (r *recorder) QueryRow(_ context.Context, query string, args ...any) recorded {
	r.query, r.args = query, args
	return recorded{r.err}
}
func (r *recorder) Commit(context.Context) error   { return nil }
func (r *recorder) Rollback(context.Context) error { return nil }

// emitted is the wire form of one change.
func emitted(c outbox.Change) (string, error) {
	var tx recorder
	_, err := outbox.Emit(context.Background(), &tx, outbox.Action{Changes: []outbox.Change{c}})
	if err != nil {
		if tx.query != "" {
			err = errors.New("it was sent, but " + err.Error())
		}
		return "", err
	}
	wire := tx.args[1].(string)
	if _, err := envelope.DecodeChanges([]byte(wire)); err != nil {
		return "", fmt.Errorf("readers refuse %s: %w", wire, err)
	}
	return wire, nil
}

type number struct{ n int64 } // a decimal of somebody's, with pointer receivers

func (n *number) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%d.50", n.n), nil }

type colour int

func (c colour) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "colour-%d", int(c)), nil }

type object struct{}

func (object) MarshalJSON() ([]byte, error) { return []byte(`{ "b": 1, "a": [ 1.0 ] }`), nil }

type person struct {
	ID      int64 `json:"id"`
	Name    string
	Born    *time.Time     `json:"born"`
	Nick    string         `json:"nick,omitempty"`
	Seen    time.Time      `json:"seen,omitzero"`
	Secret  string         `json:"-"`
	Quoted  int64          `json:"quoted,string"`
	Comment sql.NullString `json:"comment"`
	hidden  int
	base
	*audit
}

type base struct {
	Version int `json:"version"`
	ID      int `json:"id"` // hidden by the outer one
}

type (
	left  struct{ X int }
	right struct{ X int }
)

type audit struct {
	By string `json:"by"`
}

func TestValues(t *testing.T) {
	helsinki := time.FixedZone("EET", 2*3600)
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	text := "x"
	var none *string
	for _, tc := range []struct {
		value any
		want  string
	}{
		{nil, `null`},
		{none, `null`},
		{&text, `"x"`},
		{true, `true`},
		{int8(-5), `-5`},
		{uint64(math.MaxUint64), `18446744073709551615`},
		{int64(math.MinInt64), `-9223372036854775808`},
		{0.1, `0.1`},
		{float32(0.1), `0.1`},
		{1e300, `1e+300`},
		{-1e-9, `-1e-09`},
		{math.NaN(), `"NaN"`},
		{math.Inf(1), `"Infinity"`},
		{math.Inf(-1), `"-Infinity"`},
		{json.Number("10.50"), `10.50`},
		{json.Number("1E400"), `1E400`},
		{huge, `123456789012345678901234567890`},
		{*huge, `123456789012345678901234567890`},
		{number{3}, `3.50`},
		{&number{4}, `4.50`},
		{colour(3), `"colour-3"`},
		{time.Date(2024, 5, 1, 12, 34, 56, 123456789, helsinki), `"2024-05-01T10:34:56.123456Z"`},
		{time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC), `"2024-05-01T00:00:00.000000Z"`},
		{time.Time{}, `"0001-01-01T00:00:00.000000Z"`},
		{[]byte{0, 0xff, 1}, `"AP8B"`},
		{[]byte{}, `""`},
		{[]byte(nil), `null`},
		{[3]byte{0, 0xff, 1}, `"AP8B"`},
		{uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), `"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`},
		{sql.NullString{String: "a", Valid: true}, `"a"`},
		{sql.NullString{}, `null`},
		{&sql.NullTime{Time: time.Unix(0, 0), Valid: true}, `"1970-01-01T00:00:00.000000Z"`},
		{sql.Null[int16]{V: 7, Valid: true}, `7`},
		{"a\"\\\n<&>\u2028é", `"a\"\\\u000a<&>` + "\u2028" + `é"`},
		{json.RawMessage(` { "b" : 1.0, "a" : "\ud83d\ude00" } `), `{"b":1.0,"a":"\ud83d\ude00"}`},
		{json.RawMessage(`"\\u0000"`), `"\\u0000"`},
		{json.RawMessage(nil), `null`},
		{[]any{1, nil, "x", []int{}}, `[1,null,"x",[]]`},
		{map[int]string{2: "b", 10: "a"}, `{"10":"a","2":"b"}`},
		{map[string]time.Time{"t": time.Unix(0, 0)}, `{"t":"1970-01-01T00:00:00.000000Z"}`},
		{struct {
			A any `json:"a"`
		}{math.NaN()}, `{"a":"NaN"}`},
	} {
		got, err := emitted(outbox.Upsert("e", outbox.Row{"id": 1}, outbox.Row{"v": tc.value}))
		want := `[{"entity":"e","op":"upsert","key":{"id":1},"row":{"v":` + tc.want + `}}]`
		if err != nil {
			t.Errorf("%T %v: %v", tc.value, tc.value, err)
		} else if got != want {
			t.Errorf("%T %v:\ngot  %s\nwant %s", tc.value, tc.value, got, want)
		}
	}
}

func TestRows(t *testing.T) {
	born := time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		change outbox.Change
		want   string
	}{
		{
			outbox.Insert("p", outbox.Row{"id": 7}, &person{ID: 7, Name: "Ada", Born: &born, Secret: "s", hidden: 1, base: base{3, 4}, audit: &audit{"me"}}),
			`{"entity":"p","op":"insert","key":{"id":7},"row":{"id":7,"Name":"Ada","born":"1815-12-10T00:00:00.000000Z","quoted":"0","comment":null,"version":3,"by":"me"}}`,
		},
		{
			outbox.Update("p", outbox.Row{"b": "x", "a": true}, person{Nick: "N", Seen: time.Unix(0, 0)}),
			`{"entity":"p","op":"update","key":{"a":true,"b":"x"},"row":{"id":0,"Name":"","born":null,"nick":"N","seen":"1970-01-01T00:00:00.000000Z","quoted":"0","comment":null,"version":0}}`,
		},
		{outbox.Delete("p", struct {
			base
			ID string `json:"id"`
		}{ID: "outer"}), `{"entity":"p","op":"delete","key":{"version":0,"id":"outer"}}`},
		{outbox.Upsert("p", json.RawMessage(`{"id":1.0}`), object{}), `{"entity":"p","op":"upsert","key":{"id":1.0},"row":{"b":1,"a":[1.0]}}`},
		{outbox.Delete("p", map[uint8]int{200: 1}), `{"entity":"p","op":"delete","key":{"200":1}}`},
		{outbox.Update("p", map[string]int{"id": 1}, outbox.Row{"id": 2}), `{"entity":"p","op":"update","key":{"id":1},"row":{"id":2}}`},
		{outbox.Upsert("p", outbox.Row{"id": "A"}, json.RawMessage(`{"id":"\u0041"}`)), `{"entity":"p","op":"upsert","key":{"id":"A"},"row":{"id":"\u0041"}}`},
		{outbox.Upsert("p", outbox.Row{"id": 1}, struct{}{}), `{"entity":"p","op":"upsert","key":{"id":1},"row":{}}`},
		{outbox.Delete("p", outbox.Row{"id": 1}), `{"entity":"p","op":"delete","key":{"id":1}}`},
		{
			outbox.Change{Entity: "p", Op: waybill.Delete, Key: outbox.Row{"id": 1}, Row: outbox.Row{}, Before: outbox.Row{"x": nil}},
			`{"entity":"p","op":"delete","key":{"id":1},"before":{"x":null}}`,
		},
	} {
		got, err := emitted(tc.change)
		if err != nil {
			t.Errorf("%s: %v", tc.want, err)
		} else if got != "["+tc.want+"]" {
			t.Errorf("got  %s\nwant [%s]", got, tc.want)
		}
	}
}

func TestMalformedActionsAreNotSent(t *testing.T) {
	key, row := outbox.Row{"id": 1}, outbox.Row{"a": 1}
	value := func(v any) outbox.Change { return outbox.Upsert("e", key, outbox.Row{"v": v}) }
	var deep any = 1
	for range outbox.MaxDepth + 1 {
		deep = []any{deep}
	}
	cycle := map[string]any{}
	cycle["self"] = cycle
	for _, tc := range []struct {
		change outbox.Change
		want   string
	}{
		{outbox.Change{Op: waybill.Delete, Key: key}, `change 1: entity is empty`},
		{outbox.Delete("a\xff", key), `change 1: entity: it is not valid UTF-8`},
		{outbox.Change{Entity: "e", Key: key}, `change 1 (e): op(0) is not one of insert, update, upsert, delete`},
		{outbox.Delete("e", nil), `change 1 (e): key is missing or empty`},
		{outbox.Delete("e", outbox.Row{}), `change 1 (e): key is missing or empty`},
		{outbox.Delete("e", 7), `change 1 (e): key: int is not a map, a struct or a JSON object`},
		{outbox.Delete("e", json.RawMessage(`[1]`)), `change 1 (e): key: it is not a JSON object`},
		{outbox.Delete("e", json.RawMessage(`{"id":1`)), `change 1 (e): key: it is not valid JSON`},
		{outbox.Delete("e", json.RawMessage(`{"id":1,"id":1}`)), `change 1 (e): key: column "id" stands there twice`},
		{outbox.Delete("e", outbox.Row{"id": nil}), `change 1 (e): key column "id" is null`},
		{outbox.Delete("e", outbox.Row{"id": []int{1}}), `change 1 (e): key column "id" is not a string, number or boolean`},
		{outbox.Delete("e", outbox.Row{"": 1}), `change 1 (e): key: a column has no name`},
		{outbox.Delete("e", outbox.Row{"a\x00": 1}), `change 1 (e): key: name of column "a\x00": it contains the character U+0000, which PostgreSQL cannot store`},
		{outbox.Delete("e", map[float64]int{1: 1}), `change 1 (e): key: map[float64]int has keys that are neither strings nor integers`},
		{outbox.Change{Entity: "e", Op: waybill.Delete, Key: key, Row: row}, `change 1 (e): a delete has no row (what was deleted goes into before)`},
		{outbox.Insert("e", key, nil), `change 1 (e): row is missing, insert needs it`},
		{outbox.Upsert("e", key, map[string]any(nil)), `change 1 (e): row is missing, upsert needs it`},
		{outbox.Update("e", key, (*person)(nil)), `change 1 (e): row is missing, update needs it`},
		{outbox.Upsert("e", key, outbox.Row{"id": 2}), `change 1 (e): column "id" has one value in key and another in row, which upsert does not allow (an update changes a key)`},
		{outbox.Change{Entity: "e", Op: waybill.Delete, Key: key, Before: 1}, `change 1 (e): before: int is not a map, a struct or a JSON object`},
		{outbox.Upsert("e", key, struct {
			left
			right
		}{}), `change 1 (e): row: column "X" stands there twice`},
		{value("a\x00b"), `change 1 (e): row: column "v": it contains the character U+0000, which PostgreSQL cannot store`},
		{value("\xff"), `change 1 (e): row: column "v": it is not valid UTF-8`},
		{value(time.Second), `change 1 (e): row: column "v": a time.Duration is ambiguous; write the number or the text that the column holds`},
		{value(json.Number("1,5")), `change 1 (e): row: column "v": the json.Number is not a number`},
		{value(json.Number("")), `change 1 (e): row: column "v": the json.Number is not a number`},
		{value(json.Number("true")), `change 1 (e): row: column "v": the json.Number is not a number`},
		{value(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)), `change 1 (e): row: column "v": the time is not within the years 0 to 9999`},
		{value(func() {}), `change 1 (e): row: column "v": a func() cannot be written as JSON`},
		{value(complex(1, 1)), `change 1 (e): row: column "v": a complex128 cannot be written as JSON`},
		{value(deep), `change 1 (e): row: column "v": it nests deeper than 64`},
		{value(cycle), `change 1 (e): row: column "v": it nests deeper than 64`},
		{value(json.RawMessage(`{"a":"\u0000"}`)), `change 1 (e): row: column "v": it contains the character U+0000, which PostgreSQL cannot store`},
		{value(json.RawMessage(`"\ud800"`)), `change 1 (e): row: column "v": it contains half of a surrogate pair, which is no character`},
		{value(json.RawMessage(`"\udc00"`)), `change 1 (e): row: column "v": it contains half of a surrogate pair, which is no character`},
		{value(json.RawMessage("\"\xff\"")), `change 1 (e): row: column "v": it is not valid UTF-8`},
		{value(json.RawMessage(`{`)), `change 1 (e): row: column "v": it is not valid JSON`},
		{value(json.RawMessage(strings.Repeat("[", 65) + strings.Repeat("]", 65))), `change 1 (e): row: column "v": it nests deeper than 64`},
	} {
		want := `emit "" to the outbox: ` + tc.want
		if wire, err := emitted(tc.change); err == nil {
			t.Errorf("taken: %s\nwant %s", wire, want)
		} else if err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	for want, a := range map[string]outbox.Action{
		`the action has no changes`: {},
		`the action's name is not valid UTF-8 or contains control characters`: {Name: "a\n"},
		`the action's ID is not valid UTF-8 or contains control characters`:   {ID: "a\x00"},
		`the action's ID is longer than 200 bytes`:                            {ID: strings.Repeat("x", 201)},
		`change 2 (f): key is missing or empty`:                               {Changes: []outbox.Change{outbox.Delete("e", key), outbox.Delete("f", nil)}},
	} {
		if _, err := outbox.Emit(t.Context(), &recorder{}, a); err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDepthBoundIsTheReaders(t *testing.T) {
	if outbox.MaxDepth != envelope.MaxDepth {
		t.Error("writers and readers of the outbox disagree")
	}
	raw := json.RawMessage(strings.Repeat("[", 64) + strings.Repeat("]", 64))
	for _, row := range []any{outbox.Row{"v": raw}, json.RawMessage(`{"v":` + string(raw) + `}`)} {
		if _, err := emitted(outbox.Upsert("e", outbox.Row{"id": 1}, row)); err != nil {
			t.Error(err)
		}
	}
}

// Plain values mean what encoding/json takes them for, and readers take all that is sent.
func TestValuesAgainstEncodingJSON(t *testing.T) {
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Uint64().AsAny(),
		rapid.Float64().AsAny(), rapid.Float32().AsAny(), rapid.String().AsAny())
	nested := rapid.OneOf(scalar, rapid.SliceOfN(scalar, 0, 4).AsAny(),
		rapid.MapOfN(rapid.String(), rapid.OneOf(scalar, rapid.MapOfN(rapid.String(), scalar, 0, 3).AsAny()), 0, 4).AsAny())
	rapid.Check(t, func(t *rapid.T) {
		row := outbox.Row{"v": nested.Draw(t, "value")}
		std, err := json.Marshal(row)
		if err != nil {
			t.Skip("not for encoding/json")
		}
		wire, err := emitted(outbox.Upsert("e", outbox.Row{"id": 1}, row))
		if err != nil {
			if strings.Contains(err.Error(), "U+0000") && strings.Contains(string(std), `\u0000`) {
				return
			}
			t.Fatal(err)
		}
		var got []struct{ Row any }
		var want any
		if err := json.Unmarshal([]byte(wire), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(std, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got[0].Row, want) {
			t.Fatalf("got  %s\nwant %s", wire, std)
		}
	})
}

func TestTraceAndName(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for in, want := range map[string]any{
		trace: trace, "": nil, "x": nil, trace + "-x": nil, trace[:54]: nil, strings.ToUpper(trace): nil,
		"01" + trace[2:]: "01" + trace[2:], "01" + trace[2:] + "-what.comes": "01" + trace[2:] + "-what.comes",
		"01" + trace[2:] + "-\n": nil, strings.Replace(trace, "-", "x", 1): nil,
	} {
		var tx recorder
		action := outbox.Action{Name: "n", Trace: in, Changes: []outbox.Change{outbox.Delete("e", outbox.Row{"id": 1})}}
		if id, err := outbox.Emit(t.Context(), &tx, action); err != nil || id != "the-id" {
			t.Fatalf("%q: %q %v", in, id, err)
		}
		if tx.args[0] != "n" || tx.args[2] != want {
			t.Errorf("%q: sent %v", in, tx.args)
		}
	}
}

func TestOnlyTransactionsAreTaken(t *testing.T) {
	action := outbox.Action{Changes: []outbox.Change{outbox.Delete("e", outbox.Row{"id": 1})}}
	for _, tx := range []any{nil, (*sql.Tx)(nil), &sql.DB{}, "x", struct{ recorder }{}, &pool{}} {
		if _, err := outbox.Emit(t.Context(), tx, action); err == nil || !strings.Contains(err.Error(), "transaction") {
			t.Errorf("%T: %v", tx, err)
		}
	}
	if _, err := outbox.Emit(t.Context(), &recorder{}, outbox.Action{ID: "x", Changes: action.Changes}); err == nil {
		t.Error("an ID that is not the transaction's was taken")
	}
	if _, err := outbox.Emit(t.Context(), &recorder{err: errors.New("boom")}, action); err == nil || err.Error() != `emit "" to the outbox: boom` {
		t.Errorf("got %v", err)
	}
}

// pool can query like a transaction, but not commit.
type pool struct{}

func (*pool) QueryRow(context.Context, string, ...any) recorded { return recorded{} }

// Applications get nothing but the standard library and the vocabulary with this package.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); len(got) != 2 || got[0] != "github.com/waybill-data/waybill" {
		t.Errorf("depends on %v", got)
	}
}

// JSON that comes ready-made is taken exactly when the readers take it, U+0000 excepted.
func FuzzRawMessage(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"\ud83d\ude00"]}`, ` "\\u0000\u0000"`, `"\udc00\ud800"`, "\"\xff\"", `[[[0.1e-7]]]`, `{`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		wire, err := emitted(outbox.Upsert("e", outbox.Row{"id": 1}, outbox.Row{"v": json.RawMessage(raw)}))
		if err != nil && strings.Contains(err.Error(), "readers refuse") {
			t.Fatal(err)
		}
		if raw == nil || err != nil && strings.Contains(err.Error(), "U+0000") {
			return
		}
		want, wantErr := envelope.DecodeChanges(fmt.Appendf(nil, `[{"entity":"e","op":"upsert","key":{"id":1},"row":{"v":%s}}]`, raw))
		if (err == nil) != (wantErr == nil) && json.Valid(raw) {
			t.Fatalf("%q: emit %v, readers %v", raw, err, wantErr)
		}
		if err != nil {
			return
		}
		got, err := envelope.DecodeChanges([]byte(wire))
		if err != nil || got[0].Row.String() != `{"v":`+string(envelope.Compact([]byte(want[0].Row[0].Value.String())))+`}` {
			t.Fatalf("%q became %s (%v)", raw, wire, err)
		}
	})
}
