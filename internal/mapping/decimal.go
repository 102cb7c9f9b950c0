package mapping

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// maxExponent bounds what a lexeme may ask for: PostgreSQL's numeric ends before it.
const maxExponent = 200_000

const decimalName = "waybill.decimal"

//nolint:gochecknoglobals // immutable descriptions of a type
var (
	decimalType  = cel.OpaqueType(decimalName)
	decimalValue = cel.ObjectType(decimalName, traits.ComparerType)
)

// decimal is an exact number, or one of the values that SQL's numeric has beside. They order as
// there: -Infinity, the numbers, Infinity, NaN, which equals itself.
type decimal struct {
	class  int // -1: -Infinity, 0: rat, 1: Infinity, 2: NaN
	rat    *big.Rat
	lexeme string
}

// toDecimal is CEL's decimal(): of an int, a double, or a string that holds a number.
func toDecimal(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *decimal:
		return v
	case types.Int:
		return &decimal{rat: new(big.Rat).SetInt64(int64(v)), lexeme: strconv.FormatInt(int64(v), 10)}
	case types.Uint:
		return &decimal{rat: new(big.Rat).SetUint64(uint64(v)), lexeme: strconv.FormatUint(uint64(v), 10)}
	case types.Double:
		return parsedDecimal(strconv.FormatFloat(float64(v), 'g', -1, 64))
	case types.String:
		return parsedDecimal(string(v))
	}
	return types.MaybeNoSuchOverloadErr(v)
}

func parsedDecimal(s string) ref.Val {
	d, err := parseDecimal(s)
	if err != nil {
		return types.WrapErr(err)
	}
	return d
}

func parseDecimal(s string) (*decimal, error) {
	switch strings.ToLower(strings.TrimLeft(s, "+")) {
	case "nan":
		return &decimal{class: 2, lexeme: "NaN"}, nil
	case "infinity", "inf":
		return &decimal{class: 1, lexeme: "Infinity"}, nil
	case "-infinity", "-inf":
		return &decimal{class: -1, lexeme: "-Infinity"}, nil
	}
	lexeme, ok := numberLexeme(s)
	if !ok {
		return nil, errors.New("decimal() takes a number")
	}
	rat, ok := new(big.Rat).SetString(lexeme)
	if !ok {
		return nil, errors.New("decimal() takes a number")
	}
	return &decimal{rat: rat, lexeme: lexeme}, nil
}

// numberLexeme is s as JSON writes numbers, if it is a decimal number of bounded size.
func numberLexeme(s string) (string, bool) {
	mantissa, exponent, has := strings.Cut(strings.ToLower(strings.TrimPrefix(s, "+")), "e")
	if has {
		n, err := strconv.Atoi(exponent)
		if err != nil || n > maxExponent || n < -maxExponent {
			return "", false
		}
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, part, point := strings.Cut(mantissa, ".")
	if strings.Trim(whole+part, "0123456789") != "" || whole+part == "" || len(mantissa) > 2*maxExponent {
		return "", false
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	lexeme := sign + whole
	if point && part != "" {
		lexeme += "." + part
	}
	if has {
		lexeme += "e" + exponent
	}
	return lexeme, true
}

// Compare is traits.Comparer's.
func (d *decimal) Compare(other ref.Val) ref.Val {
	o, ok := other.(*decimal)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(d.order(o))
}

func (d *decimal) order(o *decimal) int {
	if d.class != 0 || o.class != 0 {
		return cmp.Compare(d.class, o.class)
	}
	return d.rat.Cmp(o.rat)
}

// Equal is ref.Val's.
func (d *decimal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*decimal)
	return types.Bool(ok && d.order(o) == 0)
}

// ConvertToNative is ref.Val's; nothing in Waybill asks for it.
func (d *decimal) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a decimal has no native form")
}

// ConvertToType is ref.Val's.
func (d *decimal) ConvertToType(t ref.Type) ref.Val {
	switch t.TypeName() {
	case decimalName:
		return d
	case types.StringType.TypeName():
		return types.String(d.lexeme)
	case types.TypeType.TypeName():
		return decimalValue
	}
	return types.NewErr("type conversion error from decimal")
}

// Type is ref.Val's.
func (d *decimal) Type() ref.Type { return decimalValue }

// Value is ref.Val's.
func (d *decimal) Value() any { return d.lexeme }

// finite reports whether f can stand in JSON as a number.
func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
