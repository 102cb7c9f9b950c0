// Package event is the message format: CloudEvents 1.0 in structured JSON, one event an action.
package event
