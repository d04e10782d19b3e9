package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest/scenario"
)

// The tests' binary is also the command that the sandbox runs.
func TestMain(m *testing.M) {
	if os.Getenv("YLEM_SANDBOX_COMMAND") == "" {
		code := m.Run()
		_ = os.RemoveAll(buildDir)
		os.Exit(code)
	}
	if os.Args[1] == "wait" {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		fmt.Println("waiting")
		fmt.Println(<-signals)
		os.Exit(5)
	}
	response, err := http.Get(os.Getenv("YLEM_API_URL") + "/v1/pipelines")
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()
	fmt.Println(response.StatusCode, os.Getenv("YLEM_API_CLIENT_ID"), os.Getenv("YLEM_API_CLIENT_SECRET"), os.Args[1:])
	os.Exit(7)
}

// output is what a run has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// eventually polls until a function returns something else than its zero value.
func eventually[T comparable](t *testing.T, what string, f func() T) T {
	t.Helper()
	for late := time.After(time.Minute); ; {
		var none T
		if v := f(); v != none {
			return v
		}
		select {
		case <-late:
			t.Fatalf("there is no %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

var export = regexp.MustCompile(`(?m)^export (YLEM_API_\w+)=(.*)$`)

// variables is what the sandbox says is to be exported, once it has said so.
func variables(t *testing.T, printed func() string) map[string]string {
	t.Helper()
	eventually(t, "list of pipelines", func() bool { return strings.Contains(printed(), "Its pipelines") })
	values := map[string]string{}
	for _, match := range export.FindAllStringSubmatch(printed(), -1) {
		values[match[1]] = match[2]
	}
	if len(values) != 3 {
		t.Fatalf("three variables are to be exported:\n%s", printed())
	}
	return values
}

// sandbox is one that runs in this process.
type sandbox struct {
	variables      map[string]string
	stdout, stderr *output
	stop           func() (exitCode int)
}

func start(t *testing.T, args ...string) *sandbox {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &sandbox{stdout: &output{}, stderr: &output{}}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), s.stdout, s.stderr) }()
	s.stop = sync.OnceValue(func() int {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { s.stop() })
	s.variables = variables(t, s.stdout.String)
	return s
}

// ask sends a request, with a token if it has one, and returns the body of the answer.
func (s *sandbox) ask(t *testing.T, method, path, token string, form url.Values) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.variables["YLEM_API_URL"]+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

var accessToken = regexp.MustCompile(`"access_token":"(\w+)"`)

func (s *sandbox) token(t *testing.T, secret string) string {
	t.Helper()
	_, body := s.ask(t, "POST", "/v1/oauth/token", "", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {s.variables["YLEM_API_CLIENT_ID"]}, "client_secret": {secret},
	})
	if match := accessToken.FindStringSubmatch(body); match != nil {
		return match[1]
	}
	return ""
}

// log waits for a line of the log that matches.
func (s *sandbox) log(t *testing.T, pattern string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + pattern + `$`)
	eventually(t, "line in the log like "+pattern, func() bool { return line.MatchString(s.stderr.String()) })
}

const orders = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"

