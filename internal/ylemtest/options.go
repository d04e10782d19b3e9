package ylemtest

import (
	"crypto/x509"
	"strings"
	"time"
)

// Dialect is the form of the API that a Server speaks.
type Dialect int

// The two known forms of the API.
const (
	// OpenSource is what a running open-source Ylem was observed to answer.
	OpenSource Dialect = iota
	// Reference is the published reference of the hosted service.
	Reference
)

// Option changes how NewServer makes a Server.
type Option func(*Server)

// WithDialect makes the server speak the given dialect instead of OpenSource.
func WithDialect(d Dialect) Option {
	return func(s *Server) { s.dialect = d }
}

// WithClock gives the server its clock: the Date header, the progress of runs
// and the expiry of tokens follow it. The default is time.Now. Only stalls
// and latency take real time.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.clock = now }
}

// WithTokenLifetime sets how long access tokens live, instead of 24 hours.
func WithTokenLifetime(d time.Duration) Option {
	return func(s *Server) { s.tokenLifetime = d }
}

// WithTaskRunner runs the tasks of all pipelines one after the other, in the
// order in which they become ready, as the one task runner of the real server
// does: a long task of another pipeline holds back the next row of a run.
// Without it, all tasks run side by side. An Unended task holds back none.
func WithTaskRunner() Option {
	return func(s *Server) { s.oneTaskRunner = true }
}

// WithPathPrefix puts all routes under a prefix, as behind a reverse proxy.
// URL ends with it, and paths outside it are not found.
func WithPathPrefix(prefix string) Option {
	return func(s *Server) {
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			s.prefix = "/" + prefix
		}
	}
}

// WithTLS serves https with a certificate of its own, see CertificatePEM. With
// a pool, clients must present a certificate that the pool vouches for.
func WithTLS(clientCAs *x509.CertPool) Option {
	return func(s *Server) { s.useTLS, s.clientCAs = true, clientCAs }
}

// WithHTTP2 makes a server WithTLS offer HTTP/2, as a proxy in front of the
// real one does; that speaks HTTP/1.1 only.
func WithHTTP2() Option {
	return func(s *Server) { s.http2 = true }
}
