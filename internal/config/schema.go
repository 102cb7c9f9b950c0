package config

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// object is a JSON object; encoding/json writes its keys in alphabetical order, so the same
// format always gives the same bytes.
type object = map[string]any

// Schema is the JSON Schema (draft 2020-12) of the configuration file, for editors. It knows
// what this version has. The program checks more than a schema can say: variables, the
// content of URLs, duplicate keys.
func Schema() []byte {
	root := schemaOf(format())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Waybill configuration"
	root["$defs"] = object{"variable": object{
		"description": "A value that comes from environment variables: ${VAR} or ${VAR:-default}.",
		"type":        "string",
		"pattern":     `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`,
	}}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("config: schema: %v", err)) // strings, numbers and maps always marshal
	}
	return append(data, '\n')
}

func schemaOf(f *field) object {
	o := schemaOfKind(f)
	if f.doc != "" {
		o["description"] = f.doc
	}
	switch {
	case f.def == "" || f.kind == oneOf:
	case f.kind == integer:
		n, _ := strconv.Atoi(f.def)
		o["default"] = n
	case f.kind == boolean:
		o["default"] = f.def == "true"
	default:
		o["default"] = f.def
	}
	return o
}

func schemaOfKind(f *field) object {
	switch f.kind {
	case section:
		return sectionSchema(f)
	case oneOf:
		o := sectionSchema(f)
		o["minProperties"], o["maxProperties"] = 1, 1
		return o
	case named:
		each := schemaOfKind(&field{kind: f.each, fields: f.fields})
		if f.each == text {
			each["minLength"] = 1
		}
		if len(f.rules) > 0 {
			each["allOf"] = f.rules
		}
		return object{
			"type": "object", "minProperties": 1,
			"propertyNames":        f.nameSchema(),
			"additionalProperties": each,
		}
	case word:
		return orVariable(object{"enum": f.words})
	case integer:
		return orVariable(object{"type": "integer", "minimum": f.min, "maximum": f.max})
	case size:
		o := object{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB|TiB)$`}
		if f.min == 0 {
			o = object{"anyOf": []object{o, {"const": 0}}}
		}
		return orVariable(o)
	case boolean:
		return orVariable(object{"type": "boolean"})
	case list:
		item := schemaOfKind(&field{kind: f.each})
		if f.each == text {
			item["minLength"] = 1
		}
		return object{"type": "array", "minItems": 1, "uniqueItems": true, "items": item}
	case slotName:
		return orVariable(object{"type": "string", "pattern": slotPattern.String()})
	case table:
		return orVariable(object{"type": "string", "pattern": `^[^.\s]+\.\S+$`})
	case duration:
		return orVariable(object{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`})
	case postgresURL:
		return orVariable(object{"type": "string", "pattern": `^postgres(ql)?://`})
	case address:
		return orVariable(object{"type": "string", "pattern": `:[0-9]{1,5}$`})
	case file, directory:
		return object{"type": "string", "minLength": 1}
	case identifier:
		return orVariable(object{"type": "string", "pattern": pipelineNamePattern})
	}
	return object{"type": "string"}
}

// nameSchema is what the names of a named field must be.
func (f *field) nameSchema() object {
	if f.free {
		return object{"minLength": 1, "maxLength": maxFreeName}
	}
	return object{"pattern": pipelineNamePattern}
}

func sectionSchema(f *field) object {
	properties, required := object{}, []string{}
	for _, c := range f.present() {
		properties[c.name] = schemaOf(c)
		if c.required {
			required = append(required, c.name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// orVariable allows what is written with variables beside what s allows.
func orVariable(s object) object {
	return object{"anyOf": []object{s, {"$ref": "#/$defs/variable"}}}
}

// pipelineRules say what checkParts says: which of source, queue and targets a pattern needs.
func pipelineRules() []object {
	need := func(keys ...string) object { return object{"required": keys} }
	pattern := func(is string, then object) object {
		return object{"if": object{"properties": object{"pattern": object{"const": is}}, "required": []string{"pattern"}}, "then": then}
	}
	return []object{
		{"not": need("target", "targets")},
		pattern(patternPush, object{
			"required": []string{"source"}, "anyOf": []object{need("target"), need("targets")}, "properties": object{"queue": false},
		}),
		pattern(patternQueue, object{
			"required": []string{"queue"}, "anyOf": []object{need("source"), need("target"), need("targets")},
		}),
	}
}
