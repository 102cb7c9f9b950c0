package pump

import "github.com/waybill-data/waybill"

// stack puts the decorators around both ends, the innermost first. This is the only place
// that knows their order.
//
//	pump ─► breakages ─► retry ─► meter ─► connector
func stack(r waybill.Reader, w waybill.Writer, c Config) (waybill.Reader, waybill.Writer) {
	// A retried call is metered each time; retrying sees the connector's own errors.
	r = &meteredReader{Reader: r, meter: c.Meter}
	w = &meteredWriter{Writer: w, meter: c.Meter}
	// Transient errors end here; everything else passes.
	r = newRetryReader(r, c)
	w = newRetryWriter(w, c)
	// Kill points, and in the test build the deliberate breakages.
	r, w = breakable(r, w)
	return r, w
}
