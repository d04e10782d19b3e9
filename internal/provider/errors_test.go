package provider

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Every diagnostic says what failed, about which object, what Ylem answered, and what to do. The table of
// the troubleshooting guide quotes these texts.

// attempted is what a case tries: a data source, or, with the name "", a run.
type attempted struct {
	provider   object // further arguments of the provider
	dataSource string
	arguments  object
}

func (h *history) attempt(t *testing.T, a attempted) diagnostics {
	t.Helper()
	p := h.connect(t, a.provider)
	if a.dataSource == "" {
		state, diags := p.create(t, object{"pipeline_uuid": h.pipeline}.with(a.arguments))
		if diags.failed() && state != nil {
			t.Errorf("an error, yet a state: %v", state)
		}
		return diags
	}
	d := dataSources[a.dataSource]
	_, diags := p.read(t, a.dataSource, d.arguments.with(object{d.attribute: h.uuidOf(a.dataSource)}).with(a.arguments))
	return diags
}

func TestRunsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*ylemtest.Pipeline)
		client ylemtest.Client
		scopes any
		says   []string
	}{
		"paused": {
			func(p *ylemtest.Pipeline) { p.Paused = true },
			ylemtest.Client{},
			nil,
			[]string{"refuses to run", "The pipeline is paused: resume it in Ylem", "pipelines:run", "403 Forbidden"},
		},
		"scope missing": {
			nil,
			ylemtest.Client{Scopes: []string{"stats:read"}},
			nil,
			[]string{"refuses to run", "lacks the scope pipelines:run", "\"scopes\"", "paused", "403 Forbidden"},
		},
		"scope not asked for": {
			nil,
			ylemtest.Client{},
			[]string{"stats:read"},
			[]string{"refuses to run", "lacks the scope pipelines:run", "\"scopes\"", "403 Forbidden"},
		},
		"template":         {func(p *ylemtest.Pipeline) { p.Template = true }, ylemtest.Client{}, nil, notFoundSays},
		"deleted":          {func(p *ylemtest.Pipeline) { p.Deleted = true }, ylemtest.Client{}, nil, notFoundSays},
		"without tasks":    {func(p *ylemtest.Pipeline) { p.Tasks = []ylemtest.Task{} }, ylemtest.Client{}, nil, notFoundSays},
		"no active task":   {func(p *ylemtest.Pipeline) { p.Tasks = []ylemtest.Task{{Inactive: true}} }, ylemtest.Client{}, nil, notFoundSays},
		"paused, template": {func(p *ylemtest.Pipeline) { p.Paused, p.Template = true, true }, ylemtest.Client{}, nil, notFoundSays},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, ylemtest.OpenSource)
			h.client = h.AddClient(test.client)
			if test.change != nil {
				h.UpdatePipeline(h.pipeline, test.change)
			}
			diags := h.attempt(t, attempted{provider: object{"scopes": test.scopes}})
			diags.expectError(t, "pipeline_uuid", append(test.says, "No run of pipeline ", " was started", h.pipeline, "POST "+h.URL+"/v1/pipelines/"+h.pipeline+"/runs/")...)
			if strings.Contains(diags.String(), "may have been started") {
				t.Error(diags)
			}
			h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1, ylemtest.RouteToken: 1})()
		})
	}

	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		h := newHistory(t, ylemtest.OpenSource)
		h.pipeline = ylemtest.NewUUID()
		h.attempt(t, attempted{}).expectError(t, "pipeline_uuid", append(notFoundSays, "No run of pipeline ", " was started", h.pipeline)...)
		h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1})()
	})
}

var notFoundSays = []string{"finds no pipeline to run", "does not exist", "deleted", "template", "no active task", "Check the UUID", "404 Not Found"}

func TestReadsThatAreRefused(t *testing.T) {
	t.Parallel()
	for dataSource, d := range dataSources {
		t.Run(dataSource, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, ylemtest.OpenSource)
			subject := strings.TrimSuffix(d.attribute, "_uuid") + " " + h.uuidOf(dataSource)

			h.client = h.AddClient(ylemtest.Client{Scopes: []string{"pipelines:run"}})
			h.attempt(t, attempted{dataSource: dataSource}).expectError(t, d.attribute,
				"lacks the scope stats:read", "\"scopes\"", subject, "403 Forbidden", "GET "+h.URL+"/v1/stats/")

			h.client = h.AddClient(ylemtest.Client{Organization: "others"})
			if d.route != ylemtest.RouteLastRun { // there Ylem answers as if it had never run
				h.attempt(t, attempted{dataSource: dataSource}).expectError(t, d.attribute,
					"refuses access", "different organization", subject, "403 Forbidden")
			}
			h.expectRequests(t, map[ylemtest.Route]int{d.route: len(h.Requests(ylemtest.RouteToken))})() // one each
		})
	}
}

