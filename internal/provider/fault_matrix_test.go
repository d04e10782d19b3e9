package provider

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Whatever becomes of the request that starts a run: no second run is started, and none is forgotten without a word.

// What Terraform says in the end.
const (
	applied      = "" // nothing: the run is in the state
	notStarted   = "No run of pipeline … was started"
	maybeStarted = "The run may have been started"
)

// fault is something that can become of a request to start a run. The guide "Troubleshooting" shows all of them.
type fault struct {
	happens string
	// How: by the sandbox, by the state of the pipeline, or on the way there.
	faults []ylemtest.Fault
	change func(*ylemtest.Pipeline)
	way    string

	attempts int // with max_retries = 2
	says     string
	answer   string // a part of what is said about the answer
}

// always is a fault that does not pass.
func always(f ylemtest.Fault) []ylemtest.Fault {
	f.Times = -1
	return []ylemtest.Fault{f}
}

func retryAfter(value string) http.Header { return http.Header{"Retry-After": {value}} }

// faultMatrix is the table of the test and of the guide.
func faultMatrix() []fault {
	soon := time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat)
	body := func(text string) []ylemtest.Fault { return always(ylemtest.Fault{Body: text, After: true}) }
	return []fault{
		{"201 with the run's UUID", nil, nil, "", 1, applied, ""},
		{"The same with a byte order mark before it, or other text around it", always(ylemtest.Fault{Prefix: "\ufeff", Suffix: "\n<!-- proxied -->"}), nil, "", 1, applied, ""},

		{"The host's name is unknown", nil, nil, "unknown host", 3, notStarted, "ylem.invalid"},
		{"The connection is refused", nil, nil, "refused", 3, notStarted, "connection refused"},
		{"The TLS handshake breaks off", nil, nil, "handshake", 3, notStarted, "No answer"},
		{"The certificate is not trusted", nil, nil, "untrusted", 1, notStarted, "certificate"},
		{"The proxy in front of Ylem speaks only HTTP/2", nil, nil, "HTTP/2", 1, notStarted, "speaks only HTTP/2"},

		{"Connection reset while the request is read", nil, nil, "reset", 1, maybeStarted, "No answer"},
		{"Connection reset after the request is read", always(ylemtest.Fault{Reset: true}), nil, "", 1, maybeStarted, "No answer"},
		{"Connection closed without an answer", always(ylemtest.Fault{Drop: true}), nil, "", 1, maybeStarted, "EOF"},
		{"No answer within `request_timeout`", always(ylemtest.Fault{Stall: forever}), nil, "brief", 1, maybeStarted, "exceeded"},

		{"101, or an invalid status", always(ylemtest.Fault{Status: 101}), nil, "", 1, maybeStarted, "status 101"},
		{"303", always(ylemtest.Fault{Status: 303, Header: http.Header{"Location": {"https://ylem.example.com/"}}}), nil, "", 1, maybeStarted, "303 See Other"},
		{"Another 3xx, a redirect", always(ylemtest.Fault{Status: 307, Header: http.Header{"Location": {"https://login.example.com/"}}}), nil, "", 1, notStarted, "login.example.com"},
		{"400", always(ylemtest.Fault{Status: 400}), nil, "", 1, notStarted, "400 Bad Request"},
		{"401, then 201 with a new token", []ylemtest.Fault{{Status: 401}}, nil, "", 2, applied, ""},
		{"401 twice", always(ylemtest.Fault{Status: 401}), nil, "", 2, notStarted, "401 Unauthorized"},
		{"403: the pipeline is paused, or the scope is missing", nil, func(p *ylemtest.Pipeline) { p.Paused = true }, "", 1, notStarted, "403 Forbidden"},
		{"404: no pipeline that can run", nil, func(p *ylemtest.Pipeline) { p.Template = true }, "", 1, notStarted, "404 Not Found"},
		{"408", always(ylemtest.Fault{Status: 408}), nil, "", 1, maybeStarted, "408 Request Timeout"},
		{"409", always(ylemtest.Fault{Status: 409}), nil, "", 1, maybeStarted, "409 Conflict"},
		{"Another 4xx", always(ylemtest.Fault{Status: 418}), nil, "", 1, notStarted, "418 I'm a teapot"},
		{"429 without Retry-After", always(ylemtest.Fault{Status: 429}), nil, "", 3, notStarted, "429 Too Many Requests"},
		{"429 with Retry-After in seconds", always(ylemtest.Fault{Status: 429, Header: retryAfter("1")}), nil, "", 3, notStarted, "429 Too Many Requests"},
		{"429 with Retry-After as a date", always(ylemtest.Fault{Status: 429, Header: retryAfter(soon)}), nil, "", 3, notStarted, "429 Too Many Requests"},
		{"429 once, then 201", []ylemtest.Fault{{Status: 429}}, nil, "", 2, applied, ""},
		{"460 or 499, which proxies know", always(ylemtest.Fault{Status: 499}), nil, "", 1, maybeStarted, "499"},
		{"The empty 500 of a database deadlock", []ylemtest.Fault{ylemtest.DeadlockFault(-1)}, nil, "", 3, notStarted, "rolled the run back"},
		{"The same once, then 201", []ylemtest.Fault{ylemtest.DeadlockFault(1)}, nil, "", 2, applied, ""},
		{"Another 500", always(ylemtest.Fault{Status: 500}), nil, "", 1, maybeStarted, "500 Internal Server Error"},
		{"502", always(ylemtest.Fault{Status: 502}), nil, "", 1, maybeStarted, "502 Bad Gateway"},
		{"503 without Retry-After", always(ylemtest.Fault{Status: 503}), nil, "", 1, maybeStarted, "503 Service Unavailable"},
		{"503 with Retry-After in seconds", always(ylemtest.Fault{Status: 503, Header: retryAfter("1")}), nil, "", 3, notStarted, "503 Service Unavailable"},
		{"503 with Retry-After as a date", always(ylemtest.Fault{Status: 503, Header: retryAfter(soon)}), nil, "", 3, notStarted, "503 Service Unavailable"},
		{"503 with Retry-After once, then 201", []ylemtest.Fault{{Status: 503, Header: retryAfter("1")}}, nil, "", 2, applied, ""},
		{"504", always(ylemtest.Fault{Status: 504}), nil, "", 1, maybeStarted, "504 Gateway Timeout"},
		{"Another 5xx", always(ylemtest.Fault{Status: 520}), nil, "", 1, maybeStarted, "520"},

		{"201 without a body", always(ylemtest.Fault{Status: 201, After: true}), nil, "", 1, maybeStarted, "201 Created"},
		{"201 with garbage", body("<html>Created</html>"), nil, "", 1, maybeStarted, "201 Created"},
		{"201 without a UUID", body("{}"), nil, "", 1, maybeStarted, "201 Created"},
		{"201 with a UUID of the wrong form", body(`{"pipeline_run_uuid":"42"}`), nil, "", 1, maybeStarted, "201 Created"},
		{"201 with a body that breaks off", always(ylemtest.Fault{Truncate: 30, After: true}), nil, "", 1, maybeStarted, "201 Created"},
	}
}

