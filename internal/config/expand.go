package config

import (
	"regexp"
	"strings"
)

// lookup returns an environment variable and whether it is set.
type lookup = func(name string) (string, bool)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expansion is a scalar after its variables were put in.
type expansion struct {
	text string
	// from are the names of the variables that text was made of; if there are any, text must
	// not be repeated in a message.
	from []string
	// unset are the variables that are not set and have no default.
	unset []string
	// problem is what is wrong with the way a variable was written; a clause, or empty.
	problem string
}

// expand puts variables into a scalar: ${VAR}, ${VAR:-default} for one that is unset or
// empty, $$ for a dollar. What a variable holds is taken as it is, never expanded again.
func expand(s string, env lookup) expansion {
	var x expansion
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			b.WriteString(s)
			x.text = b.String()
			return x
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		switch {
		case strings.HasPrefix(s, "$"):
			b.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "{"):
			inner, rest, closed := strings.Cut(s[1:], "}")
			if !closed {
				x.problem = `holds "${" without "}"`
				return x
			}
			s = rest
			x.variable(inner, &b, env)
			if x.problem != "" {
				return x
			}
		default:
			x.problem = `holds a single $; write $$ for a dollar, or ${VAR} for a variable`
			return x
		}
	}
}

// variable appends what stands for ${inner}.
func (x *expansion) variable(inner string, b *strings.Builder, env lookup) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !variableName.MatchString(name) {
		x.problem = "holds a malformed variable; write ${VAR} or ${VAR:-default}, VAR of letters, digits and _"
		return
	}
	x.from = append(x.from, name)
	value, set := env(name)
	switch {
	case hasFallback && value == "":
		if strings.Contains(strings.ReplaceAll(fallback, "$$", ""), "$") {
			x.problem = "holds a variable whose default holds a variable; a default is plain text, $$ for a dollar"
			return
		}
		b.WriteString(strings.ReplaceAll(fallback, "$$", "$"))
	case set:
		b.WriteString(value)
	default:
		x.unset = append(x.unset, name)
	}
}
