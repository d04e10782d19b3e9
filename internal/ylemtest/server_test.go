package ylemtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// testServer is a server on a clock of its own, with a token for all.
type testServer struct {
	*Server
	clock  *manualClock
	client Client
	token  string
}

func start(t *testing.T, opts ...Option) *testServer {
	t.Helper()
	clock := newClock()
	s := NewServer(append([]Option{WithClock(clock.now)}, opts...)...)
	t.Cleanup(s.Close)
	ts := &testServer{Server: s, clock: clock, client: s.AddClient(Client{})}
	ts.token, _ = getToken(t, s, ts.client, "")
	s.ResetRequests()
	return ts
}

// reply is an answer as a client sees it; err is that of the body, or of all.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// do makes a request with the token. It does not repeat one that is dropped.
func (s *testServer) do(method, path, body string) reply {
	request, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return send(client, request)
}

func send(client *http.Client, request *http.Request) reply {
	response, err := client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text), err}
}

func (s *testServer) get(path string) reply { return s.do(http.MethodGet, path, "") }

func (s *testServer) run(pipeline, input string) reply {
	return s.do(http.MethodPost, "/v1/pipelines/"+pipeline+"/runs/", input)
}

// getToken asks the token endpoint of a server for a token pair.
func getToken(t *testing.T, s *Server, c Client, scope string) (access, refresh string) {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {c.Secret}}
	if scope != "" {
		form.Set("scope", scope)
	}
	response, err := http.PostForm(s.URL+"/v1/oauth/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&pair); err != nil || pair.Access == "" {
		t.Fatalf("token: %s, %v", response.Status, err)
	}
	return pair.Access, pair.Refresh
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s := start(t, WithTokenLifetime(time.Minute))
	path := "/v1/stats/pipelines/" + id("a") + "/stats" + wholeTime
	expect := func(when string, status int) {
		t.Helper()
		if r := s.get(path); r.status != status {
			t.Errorf("%s: %+v, want %d", when, r, status)
		}
	}
	expect("new", 200)
	s.clock.advance(59 * time.Second)
	expect("a second before the end", 200)
	s.clock.advance(time.Second)
	expect("at the end", 401)

	s.token, _ = getToken(t, s.Server, s.client, "")
	expect("another", 200)
	s.ExpireTokens()
	expect("expired at once", 401)
	s.token, _ = getToken(t, s.Server, s.client, "")
	expect("yet another", 200)

	s.DeleteClient(strings.ToUpper(s.client.ID))
	if r := s.get(path); r.err == nil {
		t.Errorf("a deleted client's token: %+v", r)
	}
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	s.run(p.UUID, "input")
	s.get("/v1/stats/tasks/" + id("a") + "/stats/2024-01-01%2000:00:00/2024-01-01%2000%3A00%3A00?limit=1")
	s.get("/v1/stats/tasks/" + id("a") + "/aggregated-stats/2024-01-01%2000:00:00/day/1")
	s.get("/v1/stats/tasks/" + id("a") + "/last-run/stats")
	s.get("/v1/stats/pipelines/" + id("a") + "/last-runs-log/a/b")
	s.get("/v1/stats/tasks/" + id("a") + "/logs/a/b")
	getToken(t, s.Server, s.client, "")

	var routes []string
	for _, r := range s.Requests() {
		routes = append(routes, string(r.Route))
	}
	if got := strings.Join(routes, " "); got != "run stats aggregated-stats last-run logs other token" {
		t.Errorf("routes %s", got)
	}
	run, stats := s.Requests(RouteRun)[0], s.Requests(RouteStats, RouteToken)[0]
	if string(run.Body) != "input" || run.Method != "POST" || run.Status != 201 || run.RemoteAddr == "" || !run.At.Equal(s.clock.now()) {
		t.Errorf("run %+v", run)
	}
	if run.Header.Get("Authorization") != "Bearer "+s.token {
		t.Errorf("header %v", run.Header)
	}
	if stats.Path != "/v1/stats/tasks/"+id("a")+"/stats/2024-01-01%2000:00:00/2024-01-01%2000%3A00%3A00" || stats.Query != "limit=1" {
		t.Errorf("stats %+v", stats)
	}
	if n := s.Connections(); n < 2 {
		t.Errorf("%d connections", n)
	}
	s.ResetRequests()
	if left := s.Requests(); left != nil {
		t.Errorf("left %+v", left)
	}
}