// row is the fault in the guide's table.
func (f fault) row() string {
	sent := map[int]string{1: "once", 2: "twice", 3: "1 + `max_retries` times"}[f.attempts]
	switch f.way {
	case "unknown host", "refused", "handshake", "untrusted", "HTTP/2":
		sent = "never; tried " + sent
	}
	says, runs, state := "`"+f.says+"`", map[string]string{applied: "1", notStarted: "0", maybeStarted: "0 or 1"}[f.says], "nothing"
	if f.says == applied {
		says, state = "`Creation complete`", "the run"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | 0 |", f.happens, sent, runs, says, state)
}

// The guide shows the table as it is.
func TestFaultMatrixIsInTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guides/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	table := "| The answer, or what comes instead | The request is sent | Runs started | Terraform says | In the state | Second runs of the next apply, with a key |\n|---|---|---|---|---|---|\n"
	for _, f := range faultMatrix() {
		table += f.row() + "\n"
	}
	if !strings.Contains(string(guide), "\n\n"+table+"\n") {
		t.Errorf("the table of templates/guides/troubleshooting.md.tmpl is to be:\n\n%s", table)
	}
}

// experiment is a resource that meets a fault.
type experiment struct {
	fault
	name     string // of the resource
	sandbox  *sandbox
	pipeline string
	runs     int // that are started
	// connections are those that came to nothing, where somebody counts them.
	connections *atomic.Int64
	fails       string // the path of the request that cannot arrive, which only the log shows
}