// What goes wrong before a token is there is the same for a run and for every read.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	htmlPage := ylemtest.Fault{
		Route: ylemtest.RouteToken, Times: -1, Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html><body>Welcome to the portal</body></html>",
	}
	for name, test := range map[string]struct {
		arrange  func(h *history)
		provider object
		atMost   int // token requests
		says     []string
	}{
		"wrong secret": {
			nil,
			object{"client_secret": "wrong-secret"},
			1,
			[]string{"refused the client's secret", "client_secret", "YLEM_API_CLIENT_SECRET", "client_id", "401 Unauthorized", "invalid_client", "Client authentication failed"},
		},
		"unknown client": { // Ylem gives the same answer for this and for a failure of its own
			nil,
			object{"client_id": ylemtest.NewUUID()},
			2,
			[]string{"gave no access token", "client_id", "YLEM_API_CLIENT_ID", "500 Internal Server Error", "server_error"},
		},
		"deleted client": {
			func(h *history) { h.DeleteClient(h.client.ID) }, nil, 2,
			[]string{"gave no access token", "client_id", "deactivated", "500 Internal Server Error"},
		},
		"unknown scope": {
			nil,
			object{"scopes": []string{"stats:write"}},
			1,
			[]string{"refused the scopes", "\"scopes\"", "400 Bad Request", "invalid_scope"},
		},
		"scope of another client": {
			func(h *history) { h.client = h.AddClient(ylemtest.Client{Scopes: []string{"stats:read"}}) },
			object{"scopes": []string{"pipelines:run"}},
			1,
			[]string{"refused the scopes", "OAuth client does not have", "invalid_scope"},
		},
		"wrong base path": {
			nil,
			object{"api_url": "PREFIXED"},
			1,
			[]string{"does not recognize this URL", "api_url", "YLEM_API_URL", "without /v1", "404 Not Found"},
		},
		"HTML": {
			func(h *history) { h.Inject(htmlPage) }, nil, 1,
			[]string{"gave no access token", "api_url", "YLEM_API_URL", "200 OK"},
		},
		"truncated JSON": {
			func(h *history) { h.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Truncate: 20}) }, nil, 5,
			[]string{"no access token", "api_url", "200 OK"},
		},
		"JSON without a token": {
			func(h *history) {
				h.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Body: `{"token_type":"Bearer"}`})
			}, nil, 1,
			[]string{"gave no access token", "api_url", "200 OK"},
		},
		"redirect to a login": {
			func(h *history) {
				h.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Status: 302, Header: http.Header{"Location": {"https://login.example.com/?next=ylem"}}})
			}, nil, 1,
			[]string{"redirect", "https://login.example.com/?next=ylem", "not followed", "api_url", "headers"},
		},
		"unavailable": {
			func(h *history) {
				h.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Status: 503, Body: "upstream connect error"})
			}, nil, 5,
			[]string{"gave no access token", "503 Service Unavailable"},
		},
		"no answer": {
			func(h *history) { h.Inject(ylemtest.Fault{Route: ylemtest.RouteToken, Times: -1, Drop: true}) }, nil, 5,
			[]string{"cannot be reached", "api_url", "YLEM_API_URL", "No answer", "EOF"},
		},
	} {
		for _, dataSource := range []string{"", "ylem_pipeline_logs", "ylem_task_aggregated_stats"} {
			t.Run(name+", "+dataSource, func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, ylemtest.OpenSource)
				if test.arrange != nil {
					test.arrange(h)
				}
				provider := test.provider
				if provider["api_url"] != nil {
					provider = object{"api_url": h.URL + "/ylem"}
				}
				says := append([]string{"POST " + h.URL}, test.says...)
				if dataSource == "" {
					says = append(says, "No run of pipeline ", " was started")
				}
				diags := h.attempt(t, attempted{provider: provider, dataSource: dataSource})
				diags.expectError(t, "", says...)
				requests := h.Requests()
				for _, r := range requests {
					if !strings.HasSuffix(r.Path, "/oauth/token") {
						t.Errorf("sent without a token: %s", r.Path)
					}
				}
				if len(requests) < 1 || len(requests) > test.atMost {
					t.Errorf("%d token requests, want at most %d", len(requests), test.atMost)
				}
				// There is one answer, or there is none.
				if text := diags.String(); strings.Contains(text, "Answer: ") == strings.Contains(text, "No answer: ") {
					t.Errorf("contradicts itself:%s", diags)
				}
			})
		}
	}
}

func TestUnreachableHost(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	_ = listener.Close()
	h := newHistory(t, ylemtest.OpenSource)
	for dataSource := range dataSources {
		h.attempt(t, attempted{provider: object{"api_url": closed}, dataSource: dataSource}).
			expectError(t, "", "Ylem cannot be reached", "api_url", "YLEM_API_URL", "proxy", closed, "connection refused")
	}
	h.attempt(t, attempted{provider: object{"api_url": closed}}).
		expectError(t, "", "Ylem cannot be reached", "No run of pipeline ", " was started", "api_url", closed, "connection refused")
	h.attempt(t, attempted{provider: object{"api_url": "http://localhost:1", "max_retries": 0}, dataSource: lastRun}).
		expectError(t, "", "Ylem cannot be reached", "http://localhost:1")
}

