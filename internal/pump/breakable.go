package pump

import (
	"context"
	"errors"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// breakable marks the pump's durable steps, and in a test build misbehaves as asked.
func breakable(r waybill.Reader, w waybill.Writer) (waybill.Reader, waybill.Writer) {
	return &breakableReader{Reader: r}, &breakableWriter{Writer: w}
}

type breakableReader struct{ waybill.Reader }

func (r *breakableReader) Next(ctx context.Context) (waybill.Batch, error) {
	b, err := r.Reader.Next(ctx)
	if err == nil && len(b.Actions) > 0 {
		if fault.Broken(fault.AckEarly) {
			_ = r.Reader.Ack(ctx, b.Upto)
		}
		fault.Hit(fault.ReadDone)
	}
	return b, err
}

func (r *breakableReader) Ack(ctx context.Context, p waybill.Position) error {
	fault.Hit(fault.AckBefore)
	return r.Reader.Ack(ctx, p)
}

type breakableWriter struct{ waybill.Writer }

func (w *breakableWriter) Write(ctx context.Context, b waybill.Batch) error {
	err := w.Writer.Write(ctx, b)
	var refusal *waybill.Refusal
	if fault.Broken(fault.SkipOnError) && errors.As(err, &refusal) {
		for i := range b.Actions {
			if b.Actions[i].Seq == refusal.Seq {
				b.Actions[i].Changes = waybill.ChangeList{}
			}
		}
		return w.Write(ctx, b)
	}
	return err
}
