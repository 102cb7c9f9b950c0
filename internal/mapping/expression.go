package mapping

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// environment is what expressions may use: CEL's standard library, its strings, decimal().
type environment struct{ *cel.Env }

func newEnvironment() (*environment, error) {
	opts := []cel.EnvOption{
		cel.Variable("row", cel.MapType(cel.StringType, cel.DynType)),
		ext.Strings(ext.StringsVersion(4)),
		cel.Function("decimal",
			cel.Overload("decimal_dyn", []*cel.Type{cel.DynType}, decimalType, cel.UnaryBinding(toDecimal))),
	}
	for name, id := range map[string]string{
		operators.Less: "less", operators.LessEquals: "less_equals",
		operators.Greater: "greater", operators.GreaterEquals: "greater_equals",
	} {
		opts = append(opts, cel.Function(name, cel.Overload(id+"_decimal", []*cel.Type{decimalType, decimalType}, cel.BoolType)))
	}
	env, err := cel.NewEnv(opts...)
	return &environment{env}, err
}

// expression is a compiled CEL expression over row, safe for concurrent use.
type expression struct {
	program cel.Program
	result  *cel.Type
	columns []string // that it selects as row.name or row["name"]
	column  string   // set where the expression is nothing but a column
}

// compile makes an expression ready. With nullable it may be null where a condition of its own says so.
func (e *environment) compile(text string, nullable bool) (*expression, []*Error) {
	checked, issues := e.Parse(text)
	if issues.Err() == nil {
		if nullable {
			untypeNulls(checked.NativeRep())
		}
		checked, issues = e.Check(checked)
	}
	if issues.Err() != nil {
		var faults []*Error
		for _, i := range issues.Errors() {
			line, column := 1, 1
			if i.Location != nil {
				line, column = max(i.Location.Line(), 1), max(i.Location.Column()+1, 1)
			}
			faults = append(faults, &Error{Line: line, Column: column, Message: strings.TrimSpace(i.Message)})
		}
		return nil, faults
	}
	program, err := e.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []*Error{{Line: 1, Column: 1, Message: err.Error()}}
	}
	root := checked.NativeRep().Expr()
	x := &expression{program: program, result: resultOf(checked.NativeRep(), root)}
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(n ast.Expr) {
		if column, ok := selected(n); ok {
			x.columns = append(x.columns, column)
		}
	}))
	if column, ok := selected(root); ok && (root.Kind() != ast.SelectKind || !root.AsSelect().IsTestOnly()) {
		x.column = column
	}
	return x, nil
}

// untypeNulls lets one branch of `c ? null : x` be null, whatever the type of the other is: CEL wants
// dyn(null) there.
func untypeNulls(tree *ast.AST) {
	factory, id := ast.NewExprFactory(), ast.MaxID(tree)
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(n ast.Expr) {
		if n.Kind() != ast.CallKind || n.AsCall().FunctionName() != operators.Conditional {
			return
		}
		for _, branch := range n.AsCall().Args()[1:] {
			if branch.Kind() == ast.LiteralKind && branch.AsLiteral() == types.NullValue {
				id += 2
				branch.SetKindCase(factory.NewCall(id-1, "dyn", factory.NewLiteral(id, types.NullValue)))
			}
		}
	}))
}

// resultOf is the type of what a node gives where that is not null.
func resultOf(tree *ast.AST, n ast.Expr) *cel.Type {
	if n.Kind() == ast.CallKind && n.AsCall().FunctionName() == operators.Conditional {
		yes, no := n.AsCall().Args()[1], n.AsCall().Args()[2]
		switch {
		case isNull(yes):
			return resultOf(tree, no)
		case isNull(no):
			return resultOf(tree, yes)
		}
	}
	return tree.GetType(n.ID())
}

// isNull recognises what untypeNulls makes.
func isNull(n ast.Expr) bool {
	if n.Kind() != ast.CallKind || n.AsCall().FunctionName() != "dyn" {
		return false
	}
	of := n.AsCall().Args()[0]
	return of.Kind() == ast.LiteralKind && of.AsLiteral() == types.NullValue
}

// selected is the column that a node takes from row.
func selected(n ast.Expr) (string, bool) {
	var of ast.Expr
	var column string
	switch n.Kind() {
	case ast.SelectKind:
		of, column = n.AsSelect().Operand(), n.AsSelect().FieldName()
	case ast.CallKind:
		call := n.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 || call.Args()[1].Kind() != ast.LiteralKind {
			return "", false
		}
		name, ok := call.Args()[1].AsLiteral().(types.String)
		if !ok {
			return "", false
		}
		of, column = call.Args()[0], string(name)
	default:
		return "", false
	}
	return column, of.Kind() == ast.IdentKind && of.AsIdent() == "row"
}

func (e *expression) mayBeBool() bool {
	return e.result.IsExactType(cel.BoolType) || e.result.IsExactType(cel.DynType)
}

func (e *expression) kind() string { return cel.FormatCELType(e.result) }

// lackingError says that an expression needs a column that the row does not carry.
type lackingError struct{ column string }

func (e *lackingError) Error() string { return "the row does not carry column " + e.column }

// eval computes the expression. *lackingError: it asked for a column that was left out. No error
// holds a value.
func (e *expression) eval(r *rowValue) (ref.Val, error) {
	out, _, err := e.program.Eval(r)
	switch {
	case r.broken != nil:
		return nil, r.broken
	case r.left != "":
		return nil, &lackingError{r.left}
	case err != nil && r.missing != "" && strings.Contains(err.Error(), "no such key"):
		return nil, &lackingError{r.missing}
	case err != nil:
		return nil, fmt.Errorf("the expression has no value for this row: %w", withoutValues(err))
	}
	return out, nil
}

var (
	errNull     = errors.New("an operator or function does not take what it got; a null, perhaps (row.x == null ? null : … is right for both), or a number that is a string and needs decimal()")
	errNoReason = errors.New("a value cannot be converted or is out of range")
)

// withoutValues is why an evaluation failed; what the library says may quote values.
func withoutValues(err error) error {
	if strings.Contains(err.Error(), "no such overload") {
		return errNull
	}
	return errNoReason
}

// condition evaluates an expression that must be true or false.
func (e *expression) condition(r *rowValue) (bool, error) {
	out, err := e.eval(r)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("the expression is neither true nor false for this row")
	}
	return bool(b), nil
}
