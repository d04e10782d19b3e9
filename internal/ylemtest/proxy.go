package ylemtest

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a stretch of network in front of a server, with the habits of
// firewalls and load balancers. It passes bytes on, so that TLS goes through
// it. Unlike the rest of the package it runs on real time.
type Proxy struct {
	// URL is the target's, with the proxy's address in it.
	URL string

	target   string
	listener net.Listener

	accepted           atomic.Int64
	toServer, toClient atomic.Int64

	mu          sync.Mutex
	closed      bool
	forgetAfter time.Duration
	idleLimit   time.Duration
	flows       map[*flow]bool
}

// NewProxy starts a proxy on a free loopback port, in front of a server's URL
// or of a host and port. The caller closes it. Like NewServer it panics when
// it cannot listen.
func NewProxy(target string) *Proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	address := listener.Addr().String()
	p := &Proxy{URL: address, target: target, listener: listener, flows: map[*flow]bool{}}
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			panic("ylemtest: " + err.Error())
		}
		p.target = u.Host
		p.URL = strings.Replace(target, u.Host, address, 1)
	}
	go p.accept()
	return p
}

// Close stops the proxy and drops every connection.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	flows := p.all()
	p.mu.Unlock()
	for _, f := range flows {
		f.close()
	}
}

// Forget forgets the connections that exist, as a firewall does: from now on
// their packets vanish in both directions. Neither side sees an end or a
// reset. New connections work.
func (p *Proxy) Forget() {
	p.mu.Lock()
	flows := p.all()
	p.mu.Unlock()
	for _, f := range flows {
		f.forget()
	}
}

// ForgetAfter forgets each connection once it is this old, those that exist
// included. Zero ends that, for those not yet forgotten.
func (p *Proxy) ForgetAfter(age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetAfter = age
}

// ResetIdle gives up connections on which nothing has passed for longer than
// this, as a load balancer does. Either side learns of it when it next writes:
// that is answered by a reset and never reaches the other side. Zero ends that,
// for those not yet given up.
func (p *Proxy) ResetIdle(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idleLimit = limit
}

// Expire makes every connection that exists one that was idle for too long:
// see ResetIdle.
func (p *Proxy) Expire() {
	p.mu.Lock()
	flows := p.all()
	p.mu.Unlock()
	for _, f := range flows {
		f.expired.Store(true)
	}
}

// Connections is the number of connections accepted so far.
func (p *Proxy) Connections() int { return int(p.accepted.Load()) }

// Open is the number of connections that neither side has closed, those
// forgotten included.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flows)
}

// Bytes is what was passed on so far, in either direction.
func (p *Proxy) Bytes() (toServer, toClient int64) {
	return p.toServer.Load(), p.toClient.Load()
}

// all is the connections that exist. The caller holds the lock.
func (p *Proxy) all() []*flow {
	var flows []*flow
	for f := range p.flows {
		flows = append(flows, f)
	}
	return flows
}

func (p *Proxy) limits() (forgetAfter, idle time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forgetAfter, p.idleLimit
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		go p.serve(conn.(*net.TCPConn))
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	f := &flow{proxy: p, client: client, server: conn.(*net.TCPConn), opened: time.Now()}
	f.used.Store(time.Now().UnixNano())
	p.mu.Lock()
	p.flows[f] = true
	closed := p.closed
	p.mu.Unlock()
	if closed {
		f.close()
	}
	var both sync.WaitGroup
	both.Go(func() { f.pass(f.client, f.server, &p.toServer) })
	both.Go(func() { f.pass(f.server, f.client, &p.toClient) })
	both.Wait()
	f.close()
	p.mu.Lock()
	delete(p.flows, f)
	p.mu.Unlock()
}

// flow is a connection through the proxy.
type flow struct {
	proxy          *Proxy
	client, server *net.TCPConn
	opened         time.Time
	used           atomic.Int64 // when a byte last came, in nanoseconds
	expired        atomic.Bool
	forgotten      atomic.Bool
	writing        sync.RWMutex // held for reading by both directions
}

// forget lets packets vanish. Nothing is passed on once it has returned.
func (f *flow) forget() {
	f.forgotten.Store(true)
	_ = f.client.SetWriteDeadline(time.Unix(1, 0)) // ends a write that does not go on
	_ = f.server.SetWriteDeadline(time.Unix(1, 0))
	f.writing.Lock()
	defer f.writing.Unlock()
}

func (f *flow) close() {
	_ = f.client.Close()
	_ = f.server.Close()
}

// pass passes on one direction until it ends.
func (f *flow) pass(from, to *net.TCPConn, count *atomic.Int64) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		f.age()
		if f.expired.Load() && !f.forgotten.Load() {
			reset(from)
			_ = f.server.Close() // the client learns of it later, from its own write
			return
		}
		f.used.Store(time.Now().UnixNano())
		if n > 0 {
			f.write(to, buffer[:n], count)
		}
		switch {
		case err == nil:
		case f.forgotten.Load():
			return // the other side does not learn of it
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite()
			return
		default:
			reset(f.client)
			reset(f.server)
			return
		}
	}
}

// age notes what the time has made of the connection.
func (f *flow) age() {
	forgetAfter, idle := f.proxy.limits()
	if forgetAfter > 0 && time.Since(f.opened) > forgetAfter {
		f.forgotten.Store(true)
	}
	if idle > 0 && time.Since(time.Unix(0, f.used.Load())) > idle {
		f.expired.Store(true)
	}
}

func (f *flow) write(to *net.TCPConn, data []byte, count *atomic.Int64) {
	f.writing.RLock()
	defer f.writing.RUnlock()
	if f.forgotten.Load() {
		return
	}
	n, _ := to.Write(data)
	count.Add(int64(n))
}

// reset closes a connection so that the other side sees a reset.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
