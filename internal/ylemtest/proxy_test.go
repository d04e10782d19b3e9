package ylemtest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echoServer sends back each line that it gets.
type echoServer struct {
	net.Listener
	conns chan net.Conn
	got   chan string // each line that arrives; without a line end, the rest before the connection's end
}

func newEcho(t *testing.T) *echoServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echoServer{listener, make(chan net.Conn, 100), make(chan string, 100)}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			e.conns <- conn
			go func() {
				defer conn.Close()
				lines := bufio.NewReader(conn)
				for {
					line, err := lines.ReadString('\n')
					e.got <- line
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, line)
				}
			}()
		}
	}()
	return e
}

// dial connects through the proxy and passes one line there and back.
func dial(t *testing.T, p *Proxy, e *echoServer) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	exchangeLine(t, conn, e)
	return conn.(*net.TCPConn)
}

func exchangeLine(t *testing.T, conn net.Conn, e *echoServer) {
	t.Helper()
	if _, err := io.WriteString(conn, "line\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-e.got; got != "line\n" {
		t.Fatalf("the server got %q", got)
	}
	var line [5]byte
	if _, err := io.ReadFull(conn, line[:]); err != nil || string(line[:]) != "line\n" {
		t.Fatalf("%q came back, %v", line, err)
	}
}

func startProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	p := NewProxy(target)
	t.Cleanup(p.Close)
	return p
}

func TestProxyForgets(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*Proxy){
		"at once":  (*Proxy).Forget,
		"when old": func(p *Proxy) { p.ForgetAfter(time.Nanosecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEcho(t)
			p := startProxy(t, e.Addr().String())
			conn := dial(t, p, e)
			forget(p)
			_, _ = io.WriteString(conn, "lost\n")
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the connection is forgotten", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.all()[0].forgotten.Load()
			})
			p.ForgetAfter(0)
			server := <-e.conns
			if _, err := io.WriteString(server, "lost\n"); err != nil {
				t.Fatal(err)
			}
			dial(t, p, e) // would get the other connection's line, had it arrived
			if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("the client read %d bytes, %v, want neither an end nor a reset", n, err)
			}
			if toServer, toClient := p.Bytes(); toServer != 10 || toClient != 10 || p.Connections() != 2 || p.Open() != 2 {
				t.Errorf("%d and %d bytes on %d connections, %d open", toServer, toClient, p.Connections(), p.Open())
			}
			if len(e.got) != 0 {
				t.Errorf("the server got %q", <-e.got)
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the connection is gone", func() bool { return p.Open() == 1 })
		})
	}
}

func TestProxyResetsIdleConnections(t *testing.T) {
	t.Parallel()
	for name, expire := range map[string]func(*Proxy){
		"at once":     (*Proxy).Expire,
		"by the time": func(p *Proxy) { p.ResetIdle(time.Nanosecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEcho(t)
			p := startProxy(t, e.Addr().String())
			conn := dial(t, p, e)
			p.ResetIdle(time.Hour)
			exchangeLine(t, conn, e)
			expire(p)
			if _, err := io.WriteString(conn, "lost\n"); err != nil {
				t.Fatal("the write itself: ", err)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read %v, want a reset", err)
			}
			if got := <-e.got; got != "" {
				t.Errorf("the server got %q", got)
			}
			p.ResetIdle(0)
			conn = dial(t, p, e)
			eventually(t, "the reset connection is gone", func() bool { return p.Open() == 1 })

			// What the server sends late does not arrive, and the client still learns of the end by writing.
			<-e.conns
			server := <-e.conns
			expire(p)
			if _, err := io.WriteString(server, "lost\n"); err != nil {
				t.Fatal(err)
			}
			if got := <-e.got; got != "" {
				t.Errorf("the server got %q", got)
			}
			if _, err := io.WriteString(conn, "lost\n"); err != nil {
				t.Fatal("the write itself: ", err)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read %d bytes, %v, want a reset", n, err)
			}
			eventually(t, "both connections are gone", func() bool { return p.Open() == 0 })
			if toServer, toClient := p.Bytes(); toServer != 15 || toClient != 15 || p.Connections() != 2 {
				t.Errorf("%d and %d bytes on %d connections", toServer, toClient, p.Connections())
			}
		})
	}
}

func TestProxyPassesEnds(t *testing.T) {
	t.Parallel()
	e := newEcho(t)
	p := startProxy(t, e.Addr().String())
	conn := dial(t, p, e)
	if _, err := io.WriteString(conn, "line\nhalf"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != "line\n" {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	if line, half := <-e.got, <-e.got; line != "line\n" || half != "half" {
		t.Errorf("the server got %q and %q", line, half)
	}
	eventually(t, "the connection is gone", func() bool { return p.Open() == 0 })

	conn = dial(t, p, e)
	p.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after Close: %d bytes, %v", n, err)
	}

	nowhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nowhere.Close()
	dead, err := net.Dial("tcp", startProxy(t, nowhere.Addr().String()).URL)
	if err == nil {
		_, err = dead.Read(make([]byte, 1))
		_ = dead.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("in front of nothing: %v", err)
	}
}

func TestProxyInFrontOfTLS(t *testing.T) {
	t.Parallel()
	for proto, options := range map[string][]Option{
		"HTTP/1.1": {WithTLS(nil)},
		"HTTP/2.0": {WithTLS(nil), WithHTTP2()},
	} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			s := NewServer(append(options, WithPathPrefix("/behind"))...)
			t.Cleanup(s.Close)
			p := startProxy(t, s.URL)
			if !strings.HasPrefix(p.URL, "https://127.0.0.1:") || !strings.HasSuffix(p.URL, "/behind") || p.URL == s.URL {
				t.Fatal(p.URL)
			}
			config := &tls.Config{RootCAs: x509.NewCertPool()}
			config.RootCAs.AppendCertsFromPEM([]byte(s.CertificatePEM()))
			newClient := func(timeout time.Duration) *http.Client {
				transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
				t.Cleanup(transport.CloseIdleConnections)
				return &http.Client{Transport: transport, Timeout: timeout}
			}
			get := func(client *http.Client) reply {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/v1/nothing", nil)
				if err != nil {
					t.Fatal(err)
				}
				return send(client, request)
			}
			client := newClient(time.Minute)
			for range 2 {
				if r := get(client); r.status != 404 || s.Requests()[0].Proto != proto {
					t.Fatalf("%+v, %+v", r, s.Requests())
				}
			}
			if p.Connections() != 1 {
				t.Errorf("%d connections", p.Connections())
			}
			p.Forget()
			client.Timeout = 50 * time.Millisecond
			var timeout net.Error
			if r := get(client); !errors.As(r.err, &timeout) || !timeout.Timeout() {
				t.Errorf("on a forgotten connection: %+v", r)
			}
			if n := len(s.Requests()); n != 2 {
				t.Errorf("%d requests reached the server", n)
			}
			if r := get(newClient(time.Minute)); r.status != 404 {
				t.Errorf("on a new connection: %+v", r)
			}
		})
	}
}
