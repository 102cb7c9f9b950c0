package envelope_test

import (
	"testing"

	"github.com/waybill-data/waybill/internal/envelope"
)

// message is a typical outbox row of about 300 bytes, as PostgreSQL writes jsonb.
const message = `[{"op": "upsert", "key": {"id": 4711}, "row": {"id": 4711, "city": "Helsinki", "name": "Maija Meikäläinen", "email": "maija.meikalainen@example.com", "phone": "+358 40 1234567", "credit": 1250.50, "active": true, "created": "2024-05-01T12:34:56.123456Z", "comment": null, "street": "Aleksanterinkatu 52"}, "entity": "customer"}]`

func BenchmarkDecode(b *testing.B) {
	msg := []byte(message)
	b.Run("reader", func(b *testing.B) {
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		var d envelope.Decoder
		for b.Loop() {
			if _, err := d.Decode(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("once", func(b *testing.B) {
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelope.DecodeChanges(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	changes, err := envelope.DecodeChanges([]byte(message))
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		dst = envelope.AppendChanges(dst[:0], changes)
	}
}
