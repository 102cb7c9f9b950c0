package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of what is read. The YAML parser takes time in the square of a mapping's keys and of the
// nesting, so both are bounded before it starts: at the bounds it takes about a second.
const (
	maxFileBytes = 1 << 20 // of the file
	maxTokens    = 20_000  // keys, values and punctuation without comments
	maxNesting   = 32      // of brackets, and of "- " or "? " within a line
)

type nodeKind int

const (
	nodeNull nodeKind = iota
	nodeBool
	nodeNumber
	nodeString
	nodeMap
	nodeList
)

// kindNames are the kinds as a message names them, with article.
var kindNames = [...]string{
	nodeNull: "nothing", nodeBool: "true or false", nodeNumber: "a number",
	nodeString: "text", nodeMap: "a section", nodeList: "a list",
}

// node is a YAML value with its place.
type node struct {
	kind    nodeKind
	at      position
	text    string // scalars: as written, without quotes and escapes
	entries []entry
	items   []*node // of a list
}

// entry is one key of a map.
type entry struct {
	key   string
	at    position
	value *node
}

// readYAML turns text into nodes. It adds faults to out and returns nil if the text is not
// one YAML document within the bounds. Duplicate keys are left to the caller.
func readYAML(data []byte, out *collector) *node {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) > maxFileBytes {
		out.add(position{}, "", "is larger than %d KiB", maxFileBytes>>10)
		return nil
	}
	if !utf8.Valid(data) {
		out.add(position{}, "", "is not UTF-8 text")
		return nil
	}
	// The library miscounts the lines of comments that end in \r\n.
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	root, err := parseYAML(data, out)
	if err != nil {
		out.add(position{1, 1}, "", "cannot be read as YAML")
	}
	return root
}

// parseYAML turns a panic of the YAML library, which has had some on malformed input, into
// an error: a configuration file must not be able to crash the program.
func parseYAML(data []byte, out *collector) (root *node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("YAML parser: %v", r)
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if !tokensAllowed(tokens, out) {
		return nil, nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		addSyntaxFault(err, data, out)
		return nil, nil
	}
	return document(file, out), nil
}

// document is the one document of a file.
func document(file *ast.File, out *collector) *node {
	var body ast.Node
	for i, d := range file.Docs {
		if i > 0 {
			at := position{1, 1}
			if d.Start != nil {
				at = place(d.Start)
			} else if d.Body != nil {
				at = place(d.Body.GetToken())
			}
			out.add(at, "", "a second YAML document begins; a configuration is one document")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		out.add(position{1, 1}, "", `is empty; "waybill init" writes an example`)
		return nil
	}
	return convert(body, out)
}

// tokensAllowed refuses what is legal YAML but not supported here, all of it at once, and
// what would take the parser too long.
func tokensAllowed(tokens token.Tokens, out *collector) bool {
	var (
		before         = len(out.faults)
		count, flow    int
		line, lineDeep int
	)
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if t.Position.Line != line {
			line, lineDeep = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			lineDeep++
		case token.AnchorType:
			out.add(place(t), "", "anchors (&name) are not supported; write the value out, or in quotes if the & is part of it")
		case token.AliasType:
			out.add(place(t), "", "aliases (*name) are not supported; write the value out, or in quotes if the * is part of it")
		case token.MergeKeyType:
			out.add(place(t), "", "merge keys (<<) are not supported; write the keys out")
		case token.TagType:
			out.add(place(t), "", "tags (!name) are not supported; leave the tag out, or put the value in quotes if the ! is part of it")
		case token.DirectiveType:
			out.add(place(t), "", "directives (%%) are not supported; leave the line out, or put the value in quotes if the %% is part of it")
		}
		if count++; count > maxTokens {
			out.add(place(t), "", "the file has more than %d keys, values and punctuation marks; split it", maxTokens)
			return false
		}
		if flow > maxNesting || lineDeep > maxNesting {
			out.add(place(t), "", "is nested more than %d levels deep", maxNesting)
			return false
		}
	}
	return len(out.faults) == before
}

