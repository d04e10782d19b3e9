package ylemtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	const true201 = http.StatusCreated
	for _, test := range []struct {
		name     string
		faults   []Fault
		statuses []int // of one run request after the other; 0 = no answer
		runs     int
	}{
		{"none", nil, []int{true201, true201}, 2},
		{"once", []Fault{{Status: 503}}, []int{503, true201}, 1},
		{"three times", []Fault{{Status: 503, Times: 3}}, []int{503, 503, 503, true201}, 1},
		{"until cleared", []Fault{{Status: 503, Times: -1}}, []int{503, 503, 503, 503}, 0},
		{"later", []Fault{{Status: 503, Skip: 2}}, []int{true201, true201, 503, true201}, 3},
		{"in a row", []Fault{{Status: 500}, {Status: 503}}, []int{500, 503, true201}, 1},
		{"counted together", []Fault{{Status: 500}, {Status: 503, Skip: 1}}, []int{500, 503, true201}, 1},
		{"another route", []Fault{{Route: RouteLogs, Status: 503}}, []int{true201}, 1},
		{"this route", []Fault{{Route: RouteRun, Status: 503}}, []int{503, true201}, 1},
		{"another pipeline", []Fault{{PipelineUUID: id("b"), Status: 503}}, []int{true201}, 1},
		{"this pipeline", []Fault{{PipelineUUID: strings.ToUpper(id("a")), Status: 503}}, []int{503, true201}, 1},
		{"after the start", []Fault{{Status: 500, After: true}}, []int{500, true201}, 2},
		{"dropped before", []Fault{{Drop: true}}, []int{0, true201}, 1},
		{"dropped after the start", []Fault{{Drop: true, After: true}}, []int{0, true201}, 2},
		{"reset before", []Fault{{Reset: true}}, []int{0, true201}, 1},
		{"reset after the start", []Fault{{Reset: true, After: true}}, []int{0, true201}, 2},
		{"tokens expire", []Fault{{ExpireTokens: true, Skip: 1}}, []int{true201, 401, 401}, 1},
		{"stalled", []Fault{{Stall: time.Microsecond}}, []int{true201}, 1},
		{"stalled, then refused", []Fault{{Stall: time.Microsecond, Status: 503}}, []int{503}, 0},
		{"other headers", []Fault{{Header: http.Header{"X-Test": {"1"}}}}, []int{true201}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.AddPipeline(Pipeline{UUID: id("a")})
			s.Inject(test.faults...)
			for i, want := range test.statuses {
				if r := s.run(id("a"), ""); r.status != want {
					t.Errorf("request %d: %+v, want status %d", i, r, want)
				}
			}
			if runs := s.Runs(""); len(runs) != test.runs {
				t.Errorf("%d runs, want %d", len(runs), test.runs)
			}
			for i, r := range s.Requests() {
				if r.Status != test.statuses[i] {
					t.Errorf("log of request %d: %+v, want status %d", i, r, test.statuses[i])
				}
			}
			s.ClearFaults()
			s.token, _ = getToken(t, s.Server, s.client, "")
			if r := s.run(id("a"), ""); r.status != true201 {
				t.Errorf("cleared: %+v", r)
			}
		})
	}
}

func TestFaultChangesTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	path := "/v1/stats/pipelines/" + id("a") + "/stats" + wholeTime

	s.Inject(Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: "slow down"})
	if r := s.get(path); r.status != 429 || r.header.Get("Retry-After") != "7" || r.body != "slow down" {
		t.Errorf("replaced: %+v", r)
	}
	s.Inject(Fault{Body: "<html>"})
	if r := s.get(path); r.status != 200 || r.header.Get("Content-Type") != "application/json" || r.body != "<html>" {
		t.Errorf("another body: %+v", r)
	}
	s.Inject(Fault{Prefix: "\ufeff", Suffix: ` // once`})
	if r := s.run(s.AddPipeline(Pipeline{}).UUID, ""); r.status != 201 || r.err != nil || r.body != "\ufeff"+`{"pipeline_run_uuid":"`+s.Runs("")[0].UUID+`"} // once` {
		t.Errorf("around the body: %+v", r)
	}
	s.Inject(Fault{Truncate: 5})
	if r := s.get(path); r.body != `{"num` || !errors.Is(r.err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %+v", r)
	}
	s.Inject(Fault{Truncate: -1})
	if r := s.get(path); r.status != 200 || r.body != "" || r.err == nil {
		t.Errorf("truncated at the start: %+v", r)
	}
	s.Inject(Fault{Status: 400, Body: "no", Echo: true})
	if r := s.run(id("a"), "what was sent"); !strings.HasPrefix(r.body, "no\nPOST /v1/pipelines/"+id("a")+"/runs/\n") ||
		!strings.Contains(r.body, "Authorization: Bearer "+s.token) || !strings.HasSuffix(r.body, "what was sent") {
		t.Errorf("echoed: %+v", r)
	}
	s.Inject(Fault{Reset: true})
	if r := s.get(path); !errors.Is(r.err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", r.err)
	}
}

// eventually waits until something has happened, and fails the test where it does not.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !happened(); {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

func TestRunCapacity(t *testing.T) {
	t.Parallel()
	s := start(t, WithRunCapacity(2))
	var pipelines []string
	for range 3 {
		pipelines = append(pipelines, s.AddPipeline(Pipeline{}).UUID)
	}
	// Two pipelines are being started, one of them twice: a third has to wait until one of the two is through.
	for _, p := range []string{pipelines[0], pipelines[0], pipelines[1]} {
		s.Inject(Fault{Stall: time.Hour, After: true})
		go s.run(p, "")
	}
	eventually(t, "three runs are being started", func() bool { return len(s.Runs("")) == 3 })
	if r := s.run(pipelines[2], ""); r.status != 500 || r.body != "" || r.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("over the capacity: %+v", r)
	}
	if r := s.run(pipelines[1], ""); r.status != 201 {
		t.Errorf("of a pipeline that is being started: %+v", r)
	}
	if r := s.get("/v1/stats/pipelines/" + pipelines[2] + "/logs" + wholeTime); r.status != 200 {
		t.Errorf("a read: %+v", r)
	}
	if n := len(s.Runs("")); n != 4 {
		t.Errorf("%d runs", n)
	}
}

func TestRunCapacityIsGivenBack(t *testing.T) {
	t.Parallel()
	s := start(t, WithRunCapacity(1))
	for range 3 {
		if r := s.run(s.AddPipeline(Pipeline{}).UUID, ""); r.status != 201 {
			t.Errorf("one after the other: %+v", r)
		}
	}
}

func TestStallEndsWithTheClient(t *testing.T) {
	t.Parallel()
	for name, started := range map[string]int{"before": 0, "after": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := s.AddPipeline(Pipeline{})
			s.Inject(Fault{Stall: time.Hour, After: name == "after"})
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/pipelines/"+p.UUID+"/runs/", nil)
				if err == nil {
					request.Header.Set("Authorization", "Bearer "+s.token)
					err = send(&http.Client{Transport: &http.Transport{}}, request).err
				}
				failed <- err
			}()
			eventually(t, "the request stalls", func() bool { return len(s.Requests()) == 1 && len(s.Runs("")) == started })
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if runs := s.Runs(""); len(runs) != started {
				t.Errorf("%d runs, want %d", len(runs), started)
			}
		})
	}
}

func TestCloseDoesNotHang(t *testing.T) {
	t.Parallel()
	s := start(t)
	idle := &http.Client{Transport: &http.Transport{}}
	if response, err := idle.Get(s.URL); err != nil {
		t.Fatal(err)
	} else if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	s.SetLatency(time.Hour)
	failed := make(chan reply)
	go func() { failed <- s.get("/late") }()
	eventually(t, "the request is late", func() bool { return len(s.Requests()) == 2 })
	s.Close()
	s.Close()
	if r := <-failed; r.err == nil {
		t.Errorf("answered: %+v", r)
	}
}
