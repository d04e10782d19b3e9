package modeltest

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// network connects the processes of the provider with Ylem, in memory. It is a net.Listener on Ylem's side.
type network struct {
	arriving chan net.Conn
	closed   chan struct{}

	mu      sync.Mutex
	refuses bool
	wires   []*wire
}

func newNetwork() *network {
	return &network{arriving: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.arriving:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error { close(n.closed); return nil }

// Addr is a loopback address, so that no proxy of the environment is used.
func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7339} }

func (n *network) refuse(refuses bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuses = refuses
}

func (n *network) refusing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refuses
}

// dial connects a process that has not ended yet.
func (n *network) dial(ctx context.Context, p *plugin) (net.Conn, error) {
	if n.refusing() || p.isDead() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	near, far := net.Pipe()
	w := &wire{near: near, far: far}
	select {
	case n.arriving <- end{far, w}:
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	n.wires = append(n.wires, w)
	n.mu.Unlock()
	if !p.add(w) {
		w.cut()
	}
	return end{near, w}, nil
}

// forget lets the packets of every connection vanish, as a firewall does that has forgotten them. New ones work.
func (n *network) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		w.mu.Lock()
		w.forgotten = true
		w.mu.Unlock()
	}
}

// cut ends every connection.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		w.cut()
	}
}

// wire is a connection.
type wire struct {
	near, far net.Conn

	mu        sync.Mutex
	forgotten bool
}

func (w *wire) cut() { _ = w.near.Close(); _ = w.far.Close() }

// end is one end of a wire.
type end struct {
	net.Conn
	wire *wire
}

func (e end) Write(b []byte) (int, error) {
	e.wire.mu.Lock()
	forgotten := e.wire.forgotten
	e.wire.mu.Unlock()
	if forgotten {
		return len(b), nil
	}
	return e.Conn.Write(b)
}

// RemoteAddr is what net/http's server wants of a connection.
func (e end) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// row is a row of a log as an answer of Ylem shows it.
type row struct {
	run, task string
	at        time.Time
	taskType  string
	success   *bool
}

func (r row) key() rowKey  { return rowKey{r.run, r.task, r.at.UnixNano()} }
func (r row) failed() bool { return r.success != nil && !*r.success }

type rowKey struct {
	run, task string
	at        int64
}

// rowsOf are the rows that an answer shows, if it came whole.
func rowsOf(r ylemtest.Request) []row {
	if r.Route != ylemtest.RouteLogs || r.Status != http.StatusOK || r.Sent != len(r.AnswerBody) {
		return nil
	}
	var wire []struct {
		PipelineRunUUID string    `json:"pipeline_run_uuid"`
		WorkflowRunUUID string    `json:"workflow_run_uuid"`
		TaskUUID        string    `json:"task_uuid"`
		TaskType        string    `json:"task_type"`
		IsSuccessful    *bool     `json:"is_successful"`
		ExecutedAt      time.Time `json:"executed_at"`
	}
	if json.Unmarshal(r.AnswerBody, &wire) != nil {
		return nil
	}
	rows := make([]row, len(wire))
	for i, w := range wire {
		rows[i] = row{strings.ToLower(w.PipelineRunUUID + w.WorkflowRunUUID), strings.ToLower(w.TaskUUID), w.ExecutedAt, w.TaskType, w.IsSuccessful}
	}
	return rows
}

// provesNothingStarted reports whether an answer to a run request proves that nothing was started, so that the request
// may be sent again. (No connection proves it too, but then nothing arrives.)
func provesNothingStarted(r ylemtest.Request) bool {
	switch r.Status {
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		return r.Answer.Get("Retry-After") != ""
	case http.StatusInternalServerError: // a deadlock of the database
		return r.Answer.Get("Content-Type") == "application/json; charset=utf-8" && r.Answer.Get("Content-Length") == "0"
	default:
		return false
	}
}

// slow is how long a slow answer takes.
const slow = 5 * time.Second

type runFault struct {
	name  string
	fault ylemtest.Fault
	both  bool
}