func TestAnswersThatCannotBeUnderstood(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault ylemtest.Fault
		says  string
	}{
		"HTML":           {ylemtest.Fault{Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html><body>Welcome to the portal</body></html>"}, "<html>"},
		"truncated JSON": {ylemtest.Fault{Truncate: 20}, "unexpected EOF"},
		"no body":        {ylemtest.Fault{Status: 200}, "not"},
		"a word":         {ylemtest.Fault{Body: `"ok"`}, `ok`},
		"wrong types":    {ylemtest.Fault{Body: `{"duration":"long","average_duration":{},"executed_at":5}`}, "not"},
		"bytes":          {ylemtest.Fault{Body: "\xff\xfe\x00"}, "not"},
	} {
		for dataSource, d := range dataSources {
			t.Run(name+", "+dataSource, func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, ylemtest.OpenSource)
				fault := test.fault
				fault.Route, fault.Times = d.route, -1
				h.Inject(fault)
				diags := h.attempt(t, attempted{dataSource: dataSource})
				diags.expectError(t, d.attribute, "cannot be understood", h.uuidOf(dataSource), "200 OK", test.says, "api_url", "web interface")
				want := 1 // the same question has the same answer
				if fault.Truncate > 0 {
					want = 1 + defaultMaxRetries // one that broke off may come whole
				}
				if n := h.count(d.route); n != want {
					t.Errorf("asked %d times, want %d", n, want)
				}
			})
		}
	}
}

// An error's body is shown on one line, and not all of it.
func TestForeignTextIsTamed(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.Inject(ylemtest.Fault{
		Route: ylemtest.RouteLastRun, Times: -1, Status: 502,
		Body: "Bad gateway\x1b[31m\r\n\n\t<hr> nginx\x00 \xff" + strings.Repeat("lorem ipsum ", 5000),
	})
	diags := h.attempt(t, attempted{dataSource: lastRun, provider: object{"max_retries": 0}})
	diags.expectError(t, "pipeline_uuid", "Ylem failed", "502 Bad Gateway", "Bad gateway", "<hr> nginx", "…")
	if text := diags.String(); len(text) > 2000 || strings.ContainsAny(text, "\x1b\x00\r\t") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func TestServerTrouble(t *testing.T) {
	t.Parallel()
	for status, says := range map[int][]string{
		400: {"refused the request", "400 Bad Request", "report this"},
		401: {"refused the access token", "401 Unauthorized", "deactivated"},
		404: {"does not recognize this URL", "404 Not Found", "api_url"},
		429: {"is rate limiting requests", "429 Too Many Requests", "-parallelism"},
		500: {"Ylem failed", "500 Internal Server Error", "Apply again"},
		502: {"Ylem failed", "502 Bad Gateway"},
		503: {"Ylem failed", "503 Service Unavailable"},
		504: {"Ylem failed", "504 Gateway Timeout"},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			for dataSource, d := range dataSources {
				h := newHistory(t, ylemtest.OpenSource)
				h.Inject(ylemtest.Fault{Route: d.route, Times: -1, Status: status, Body: fmt.Sprintf(`{"code":%d,"message":"What Ylem said"}`, status)})
				h.attempt(t, attempted{dataSource: dataSource}).expectError(t, d.attribute, append(says, "What Ylem said", h.uuidOf(dataSource))...)
				want := 1
				if status >= 429 {
					want = 5
				} else if status == 401 || status == 400 && d.route == ylemtest.RouteAggregatedStats {
					want = 2 // with another token; with the other form of the date
				}
				h.expectRequests(t, map[ylemtest.Route]int{d.route: want})()
			}
		})
	}
}

// With max_retries = 0 nothing is sent again, not even what would be safe, but for a token that has expired.
func TestRunsAreNotSentAgainWithoutRetries(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Status: 429, Times: -1})
	h.attempt(t, attempted{provider: object{"max_retries": 0}}).expectError(t, "pipeline_uuid", "429 Too Many Requests", "No run of pipeline ", " was started")
	h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1})()
}

// A client that was deleted after its token was issued makes the real server drop the connection.
func TestClientThatWasDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	p := h.connect(t, nil)
	p.mustRead(t, lastRun, object{"pipeline_uuid": h.pipeline})
	h.DeleteClient(h.client.ID)
	_, diags := p.read(t, lastRun, object{"pipeline_uuid": h.pipeline})
	diags.expectError(t, "pipeline_uuid", "cannot be reached", "EOF", h.pipeline)
}