func TestPathPrefix(t *testing.T) {
	t.Parallel()
	s := start(t, WithPathPrefix("/behind/proxy/"))
	if !strings.HasSuffix(s.URL, "/behind/proxy") {
		t.Fatal(s.URL)
	}
	p := s.AddPipeline(Pipeline{})
	startedUUID(t, s.run(p.UUID, ""))
	if got := s.Requests()[0].Path; got != "/v1/pipelines/"+p.UUID+"/runs/" {
		t.Errorf("path %s", got)
	}
	inside := s.URL
	for _, base := range []string{strings.TrimSuffix(inside, "/behind/proxy"), inside + "er"} {
		s.URL = base
		if r := s.run(p.UUID, ""); r.status != 404 || r.body != "404 page not found\n" {
			t.Errorf("outside: %+v", r)
		}
	}
}

func TestEscapedPathPrefix(t *testing.T) {
	t.Parallel()
	s := start(t, WithPathPrefix("/team%2Fa/ylem"))
	if !strings.HasSuffix(s.URL, "/team%2Fa/ylem") {
		t.Fatal(s.URL)
	}
	p := s.AddPipeline(Pipeline{})
	startedUUID(t, s.run(p.UUID, ""))
	if got := s.Requests()[0].Path; got != "/v1/pipelines/"+p.UUID+"/runs/" {
		t.Errorf("path %s", got)
	}
	if r := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime); r.status != 200 {
		t.Errorf("with an escaped space: %+v", r)
	}
	origin := strings.TrimSuffix(s.URL, "/team%2Fa/ylem")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"//v1/oauth/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Location"); got != "/team%2Fa/ylem/v1/oauth/token" {
		t.Errorf("redirect to %s", got)
	}
	for _, prefix := range []string{"/team/a/ylem", "/team%2fa/ylem", "/team%252Fa/ylem", ""} {
		s.URL = origin + prefix
		if r := s.run(p.UUID, ""); r.status != 404 || r.body != "404 page not found\n" {
			t.Errorf("under %s: %+v", prefix, r)
		}
		logged := s.Requests()
		if got := logged[len(logged)-1].Path; got != prefix+"/v1/pipelines/"+p.UUID+"/runs/" {
			t.Errorf("logged %s", got)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	clientCAs := x509.NewCertPool()
	clientCAs.AddCert(leaf)
	certificates := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}

	for _, test := range []struct {
		name         string
		option       Option
		untrusted    bool
		certificates []tls.Certificate
		works        bool
	}{
		{"trusted", WithTLS(nil), false, nil, true},
		{"untrusted", WithTLS(nil), true, nil, false},
		{"with a client certificate", WithTLS(clientCAs), false, certificates, true},
		{"without a client certificate", WithTLS(clientCAs), false, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := NewServer(test.option)
			t.Cleanup(s.Close)
			config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: test.certificates}
			if !test.untrusted && !config.RootCAs.AppendCertsFromPEM([]byte(s.CertificatePEM())) {
				t.Fatal("no certificate")
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
			response, err := client.Get(s.URL)
			if err != nil {
				if test.works {
					t.Error(err)
				}
				return
			}
			defer response.Body.Close()
			if !test.works || response.StatusCode != 404 || response.ProtoMajor != 1 {
				t.Errorf("%s %s", response.Proto, response.Status)
			}
		})
	}
}

func TestReferenceDialect(t *testing.T) {
	t.Parallel()
	s := start(t, WithDialect(Reference))
	p := s.AddPipeline(Pipeline{Tasks: []Task{{UUID: id("a")}, {UUID: id("b"), After: []string{id("a")}}, {Inactive: true}}})
	stats := "/v1/stats/pipelines/" + p.UUID
	if r := s.get(stats + "/stats" + wholeTime); !strings.HasSuffix(r.body, `"last_run_executed_at":"0001-01-01T00:00:00Z"}`) {
		t.Errorf("stats of nothing: %+v", r)
	}
	if r := s.get(stats + "/aggregated-stats/2020-01-01/year/10"); r.body != "[]" {
		t.Errorf("aggregated stats of nothing: %+v", r)
	}

	r := s.run(p.UUID, "")
	run := s.Runs("")[0].UUID
	var pending []map[string]any
	if err := json.Unmarshal([]byte(r.body), &pending); err != nil || r.status != 200 || len(pending) != 2 {
		t.Fatalf("run: %+v, %v", r, err)
	}
	if first := pending[0]; len(first) != 10 || first["workflow_run_uuid"] != run || first["state"] != "pending" || first["output"] != nil {
		t.Errorf("pending: %v", first)
	}

	for path, want := range map[string]string{
		"/logs" + wholeTime:                               `[{"workflow_run_uuid":"` + run + `","task_uuid":"` + id("a") + `","task_type":"query","is_successful":true,"duration":0,"output":"","metric_value":0,"executed_at":"2026-11-23T11:05:59Z"},`,
		"/stats" + wholeTime:                              `{"num_of_successes":1,"num_of_failures":0,"average_duration":0,"is_last_run_successful":true,"last_run_duration":0,"last_run_executed_at":"2026-11-23T11:05:59Z"}`,
		"/last-run/stats":                                 `{"is_successful":true,"duration":0,"executed_at":"2026-11-23T11:05:59Z"}`,
		"/aggregated-stats/2020-01-01/year/10":            `[{"date_from":"2026-01-01T00:00:00Z","date_to":"2026-12-31T23:59:59Z",`,
		"/aggregated-stats/2020-01-01%2000:00:00/year/10": `{"code":400,"message":"Bad Request","errors":["parsing time \"2020-01-01 00:00:00\": extra text: \" 00:00:00\""]}` + "\n",
	} {
		if r := s.get(stats + path); !strings.HasPrefix(r.body, want) {
			t.Errorf("%s:\n     %s\nwant %s", path, r.body, want)
		}
	}
}