// front passes the first connection, that of the token, on to a sandbox. The later ones fare ill.
func newFront(t *testing.T, s *sandbox, ill func(net.Conn)) (url string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Header: http.Header{"Connection": {"close"}}})
	scheme, address, _ := strings.Cut(s.URL, "://")
	connections = new(atomic.Int64)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if ill == nil { // whoever comes later is refused
			_ = listener.Close()
		}
		if backend, err := net.Dial("tcp", address); err == nil {
			go func() {
				_, _ = io.Copy(conn, backend)
				_ = conn.Close()
			}()
			go func() { _, _ = io.Copy(backend, conn) }()
		}
		for {
			later, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			ill(later)
		}
	}()
	return scheme + "://" + listener.Addr().String(), connections
}

// reset reads how a request begins, and ends the connection so that the other side notices.
func reset(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// The whole matrix in one apply of the real terraform, with everything logged that can be logged, every answer repeating
// all that was sent, and every secret that there is.
func TestAccFaultMatrix(t *testing.T) {
	t.Parallel()
	authority := newKeyPair(t, nil)
	key := newKeyPair(t, authority)
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	hidden := secrets{
		"client secret":    `+/&=% space é-client-secret`,
		"header":           "door-key-7f3a9c",
		"client key":       strings.Split(key.keyPEM, "\n")[1], // a line of its base64
		"write-only input": `{"password":"correct horse & battery"}`,
	}

	var sandboxes []*sandbox
	newServer := func(opts ...ylemtest.Option) *sandbox {
		s := newSandbox(t, opts...)
		s.client = s.AddClient(ylemtest.Client{ID: "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10", Secret: hidden["client secret"]})
		sandboxes = append(sandboxes, s)
		return s
	}
	main := newServer(ylemtest.WithTLS(pool))
	var config strings.Builder
	config.WriteString(secretVariables)
	provider := func(alias, url, more string) {
		fmt.Fprintf(&config, `
provider "ylem" {
  alias               = %q
  api_url             = %q
  client_id           = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"
  client_secret       = var.client_secret
  headers             = { X-Door = var.header }
  client_key_pem      = var.key
  client_cert_pem     = file("client.pem")
  max_retries         = 2
  max_concurrent_runs = 100
  %s
}
`, alias, url, more)
	}
	trusted := func(s *sandbox) string { return fmt.Sprintf("ca_cert_pem = <<-EOT\n%sEOT", s.CertificatePEM()) }
	provider("main", main.URL, trusted(main))

	var experiments []*experiment
	for i, f := range faultMatrix() {
		name := fmt.Sprintf("fault_%02d", i)
		e := &experiment{fault: f, name: name, sandbox: main}
		alias := "main"
		if f.way != "" {
			alias = name
			url, more := main.URL, trusted(main)
			switch f.way {
			case "brief":
				more += "\nrequest_timeout = \"15s\""
			case "unknown host": // not even the token: the path shows whose request it is
				url, e.fails = "https://ylem.invalid/unknown", "/unknown/v1/oauth/token"
			case "untrusted":
				url, e.fails, more = main.URL+"/untrusted", "/untrusted/v1/oauth/token", ""
			case "refused":
				e.sandbox = newServer(ylemtest.WithTLS(pool))
				url, _ = newFront(t, e.sandbox, nil)
				more = trusted(e.sandbox)
			case "handshake":
				e.sandbox = newServer(ylemtest.WithTLS(pool))
				url, e.connections = newFront(t, e.sandbox, func(conn net.Conn) { _ = conn.Close() })
				more = trusted(e.sandbox)
			case "HTTP/2":
				e.sandbox = newServer(ylemtest.WithTLS(pool), ylemtest.WithHTTP2Only())
				url, more = e.sandbox.URL, trusted(e.sandbox)
			case "reset":
				e.sandbox = newServer()
				url, e.connections = newFront(t, e.sandbox, reset)
			default:
				t.Fatalf("no way %q", f.way)
			}
			provider(alias, url, more)
		}
		variants := []*experiment{e}
		switch {
		case f.says == applied, slices.ContainsFunc(f.faults, func(fault ylemtest.Fault) bool { return fault.After }):
			e.runs = 1
		case f.says == maybeStarted && len(f.faults) > 0: // both are tried
			after := *e
			after.name, after.runs = name+"_after", 1
			variants = append(variants, &after)
		}
		for _, v := range variants {
			v.pipeline = v.sandbox.AddPipeline(ylemtest.Pipeline{}).UUID
			if f.way == "refused" {
				v.fails = "/v1/pipelines/" + v.pipeline + "/runs/"
			}
			if f.change != nil {
				v.sandbox.UpdatePipeline(v.pipeline, f.change)
			}
			for _, fault := range f.faults {
				fault.Route, fault.PipelineUUID = ylemtest.RouteRun, v.pipeline
				fault.Echo = fault.Status/100 >= 3 && fault.Header.Get("Content-Length") != "0"
				fault.After = v.runs > 0 && f.says != applied
				v.sandbox.Inject(fault)
			}
			fmt.Fprintf(&config, "resource \"ylem_pipeline_run\" %q {\n  provider = ylem.%s\n  pipeline_uuid = %q\n  input_wo = var.input\n  input_wo_version = 1\n}\n", v.name, alias, v.pipeline)
		}
		experiments = append(experiments, variants...)
	}

	tf := newTerraform(t, config.String(),
		"TF_LOG=TRACE", "TF_LOG_PATH=trace.log",
		"TF_VAR_client_secret="+hidden["client secret"], "TF_VAR_header="+hidden["header"], "TF_VAR_key="+key.keyPEM, "TF_VAR_input="+hidden["write-only input"])
	tf.write(t, "client.pem", key.certPEM)
	shown := tf.mustRun(t, 0, "plan", "-no-color", "-out=planned") + tf.mustRun(t, 0, "show", "-json", "planned")
	stdout, stderr, code := tf.run(t, "apply", "-json", "-parallelism=100", "planned")
	if code != 1 {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	state := tf.mustRun(t, 0, "show", "-json")
	shown += stdout + stderr + state

	log, err := os.ReadFile(filepath.Join(tf.dir, "trace.log"))
	if err != nil {
		t.Fatal(err)
	}
	diags := diagnosticsByResource(t, stdout)
	ids := idsByResource(t, state)
	for _, e := range experiments {
		t.Run(e.name+", "+e.happens, func(t *testing.T) { e.check(t, diags[e.name], ids[e.name], string(log)) })
	}

	// The next plan is to start what was not, and nothing else.
	next := tf.mustRun(t, 0, "plan", "-no-color")
	for _, e := range experiments {
		if planned := strings.Contains(next, "ylem_pipeline_run."+e.name+" will be created"); planned != (e.says != applied) {
			t.Errorf("%s, %s: the next plan starts it: %t", e.name, e.happens, planned)
		}
	}

	for _, s := range sandboxes {
		for _, token := range s.Tokens() {
			hidden["token "+token] = token
		}
	}
	if len(hidden) < 12 {
		t.Errorf("only these were searched for: %v", hidden)
	}
	hidden.expectAbsent(t, "what Terraform printed", shown+next)
	hidden.expectAbsentInFiles(t, tf.dir)
	inState := 0
	for _, f := range faultMatrix() {
		if f.says == applied {
			inState++
		}
	}
	if n := strings.Count(string(log), "Started run "); n != inState {
		t.Errorf("the log names %d runs, want %d", n, inState)
	}
}

// failures is how many requests for a path got no answer, by the provider's log.
func failures(log, path string) int {
	return len(regexp.MustCompile(`Ylem request failed: .*path="?`+regexp.QuoteMeta(path)).FindAllString(log, -1))
}

// check fails the test unless the experiment ended as the matrix says.
func (e *experiment) check(t *testing.T, diags []diagnostic, id, log string) {
	runs := e.sandbox.Runs(e.pipeline)
	if len(runs) != e.runs {
		t.Errorf("%d runs were started, want %d", len(runs), e.runs)
	}
	arrived := 0
	for _, r := range e.sandbox.Requests(ylemtest.RouteRun) {
		if strings.Contains(r.Path, e.pipeline) {
			arrived++
		}
	}
	switch e.way {
	case "", "brief":
		if arrived != e.attempts {
			t.Errorf("sent %d times, want %d", arrived, e.attempts)
		}
	default:
		if arrived != 0 {
			t.Errorf("%d requests arrived", arrived)
		}
	}
	if e.connections != nil {
		want := e.attempts
		if e.says == maybeStarted {
			want += 3 // the log, which is to name the run, with max_retries = 2
		}
		if n := int(e.connections.Load()); n != want {
			t.Errorf("%d connections, want %d", n, want)
		}
	}
	if e.fails != "" {
		if n := failures(log, e.fails); n != e.attempts {
			t.Errorf("%d attempts, want %d", n, e.attempts)
		}
	}

	if e.says == applied {
		if len(diags) != 0 || id == "" || id != runs[0].UUID {
			t.Errorf("run %q is in the state: %+v", id, diags)
		}
		return
	}
	if id != "" {
		t.Errorf("run %s is in the state", id)
	}
	if len(diags) != 1 || diags[0].Severity != "error" {
		t.Fatalf("diagnostics are %+v", diags)
	}
	text := diags[0].Summary + "\n" + diags[0].Detail
	says := append(strings.Split(e.says, "…"), e.answer)
	if e.says == maybeStarted {
		says = append(says, e.pipeline, "not repeated", "(UTC)", "import", "apply again")
		if e.runs == 0 || !strings.Contains(text, e.pipeline+"/"+runs[0].UUID) { // it has not reported yet
			says = append(says, "Look in Ylem for a run", e.pipeline+"/RUN_UUID")
		}
	}
	for _, part := range says {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q:\n%s", part, text)
		}
	}
	if strings.Contains(text, "was started") && !strings.Contains(text, "whether a run was started") && strings.Contains(text, maybeStarted) {
		t.Errorf("contradicts itself:\n%s", text)
	}
}

// diagnostic is one as terraform's -json output shows it.
type diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
}

