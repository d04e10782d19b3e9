package ylemtest

import (
	"crypto/x509"
	"net"
	"net/url"
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
// and the expiry of tokens follow it. The default is time.Now. Only stalls,
// latency and a Proxy take real time.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.clock = now }
}

// WithListener serves on a listener instead of a free loopback port, such as one in memory, with which a server can live
// in a bubble of testing/synctest. URL holds its address.
func WithListener(l net.Listener) Option {
	return func(s *Server) { s.listener = l }
}

// WithAnswers keeps the bodies of answers in the log of requests.
func WithAnswers() Option {
	return func(s *Server) { s.keepAnswers = true }
}

// WithTokenLifetime sets how long access tokens live, instead of 24 hours.
func WithTokenLifetime(d time.Duration) Option {
	return func(s *Server) { s.tokenLifetime = d }
}

// WithObserver has a function called after each request, whether it was
// answered or not. The function must neither block nor change the request.
func WithObserver(observe func(Request)) Option {
	return func(s *Server) { s.observe = observe }
}

// WithTaskRunner runs the tasks of all pipelines one after the other, in the
// order in which they become ready, as the one task runner of the real server
// does: a long task of another pipeline delays the next row of a run. Without
// it, all tasks run side by side. An Unended task delays no other.
func WithTaskRunner() Option {
	return func(s *Server) { s.oneTaskRunner = true }
}

// WithPathPrefix puts all routes under a prefix, as behind a reverse proxy.
// URL ends with it, and paths outside it are not found. The prefix is as on
// the wire, percent escapes included: under "/team%2Fa" neither "/team/a" nor
// "/team%2fa" is found. It panics where the prefix is not escaped correctly.
func WithPathPrefix(prefix string) Option {
	return func(s *Server) {
		if prefix = strings.Trim(prefix, "/"); prefix == "" {
			return
		}
		decoded, err := url.PathUnescape(prefix)
		if err != nil {
			panic("ylemtest: " + err.Error())
		}
		s.prefix, s.decodedPrefix = "/"+prefix, "/"+decoded
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

// WithHTTP2Only makes the server a front that speaks HTTP/2 only, and answers
// HTTP/1.1 with HTTP/2 frames. An HTTP/1.1 request never reaches Ylem or the log of
// requests. WithTLS, a client gets them if it does not offer HTTP/2, whatever
// else it offers. Without TLS, HTTP/2 needs prior knowledge.
func WithHTTP2Only() Option {
	return func(s *Server) { s.http2, s.http2Only = true, true }
}

// WithStrictALPN makes a server WithTLS and WithHTTP2Only refuse the handshake
// of clients that offer protocols without HTTP/2 among them.
func WithStrictALPN() Option {
	return func(s *Server) { s.strictALPN = true }
}
