package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// hashBytes is how much of the SHA-256 names a schema; in hexadecimal digits twice that.
const hashBytes = 16

// maxSchemas bounds the schemas that encoders and decoders remember.
const maxSchemas = 1024

// SchemaHash names a schema: 32 hexadecimal digits, the first 128 bits of the SHA-256 of its
// canonical JSON.
func SchemaHash(s *waybill.Schema) string { return hashOf(AppendSchema(nil, s)) }

func hashOf(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:hashBytes])
}

func isHash(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(b) == 2*hashBytes
}

// AppendSchema appends the canonical JSON: no white space, fields in the order of the type,
// what is empty left out but entity and columns.
func AppendSchema(dst []byte, s *waybill.Schema) []byte {
	dst = envelope.AppendString(append(dst, `{"entity":`...), s.Entity)
	if s.System != "" {
		dst = envelope.AppendString(append(dst, `,"system":`...), s.System)
	}
	dst = appendList(append(dst, `,"columns":`...), s.Columns, func(dst []byte, c waybill.SchemaColumn) []byte {
		dst = envelope.AppendString(append(dst, `{"name":`...), c.Name)
		dst = envelope.AppendString(append(dst, `,"type":`...), c.Type)
		if c.Base != "" {
			dst = envelope.AppendString(append(dst, `,"base":`...), c.Base)
		}
		if c.NotNull {
			dst = append(dst, `,"notnull":true`...)
		}
		return append(dst, '}')
	})
	if len(s.Key) > 0 {
		dst = appendNames(append(dst, `,"key":`...), s.Key)
	}
	if len(s.Unique) > 0 {
		dst = appendList(append(dst, `,"unique":`...), s.Unique, appendNames)
	}
	if len(s.Foreign) > 0 {
		dst = appendList(append(dst, `,"foreign":`...), s.Foreign, func(dst []byte, f waybill.ForeignKey) []byte {
			dst = appendNames(append(dst, `{"columns":`...), f.Columns)
			dst = envelope.AppendString(append(dst, `,"entity":`...), f.Entity)
			return append(appendNames(append(dst, `,"references":`...), f.References), '}')
		})
	}
	return append(dst, '}')
}

func appendNames(dst []byte, names []string) []byte {
	return appendList(dst, names, envelope.AppendString)
}

func appendList[T any](dst []byte, list []T, each func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, item := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = each(dst, item)
	}
	return append(dst, ']')
}

// readSchema reads the data of a schema event, which is JSON. Fields that it does not know
// count for the hash, and are passed over.
func readSchema(raw []byte) (s *waybill.Schema, hash string, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, "", fmt.Errorf("data is not a schema: %w", err)
	}
	if s == nil || s.Entity == "" {
		return nil, "", errors.New("data is not a schema: entity is missing")
	}
	seen := make(map[string]bool, len(s.Columns))
	for _, c := range s.Columns {
		if c.Name == "" || seen[c.Name] {
			return nil, "", fmt.Errorf("data is not a schema: column %q has no name or stands there twice", c.Name)
		}
		seen[c.Name] = true
	}
	return s, hashOf(envelope.Compact(raw)), nil
}

// schemas are those that a decoder knows, shared with those that read its messages again.
type schemas struct {
	resolve func(hash string) (*waybill.Schema, error)
	mu      sync.Mutex
	known   map[string]*waybill.Schema // replaced, never modified
}

// snapshot is what is known now.
func (s *schemas) snapshot() map[string]*waybill.Schema {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// add returns the one that is known by this hash already, or else schema: so that whoever remembers
// something about a schema finds it again by its address.
func (s *schemas) add(hash string, schema *waybill.Schema) *waybill.Schema {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.known[hash]; old != nil {
		return old
	}
	known := make(map[string]*waybill.Schema, len(s.known)+1)
	if len(s.known) < maxSchemas {
		maps.Copy(known, s.known)
	}
	known[hash] = schema
	s.known = known
	return schema
}

// find is called without s.mu held: resolve may take its time.
func (s *schemas) find(hash []byte) (*waybill.Schema, error) {
	if schema := s.snapshot()[string(hash)]; schema != nil {
		return schema, nil
	}
	if !isHash(hash) {
		return nil, fmt.Errorf("it is not %d hexadecimal digits", 2*hashBytes)
	}
	if s.resolve == nil {
		return nil, errors.New("it is not known here")
	}
	name := string(hash)
	schema, err := s.resolve(name)
	if err != nil {
		return nil, err
	}
	if schema == nil {
		return nil, errors.New("it is not known here")
	}
	return s.add(name, schema), nil
}