func TestServe(t *testing.T) {
	t.Parallel()
	s := start(t)
	if id, secret := s.variables["YLEM_API_CLIENT_ID"], s.variables["YLEM_API_CLIENT_SECRET"]; id != defaultClientID || secret != defaultSecret {
		t.Errorf("the credentials are %s and %s", id, secret)
	}
	for _, text := range []string{
		"$env:YLEM_API_URL = '" + s.variables["YLEM_API_URL"] + "'", orders + "  imports orders\n", "  query\n", "  post (api_call)\n",
	} {
		if !strings.Contains(s.stdout.String(), text) {
			t.Errorf("%q is not printed:\n%s", text, s.stdout)
		}
	}
	const line = `\d\d:\d\d:\d\d  `
	token := s.token(t, defaultSecret)
	s.log(t, line+`200  POST /v1/oauth/token`)
	if status, _ := s.ask(t, "POST", "/v1/pipelines/"+orders+"/runs/", token, nil); status != 201 {
		t.Errorf("a run is answered with %d", status)
	}
	s.log(t, line+`201  POST /v1/pipelines/`+orders+`/runs/  imports orders; started run [0-9a-f-]{36}`)
	s.ask(t, "GET", "/v1/stats/tasks/449c3c47-427e-465e-b1d2-0bf257b714e4/last-run/stats", token, nil)
	s.log(t, line+`200  GET  /v1/stats/tasks/449c3c47-427e-465e-b1d2-0bf257b714e4/last-run/stats  imports orders, query`)

	// What is wrong is said.
	const absent = "11111111-2222-4333-8444-555555555555"
	s.ask(t, "POST", "/v1/pipelines/"+absent+"/runs/", token, nil)
	s.log(t, line+`404  POST /v1/pipelines/`+absent+`/runs/  refused: there is no pipeline `+absent)
	s.ask(t, "POST", "/v1/pipelines/"+orders+"/runs", token, nil)
	s.log(t, line+`404  POST /v1/pipelines/`+orders+`/runs  imports orders; refused: the path lacks the slash at its end`)
	s.ask(t, "GET", "/v1/stats/pipelines/"+absent+"/stats/2024-01-01%2000:00:00/2024-01-02%2000:00:00", token, nil)
	s.log(t, line+`200  GET  /v1/stats/pipelines/.*  note: there is no pipeline `+absent)
	if s.token(t, "hunter2") != "" {
		t.Error("a wrong secret gives a token")
	}
	s.log(t, line+`401  POST /v1/oauth/token  refused: the client secret is wrong`)
	if text := s.stderr.String(); strings.Contains(text, "hunter2") || strings.Contains(text, token) || strings.Contains(text, "secret=") {
		t.Errorf("the log has secrets:\n%s", text)
	}
	if code := s.stop(); code != 0 || !strings.HasSuffix(s.stdout.String(), "\nStopped.\n") {
		t.Errorf("exit code %d:\n%s", code, s.stdout)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "scenario.json")
	text := `{"pipelines": [{"uuid": "8b2e5d97-f061-4c3a-a4d8-719e0c6f5b23", "name": "mine"}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "-client-id", "me", "-client-secret", "it's", "-dialect", "reference", "-scenario", file, "-quiet", "-speed", "3600")
	if s.variables["YLEM_API_CLIENT_ID"] != "me" || s.variables["YLEM_API_CLIENT_SECRET"] != `'it'\''s'` ||
		!strings.Contains(s.stdout.String(), "$env:YLEM_API_CLIENT_SECRET = 'it''s'") {
		t.Errorf("%v\n%s", s.variables, s.stdout)
	}
	if printed := s.stdout.String(); !strings.Contains(printed, "8b2e5d97-f061-4c3a-a4d8-719e0c6f5b23  mine\n") || strings.Contains(printed, orders) || !strings.Contains(printed, "3600 times as fast") {
		t.Errorf("printed:\n%s", printed)
	}
	status, body := s.ask(t, "POST", "/v1/pipelines/8b2e5d97-f061-4c3a-a4d8-719e0c6f5b23/runs/", s.token(t, "it's"), nil)
	if status != 200 || !strings.Contains(body, "workflow_run_uuid") {
		t.Errorf("the dialect is not the reference: %d %s", status, body)
	}
	s.ask(t, "GET", "/v1/pipelines", "", nil)
	s.log(t, `.* 404  GET  /v1/pipelines  refused: there is no such route`)
	s.stop()
	if log := s.stderr.String(); strings.Count(log, "\n") != 1 {
		t.Errorf("-quiet logs more than what is refused:\n%s", log)
	}
}