func TestReferenceScopes(t *testing.T) {
	t.Parallel()
	s := start(t, WithDialect(Reference))
	p := s.AddPipeline(Pipeline{})
	token := func(scope string) string {
		query := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret}, "scope": {scope}}
		r := s.get("/v1/oauth/token?" + query.Encode())
		var fields struct {
			Access string `json:"access_token"`
			Scope  string `json:"scope"`
		}
		if err := json.Unmarshal([]byte(r.body), &fields); err != nil {
			t.Fatal(r, err)
		}
		s.token = fields.Access
		return fields.Scope
	}
	if got := token(""); got != "workflows:run,stats:read" && got != "stats:read,workflows:run" {
		t.Errorf("all scopes: %s", got)
	}
	for _, scope := range []string{"workflows:run", "pipelines:run"} {
		if got := token(scope); got != scope {
			t.Errorf("scope %s, want %s", got, scope)
		}
		if r := s.run(p.UUID, ""); r.status != 200 {
			t.Errorf("run with %s: %+v", scope, r)
		}
	}
	if token("stats:read"); s.run(p.UUID, "").status != 403 {
		t.Error("run with stats:read")
	}
}

func TestScopesAreEchoed(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, scope := range []string{"stats:read,pipelines:run", "pipelines:run,stats:read", "pipelines:run, stats:read"} {
		query := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret}, "scope": {scope}}
		if r := s.get("/v1/oauth/token?" + query.Encode()); !strings.Contains(r.body, `"scope":"`+scope+`"`) {
			t.Errorf("scope %s: %+v", scope, r)
		}
	}
	orders := map[bool]bool{}
	for range 100 {
		query := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret}}
		orders[strings.Contains(s.get("/v1/oauth/token?"+query.Encode()).body, `"scope":"stats:read,`)] = true
	}
	if len(orders) != 2 {
		t.Error("the order of all scopes never varies")
	}
}

// TestConcurrency is for the race detector.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				s.run(p.UUID, "{}")
				s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime)
				s.Inject(Fault{Route: RouteLogs, Times: 1, Status: 500})
				s.UpdatePipeline(p.UUID, func(p *Pipeline) { p.Tasks[0].Output = []byte("x") })
				for _, r := range s.Runs("") {
					s.Rows(r.UUID)
				}
				s.Requests()
				s.clock.advance(time.Second)
			}
		})
	}
	group.Wait()
	if n := len(s.Runs(p.UUID)); n != 80 {
		t.Errorf("%d runs", n)
	}
}

// The log of requests tells which request started which run, and WithAnswers what each was answered.
func TestRequestLogOfAnswers(t *testing.T) {
	t.Parallel()
	for _, keeps := range []bool{false, true} {
		var opts []Option
		if keeps {
			opts = append(opts, WithAnswers())
		}
		s := start(t, opts...)
		pipeline := s.AddPipeline(Pipeline{})
		s.Inject(Fault{Route: RouteRun, Status: 503, Header: http.Header{"Retry-After": {"3"}}})
		refused, started := s.run(pipeline.UUID, ""), s.run(pipeline.UUID, "")
		log := s.Requests(RouteRun)
		if len(log) != 2 || log[0].Run != "" || log[1].Run != startedUUID(t, started) {
			t.Fatalf("the log is %+v", log)
		}
		if log[0].Answer.Get("Retry-After") != "3" || refused.status != 503 || !log[1].AnsweredAt.Equal(s.clock.now()) {
			t.Errorf("the log is %+v", log)
		}
		if got := string(log[1].AnswerBody); keeps != (got == started.body) || !keeps && got != "" {
			t.Errorf("the answer is kept as %q", got)
		}
	}
}

// A server serves on the listener that it is given.
func TestListener(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, WithListener(listener))
	if want := "http://" + listener.Addr().String(); s.URL != want {
		t.Errorf("serves on %s, want %s", s.URL, want)
	}
	if r := s.run(s.AddPipeline(Pipeline{}).UUID, ""); r.status != http.StatusCreated {
		t.Errorf("answers %+v", r)
	}
}
