package ylemtest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The log of requests says why a request was refused or its answer is empty, in words for the person who made it.
func TestReasons(t *testing.T) {
	t.Parallel()
	const (
		absent = "11111111-2222-4333-8444-555555555555"
		window = "/2024-01-01%2000:00:00/2024-01-02%2000:00:00"
		stats  = "/v1/stats/pipelines/"
	)
	s := start(t)
	ran := s.AddPipeline(Pipeline{})
	idle := s.AddPipeline(Pipeline{})
	paused := s.AddPipeline(Pipeline{Paused: true})
	template := s.AddPipeline(Pipeline{Template: true})
	empty := s.AddPipeline(Pipeline{Tasks: []Task{}})
	foreign := s.AddPipeline(Pipeline{Organization: "another"})
	s.AddRun(ran.UUID, s.clock.now().Add(-time.Hour))
	s.AddRun(foreign.UUID, s.clock.now().Add(-time.Hour))
	reader := s.AddClient(Client{Scopes: []string{scopeStats}})
	task := ran.Tasks[0].UUID

	ask := func(header, method, path, body string) reply {
		request, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
		return send(http.DefaultClient, request)
	}
	form := func(edit func(url.Values)) string {
		f := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret}}
		edit(f)
		return f.Encode()
	}
	const isForm = "Content-Type: application/x-www-form-urlencoded"
	limited, _ := getToken(t, s.Server, reader, "")

	tests := map[string]struct {
		do     func() reply
		status int
		reason string // "" = none
	}{
		"a good start":        {func() reply { return s.run(ran.UUID, "") }, 201, ""},
		"a good read":         {func() reply { return s.get(stats + ran.UUID + "/stats" + window) }, 200, ""},
		"a good read of task": {func() reply { return s.get("/v1/stats/tasks/" + task + "/stats" + window) }, 200, ""},
		"never ran":           {func() reply { return s.get(stats + idle.UUID + "/logs" + window) }, 200, ""},
		"last run of none":    {func() reply { return s.get(stats + idle.UUID + "/last-run/stats") }, 403, "it has never run"},

		"unknown pipeline":     {func() reply { return s.run(absent, "") }, 404, "there is no pipeline " + absent},
		"no UUID":              {func() reply { return s.run("orders", "") }, 404, `"orders" is not a UUID: invalid UUID length: 6`},
		"task as pipeline":     {func() reply { return s.run(task, "") }, 404, task + " is a task, not a pipeline"},
		"paused":               {func() reply { return s.run(paused.UUID, "") }, 403, "the pipeline is paused"},
		"template":             {func() reply { return s.run(template.UUID, "") }, 404, "template"},
		"no tasks":             {func() reply { return s.run(empty.UUID, "") }, 404, "no active task"},
		"large input":          {func() reply { return s.run(ran.UUID, strings.Repeat("x", 65536)) }, 500, "65536 bytes"},
		"unknown log":          {func() reply { return s.get(stats + absent + "/logs" + window) }, 200, "there is no pipeline " + absent},
		"unknown stats":        {func() reply { return s.get(stats + absent + "/stats" + window) }, 200, "there is no pipeline " + absent},
		"unknown aggregation":  {func() reply { return s.get(stats + absent + "/aggregated-stats/2024-01-01%2000:00:00/day/1") }, 200, "there is no pipeline " + absent},
		"unknown last run":     {func() reply { return s.get(stats + absent + "/last-run/stats") }, 403, "there is no pipeline " + absent},
		"stats of a task":      {func() reply { return s.get(stats + task + "/stats" + window) }, 200, "is a task, not a pipeline"},
		"task that is none":    {func() reply { return s.get("/v1/stats/tasks/" + ran.UUID + "/stats" + window) }, 200, "is a pipeline, not a task"},
		"another organization": {func() reply { return s.get(stats + foreign.UUID + "/last-run/stats") }, 403, "another organization"},
		"bad date":             {func() reply { return s.get(stats + ran.UUID + "/logs/2024-01-01/2024-01-02") }, 400, `parsing time "2024-01-01"`},
		"bad UUID":             {func() reply { return s.get(stats + "orders/logs" + window) }, 400, "invalid UUID length: 6"},
		"bad period":           {func() reply { return s.get(stats + ran.UUID + "/aggregated-stats/2024-01-01%2000:00:00/hour/1") }, 400, "valid value"},

		"no slash":       {func() reply { return s.do("POST", "/v1/pipelines/"+ran.UUID+"/runs", "") }, 404, "lacks the slash"},
		"slash":          {func() reply { return s.get(stats + ran.UUID + "/last-run/stats/") }, 404, "must not end with a slash"},
		"no version":     {func() reply { return s.get(strings.TrimPrefix(stats, "/v1") + ran.UUID + "/last-run/stats") }, 404, "does not begin with /v1"},
		"neither":        {func() reply { return s.do("POST", "/pipelines/"+ran.UUID+"/runs", "") }, 404, "does not begin with /v1, and lacks"},
		"two slashes":    {func() reply { return s.get("/v1//oauth/token") }, 307, "duplicate slashes"},
		"no route":       {func() reply { return s.get("/v1/pipelines") }, 404, "there is no such route"},
		"wrong method":   {func() reply { return s.get("/v1/pipelines/" + ran.UUID + "/runs/") }, 404, "this route takes POST"},
		"method of logs": {func() reply { return s.do("POST", stats+ran.UUID+"/logs"+window, "") }, 405, "this route takes GET"},

		"no token":      {func() reply { return ask("X: y", "GET", stats+ran.UUID+"/last-run/stats", "") }, 401, "no Authorization header"},
		"no bearer":     {func() reply { return ask("Authorization: Basic eDp5", "GET", stats+ran.UUID+"/last-run/stats", "") }, 401, "Bearer TOKEN"},
		"unknown token": {func() reply { return ask("Authorization: Bearer ABC", "GET", stats+ran.UUID+"/last-run/stats", "") }, 401, "not one of this server"},
		"scope": {
			func() reply {
				return ask("Authorization: Bearer "+limited, "POST", "/v1/pipelines/"+ran.UUID+"/runs/", "")
			},
			403, `lacks the scope pipelines:run; it has "stats:read"`,
		},

		"wrong secret": {func() reply {
			return ask(isForm, "POST", "/v1/oauth/token", form(func(f url.Values) { f.Set("client_secret", "hunter2") }))
		}, 401, "secret is wrong"},
		"wrong client": {func() reply {
			return ask(isForm, "POST", "/v1/oauth/token", form(func(f url.Values) { f.Set("client_id", "me") }))
		}, 500, `no OAuth client "me"`},
		"wrong grant": {func() reply {
			return ask(isForm, "POST", "/v1/oauth/token", form(func(f url.Values) { f.Set("grant_type", "x") }))
		}, 401, `grant_type is "x"`},
		"wrong scope": {
			func() reply {
				return ask(isForm, "POST", "/v1/oauth/token", form(func(f url.Values) { f.Set("scope", "pipelines:run stats:read") }))
			}, 400, `does not have the scope "pipelines:run stats:read"; it has pipelines:run,stats:read, and commas`,
		},
		"not a form": {func() reply { return ask("Content-Type: application/json", "POST", "/v1/oauth/token", "{}") }, 401, `not a form: its Content-Type is "application/json"`},
		"basic": {func() reply {
			return ask("Authorization: Basic eDp5", "POST", "/v1/oauth/token", "grant_type=client_credentials")
		}, 401, "belong in the form"},
		"no client ID": {func() reply { return ask(isForm, "POST", "/v1/oauth/token", "grant_type=client_credentials") }, 401, "is missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.ResetRequests()
			if r := test.do(); r.status != test.status && test.status != 307 {
				t.Errorf("status %d, want %d", r.status, test.status)
			}
			got := s.Requests()[0].Reason
			if !strings.Contains(got, test.reason) || test.reason == "" && got != "" {
				t.Errorf("the reason is %q, not %q", got, test.reason)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, s.client.Secret) || strings.Contains(got, s.token) {
				t.Errorf("the reason holds a secret: %s", got)
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		s.ResetRequests()
		s.clock.advance(25 * time.Hour)
		if r := s.run(ran.UUID, ""); r.status != 401 || s.Requests()[0].Reason != "the token has expired" {
			t.Errorf("%+v, %q", r, s.Requests()[0].Reason)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		s.ResetRequests()
		s.DeleteClient(reader.ID)
		if r := ask("Authorization: Bearer "+limited, "POST", "/v1/pipelines/"+ran.UUID+"/runs/", ""); r.err == nil || !strings.Contains(s.Requests()[0].Reason, "was deleted") {
			t.Errorf("%+v, %q", r, s.Requests()[0].Reason)
		}
	})
}

// An observer sees each request once, when it is over, whether it was answered or not.
func TestObserver(t *testing.T) {
	t.Parallel()
	observed := make(chan Request, 3)
	s := start(t, WithObserver(func(r Request) { observed <- r }))
	if r := <-observed; r.Route != RouteToken || r.Status != 200 {
		t.Errorf("%+v", r)
	}
	p := s.AddPipeline(Pipeline{})
	s.run(p.UUID, `{"day":1}`)
	if r := <-observed; r.Route != RouteRun || r.Status != 201 || r.Run != s.Runs("")[0].UUID || string(r.Body) != `{"day":1}` {
		t.Errorf("%+v", r)
	}
	s.Inject(Fault{Drop: true})
	s.get("/v1/stats/pipelines/" + p.UUID + "/last-run/stats")
	if r := <-observed; r.Route != RouteLastRun || r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

// A past run may have a UUID, an input and tasks of its own.
func TestAddRunOf(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{{Type: "external_trigger"}}})
	own := NewUUID()
	r := s.AddRunOf(Run{UUID: own, PipelineUUID: p.UUID, StartedAt: s.clock.now().Add(-time.Hour), Input: []byte(`{"a":1}`)})
	if rows := s.Rows(own); r.UUID != own || len(rows) != 1 || string(rows[0].Output) != `{"a":1}` {
		t.Errorf("%+v, %+v", r, rows)
	}
	r = s.AddRunOf(Run{PipelineUUID: p.UUID, Tasks: []Task{{UUID: own}, {}}})
	if rows := s.Rows(r.UUID); len(rows) != 2 || rows[0].TaskUUID != own && rows[1].TaskUUID != own {
		t.Errorf("%+v", rows)
	}
	if len(s.Runs("")) != 0 {
		t.Error("Runs lists past runs")
	}
}