func diagnosticsByResource(t *testing.T, output string) map[string][]diagnostic {
	t.Helper()
	found := map[string][]diagnostic{}
	for line := range strings.Lines(output) {
		var entry struct {
			Type       string     `json:"type"`
			Diagnostic diagnostic `json:"diagnostic"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if name, ok := strings.CutPrefix(entry.Diagnostic.Address, "ylem_pipeline_run."); ok && entry.Type == "diagnostic" {
			found[name] = append(found[name], entry.Diagnostic)
		}
	}
	return found
}

func idsByResource(t *testing.T, state string) map[string]string {
	t.Helper()
	var shown struct {
		Values struct {
			RootModule struct {
				Resources []struct {
					Name   string `json:"name"`
					Values struct {
						ID string `json:"id"`
					} `json:"values"`
				} `json:"resources"`
			} `json:"root_module"`
		} `json:"values"`
	}
	if err := json.Unmarshal([]byte(state), &shown); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, r := range shown.Values.RootModule.Resources {
		ids[r.Name] = r.Values.ID
	}
	return ids
}

// expectAbsentInFiles searches every file below a folder.
func (s secrets) expectAbsentInFiles(t *testing.T, folder string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		s.expectAbsent(t, entry.Name(), string(text))
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("%d files searched, %v", files, err)
	}
}