// The defaults are those that people write down: an address and credentials that are the same each time.
func TestDefaults(t *testing.T) {
	t.Parallel()
	s, err := parse(nil, io.Discard, io.Discard)
	if err != nil || s.addr != "127.0.0.1:7339" || s.client.ID != defaultClientID || s.client.Secret != "sandbox" || s.speed != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte(`{"pipelines": [{"title": 1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, test := range []struct {
		args   []string
		code   int
		stderr string // what it holds
	}{
		{[]string{"-port", "1"}, 2, "flag provided but not defined: -port\nSee ylem-sandbox -help."},
		{[]string{"-dialect", "hosted"}, 2, `invalid value "hosted" for flag -dialect: it is open-source or reference`},
		{[]string{"-speed", "0"}, 2, "-speed must be more than 0, and at most 10000"},
		{[]string{"-speed", "10001"}, 2, "-speed must be more than 0, and at most 10000"},
		{[]string{"-speed", "NaN"}, 2, "-speed must be more than 0"},
		{[]string{"-client-secret", ""}, 2, "-client-id and -client-secret must not be empty"},
		{[]string{"-scenario", "no-such-file"}, 1, "open no-such-file: "},
		{[]string{"-scenario", broken}, 1, broken + ":\n  pipelines[0]: unknown field \"title\"; accepted are uuid, name, paused, template, tasks, runs\n  pipelines[0]: the field"},
		{[]string{"-addr", taken.Addr().String()}, 1, "the address " + taken.Addr().String() + " is taken, perhaps by another ylem-sandbox or by a self-hosted Ylem. Stop that"},
		{[]string{"-addr", "localhost"}, 1, "missing port in address. Choose another address"},
		{[]string{"-addr", "127.0.0.1:0", "no-such-command"}, 1, `"no-such-command": executable file not found`},
	} {
		var stdout, stderr output
		if code := run(t.Context(), test.args, &stdout, &stderr); code != test.code || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%q: exit code %d, want %d:\n%s", test.args, code, test.code, stderr.String())
		}
		if stdout.String() != "" {
			t.Errorf("%q printed %s", test.args, stdout.String())
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout, stderr output
	if code := run(t.Context(), []string{"-help"}, &stdout, &stderr); code != 0 || stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, text := range []string{"-addr", "-client-id", "-client-secret", "-dialect", "-speed N", "-scenario", "-one-task-runner", "terraform test", scenario.Format} {
		if !strings.Contains(stdout.String(), text) {
			t.Errorf("%q is not in it", text)
		}
	}
}

func TestPrintScenario(t *testing.T) {
	t.Parallel()
	var stdout, stderr output
	if code := run(t.Context(), []string{"-print-scenario"}, &stdout, &stderr); code != 0 || stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if s, err := scenario.Parse([]byte(stdout.String())); err != nil || len(s.Pipelines) != len(scenario.BuiltIn().Pipelines) {
		t.Errorf("%v:\n%s", err, stdout.String())
	}
}

// A speed of 3600 lets an hour pass in a second: for tokens, for runs and for the Date header.
func TestFastClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		clock := fastClock(3600)
		if !clock().Equal(begin) {
			t.Errorf("it begins at %s, not at %s", clock(), begin)
		}
		time.Sleep(time.Second)
		if passed := clock().Sub(begin); passed != time.Hour {
			t.Errorf("%s passed", passed)
		}
		if plain := fastClock(1); !plain().Equal(time.Now()) {
			t.Error("a speed of 1 is not the real time")
		}
	})
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://[::]:7339":      "http://127.0.0.1:7339",
		"http://0.0.0.0:7339":   "http://127.0.0.1:7339",
		"http://127.0.0.1:7339": "http://127.0.0.1:7339",
		"http://[::1]:7339":     "http://[::1]:7339",
		"http://10.0.3.7:80":    "http://10.0.3.7:80",
	} {
		if got := reachable(base); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}