// plainer are clearer words for what the parser says about frequent mistakes.
var plainer = map[string]string{ //nolint:gosec // words about tokens of YAML, no credentials
	"value is not allowed in this context":                               "the indentation does not fit the lines above",
	"mapping value is not allowed in this context":                       `a second ": " in one line; put the value in quotes if it is part of it`,
	"found character '\t' that cannot start any token":                   "a tab cannot indent; use spaces",
	"non-map value is specified":                                         `a key without its ":"`,
	"unexpected key name":                                                `a key without its ":", or a key over several lines`,
	"could not find end character of double-quoted text":                 `a " without its closing "`,
	"could not find end character of single-quoted text":                 `a ' without its closing '`,
	"',' or '}' must be specified":                                       "a , or } is missing",
	"',' or ']' must be specified":                                       "a , or ] is missing",
	"invalid header option":                                              `text in the same line as a | or >; put a value that begins with it in quotes`,
	"":                                                                   "it cannot be read from here on",
	"could not find flow mapping end token '}'":                          "a { without its closing }",
	"sequence end token ']' not found":                                   "a [ without its closing ]",
	"unexpected directive value. document not started":                   "a value cannot begin with %; put it in quotes",
	"value is not allowed in this context. map key-value is pre-defined": "the indentation does not fit the lines above",
}

func addSyntaxFault(err error, data []byte, out *collector) {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil || syntax.Token.Position == nil {
		out.add(position{1, 1}, "", "cannot be read as YAML")
		return
	}
	at := place(syntax.Token)
	message, _, _ := strings.Cut(syntax.Message, `"`) // what it quotes may be a secret
	message = strings.TrimRight(message, ": ")
	if p, ok := plainer[message]; ok {
		message = p
	}
	if lines := bytes.Split(data, []byte("\n")); at.line <= len(lines) && unquotedVariableInBraces(lines[at.line-1]) {
		message += "; between { and }, put a value that holds ${…} in quotes"
	}
	out.add(at, "", "not valid YAML: %s", message)
}

// unquotedVariableInBraces: the braces of ${…} end an unquoted value in a { } mapping.
func unquotedVariableInBraces(line []byte) bool {
	brace, variable := bytes.IndexByte(line, '{'), bytes.Index(line, []byte("${"))
	return variable > brace && brace >= 0
}

// convert turns a tree of the YAML library into nodes. It returns nil after adding a fault
// if a key is no plain text.
func convert(n ast.Node, out *collector) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return convertMap(n, n.Values, out)
	case *ast.MappingValueNode:
		return convertMap(n, []*ast.MappingValueNode{n}, out)
	case *ast.SequenceNode:
		list := &node{kind: nodeList, at: place(n.GetToken())}
		for _, v := range n.Values {
			if item := convert(v, out); item != nil {
				list.items = append(list.items, item)
			}
		}
		return list
	case *ast.StringNode:
		return &node{kind: nodeString, at: place(n.GetToken()), text: n.Value}
	case *ast.LiteralNode:
		return &node{kind: nodeString, at: place(n.GetToken()), text: n.Value.Value}
	case *ast.BoolNode:
		return &node{kind: nodeBool, at: place(n.GetToken()), text: n.GetToken().Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: nodeNumber, at: place(n.GetToken()), text: n.GetToken().Value}
	case *ast.NullNode:
		return &node{kind: nodeNull, at: place(n.GetToken())}
	}
	out.add(place(n.GetToken()), "", "not valid YAML: this is neither a key nor a value")
	return nil
}

func convertMap(n ast.Node, values []*ast.MappingValueNode, out *collector) *node {
	m := &node{kind: nodeMap, at: place(n.GetToken())}
	for _, v := range values {
		var key string
		switch k := v.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
			key = k.GetToken().Value
		default:
			out.add(place(v.Key.GetToken()), "", "a key is one word, written without ?")
			continue
		}
		e := entry{key: key, at: place(v.Key.GetToken())}
		if v.Value == nil {
			e.value = &node{kind: nodeNull, at: e.at}
		} else {
			e.value = convert(v.Value, out)
		}
		if e.value != nil {
			m.entries = append(m.entries, e)
		}
	}
	if len(m.entries) > 0 && n.GetToken().Type == token.MappingValueType {
		m.at = m.entries[0].at // the library puts a block mapping at its first colon
	}
	return m
}

func place(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}