// runFaults are what can become of a run request: the rows of the provider's fault matrix that concern answers. Those
// after which a run may have been started all the same come in two ways, with and without one.
var runFaults = []runFault{
	{"closes the connection", ylemtest.Fault{Drop: true}, true},
	{"resets the connection", ylemtest.Fault{Reset: true}, true},
	{"never answers", ylemtest.Fault{Stall: 24 * time.Hour}, true},
	{"answers after 5 s", ylemtest.Fault{Stall: slow}, true},
	{"answers 101", ylemtest.Fault{Status: 101}, true},
	{"answers 303", ylemtest.Fault{Status: 303, Header: http.Header{"Location": {"https://ylem.example.com/"}}}, true},
	{"answers 307", ylemtest.Fault{Status: 307, Header: http.Header{"Location": {"https://login.example.com/"}}}, false},
	{"answers 400", ylemtest.Fault{Status: 400}, false},
	{"answers 401", ylemtest.Fault{Status: 401}, false},
	{"answers 408", ylemtest.Fault{Status: 408}, true},
	{"answers 409", ylemtest.Fault{Status: 409}, true},
	{"answers 418", ylemtest.Fault{Status: 418}, false},
	{"answers 429", ylemtest.Fault{Status: 429}, false},
	{"answers 429 with Retry-After", ylemtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, false},
	{"answers 499", ylemtest.Fault{Status: 499}, true},
	{"answers 500", ylemtest.Fault{Status: 500}, true},
	{"answers 500 with JSON", ylemtest.Fault{Status: 500, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"code":500,"message":"Internal error"}`}, true},
	{"answers as in a deadlock", ylemtest.DeadlockFault(1), false},
	{"answers 502", ylemtest.Fault{Status: 502}, true},
	{"answers 503", ylemtest.Fault{Status: 503}, true},
	{"answers 503 with Retry-After", ylemtest.Fault{Status: 503, Header: http.Header{"Retry-After": {"3"}}}, false},
	{"answers 504", ylemtest.Fault{Status: 504}, true},
	{"answers 520", ylemtest.Fault{Status: 520}, true},
	{"answers 201 without a body", ylemtest.Fault{Status: 201}, true},
	{"answers 201 with garbage", ylemtest.Fault{Status: 201, Body: "<html>Created</html>"}, true},
	{"answers 201 without a UUID", ylemtest.Fault{Status: 201, Body: "{}"}, true},
	{"answers 201 with a wrong UUID", ylemtest.Fault{Status: 201, Body: `{"pipeline_run_uuid":"42"}`}, true},
	{"breaks off the answer", ylemtest.Fault{Truncate: 30, After: true}, true},
	{"puts a byte order mark before the answer", ylemtest.Fault{Prefix: "\ufeff", After: true}, true},
	{"puts a comment after the answer", ylemtest.Fault{Suffix: "<!-- proxy -->", After: true}, true},
}

// readFaults are what can become of a request for the log.
var readFaults = []struct {
	name  string
	fault ylemtest.Fault
}{
	{"closes the connection", ylemtest.Fault{Drop: true}},
	{"never answers", ylemtest.Fault{Stall: 24 * time.Hour}},
	{"answers after 20 s", ylemtest.Fault{Stall: 20 * time.Second}},
	{"answers 401", ylemtest.Fault{Status: 401}},
	{"answers 403 without a body", ylemtest.Fault{Status: 403}},
	{"answers 403 with JSON", ylemtest.Fault{Status: 403, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"code":403,"message":"Forbidden"}` + "\n"}},
	{"answers 404", ylemtest.Fault{Status: 404, Body: "404 page not found\n"}},
	{"answers 500", ylemtest.Fault{Status: 500}},
	{"answers 502", ylemtest.Fault{Status: 502}},
	{"shows no rows, like a replica that is behind", ylemtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: "[]"}},
	{"shows null", ylemtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: "null"}},
	{"answers with a page", ylemtest.Fault{Status: 200, Body: "<html>"}},
	{"breaks off the answer", ylemtest.Fault{Truncate: 1}},
}

// tokenFaults are what can become of a request for a token.
var tokenFaults = []struct {
	name  string
	fault ylemtest.Fault
}{
	{"closes the connection", ylemtest.Fault{Drop: true}},
	{"never answers", ylemtest.Fault{Stall: 24 * time.Hour}},
	{"answers 500", ylemtest.Fault{Status: 500}},
	{"answers 502", ylemtest.Fault{Status: 502}},
	{"answers 429", ylemtest.Fault{Status: 429}},
	{"refuses the client", ylemtest.Fault{
		Status: 401, Header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}},
		Body: `{"error":"invalid_client","error_description":"Client authentication failed"}` + "\n",
	}},
}
