package ylem

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// connections keeps HTTP/1.1 from opening more connections than there are requests. net/http opens one for every
// request that finds none idle, also while others are being opened whose requests have been served meanwhile: a server
// that is slow to shake hands gets several times as many as it is asked at once.
type connections struct {
	base *http.Transport

	mu       sync.Mutex
	requests int           // sent and not yet answered to the end
	open     int           // connections, those being opened included
	changed  chan struct{} // closed when another connection may have become possible
}

// unansweredKey is the context key of the channel that is closed once a request has its answer.
type unansweredKey struct{}

var errNotNeeded = errors.New("the request has been answered on another connection")

func newConnections(base *http.Transport) *connections {
	c := &connections{base: base, changed: make(chan struct{})}
	dial := base.DialContext
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
		closed := sync.OnceFunc(func() { c.add(0, -1) })
		conn, err := dial(ctx, network, addr)
		if err != nil {
			closed()
			return nil, err
		}
		return &countedConn{conn, closed}, nil
	}
	return c
}

// RoundTrip sends one attempt.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	answered := make(chan struct{})
	defer close(answered)
	c.add(1, 0)
	ended := sync.OnceFunc(func() { c.add(-1, 0) })
	resp, err := c.base.RoundTrip(req.WithContext(context.WithValue(req.Context(), unansweredKey{}, answered)))
	if err != nil {
		ended()
		return nil, err
	}
	resp.Body = &countedBody{resp.Body, ended}
	return resp, nil
}

// wait returns when there are fewer connections than requests. Until then one that is open or being opened is left for
// the request that wants another; net/http gives it the first that is free.
func (c *connections) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.open < c.requests {
			c.open++
			c.mu.Unlock()
			return nil
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Value(unansweredKey{}).(chan struct{}): // net/http does not end the context of a dial
			return errNotNeeded
		}
	}
}

func (c *connections) add(requests, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests += requests
	c.open += open
	close(c.changed)
	c.changed = make(chan struct{})
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

type countedBody struct {
	io.ReadCloser
	ended func()
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended()
	}
	return n, err
}

func (b *countedBody) Close() error {
	defer b.ended()
	return b.ReadCloser.Close()
}
