package ylemtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const forbiddenJSON = `{"code":403,"message":"Forbidden"}` + "\n"

// statsPaths is every route that a lost session or ClickHouse concerns.
func statsPaths(pipeline, task string) []string {
	var paths []string
	for _, subject := range []string{"/v1/stats/pipelines/" + pipeline, "/v1/stats/tasks/" + task} {
		paths = append(paths, subject+"/stats"+wholeTime, subject+"/last-run/stats", subject+"/aggregated-stats/2020-01-01%2000:00:00/year/10")
	}
	return append(paths, "/v1/stats/pipelines/"+pipeline+"/logs"+wholeTime, "/v1/stats/pipelines/"+pipeline+"/last-runs-log"+wholeTime)
}

func TestLostSessions(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	s.AddRun(p.UUID, s.clock.now().Add(-time.Hour))
	paths := statsPaths(p.UUID, p.Tasks[0].UUID)
	expect := func(when string, status int) {
		t.Helper()
		for _, path := range paths {
			if r := s.get(path); r.status != status || status == 403 && (r.body != forbiddenJSON || r.header.Get("Content-Type") != "application/json; charset=utf-8") {
				t.Errorf("%s: %s: %+v, want %d", when, path, r, status)
			}
		}
		startedUUID(t, s.run(p.UUID, ""))
	}
	expect("before", 200)
	s.LoseSessions()
	expect("with the old token", 403)
	s.token, _ = getToken(t, s.Server, s.client, "")
	expect("with a new token", 200)
	s.LoseSessions()
	s.ExpireTokens()
	if r := s.get(paths[0]); r.status != 401 {
		t.Errorf("expired and lost: %+v", r)
	}
	s.token, _ = getToken(t, s.Server, s.client, scopeRun)
	s.LoseSessions()
	if r := s.get(paths[0]); r.status != 403 || r.body != "" {
		t.Errorf("without the scope: %+v", r)
	}
}

func TestClickHouseIsDown(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Duration: time.Second},
		{UUID: id("b"), Duration: time.Second, After: []string{id("a")}},
		{UUID: id("c"), Duration: time.Second, After: []string{id("b")}},
		{UUID: id("d"), Duration: time.Second, After: []string{id("c")}, ReportDelay: time.Minute},
	}})
	run := startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(1500 * ms)
	path := "/v1/stats/pipelines/" + p.UUID
	s.StopClickHouse()
	s.StopClickHouse()
	for path, want := range map[string]string{
		path + "/logs" + wholeTime:                               "[]",
		path + "/stats" + wholeTime:                              `{"num_of_successes":0,"num_of_failures":0,"average_duration":0,"is_last_run_successful":false,"last_run_duration":0,"last_run_executed_at":"0001-01-01 00:00:00"}`,
		path + "/aggregated-stats/2020-01-01%2000:00:00/year/10": "null",
		path + "/last-run/stats":                                 forbiddenJSON,
	} {
		if r := s.get(path); r.body != want || (r.status == 200) == (want == forbiddenJSON) {
			t.Errorf("down: %s: %+v", path, r)
		}
	}
	if r := s.get(path + "/logs/x/y"); r.status != 400 {
		t.Errorf("down, with a bad window: %+v", r)
	}
	startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(time.Second)
	s.StartClickHouse()
	s.StartClickHouse()
	if got := shown(s, run); got != "a" {
		t.Errorf("up again: rows %q", got)
	}
	s.clock.advance(time.Hour)
	if got := shown(s, run); got != "a c d" {
		t.Errorf("in the end: rows %q", got)
	}
	if n := strings.Count(s.get(path+"/logs"+wholeTime).body, run); n != 3 {
		t.Errorf("%d rows in the log", n)
	}
}

func TestSchedulerIsDown(t *testing.T) {
	t.Parallel()
	for _, options := range [][]Option{nil, {WithTaskRunner()}} {
		t.Run(fmt.Sprint(len(options)), func(t *testing.T) {
			t.Parallel()
			s := start(t, options...)
			p := s.AddPipeline(Pipeline{Tasks: []Task{
				{UUID: id("a"), Duration: time.Second},
				{UUID: id("b"), Duration: time.Second, After: []string{id("a")}},
				{UUID: id("c"), Duration: time.Second, After: []string{id("b")}},
			}})
			before := startedUUID(t, s.run(p.UUID, ""))
			s.clock.advance(1500 * ms)
			s.StopScheduler()
			s.StopScheduler()
			during := startedUUID(t, s.run(p.UUID, ""))
			s.clock.advance(time.Hour)
			if shown(s, before) != "a b" || shown(s, during) != "" {
				t.Errorf("down: rows %q and %q", shown(s, before), shown(s, during))
			}
			s.StartScheduler()
			s.StartScheduler()
			if shown(s, before) != "a b" || shown(s, during) != "" {
				t.Errorf("at the start: rows %q and %q", shown(s, before), shown(s, during))
			}
			s.clock.advance(time.Minute)
			if shown(s, before) != "a b c" || shown(s, during) != "a b c" {
				t.Errorf("up again: rows %q and %q", shown(s, before), shown(s, during))
			}
			after := startedUUID(t, s.run(p.UUID, ""))
			s.clock.advance(3 * time.Second)
			if got := shown(s, after); got != "a b c" {
				t.Errorf("a run after that: rows %q", got)
			}
		})
	}
}

// A row that was seen is not reported again, though its task was ready when the scheduler stopped.
func TestSchedulerStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{{UUID: id("a")}, {UUID: id("b"), After: []string{id("a")}, Duration: ms}}})
	run := startedUUID(t, s.run(p.UUID, ""))
	s.StopScheduler()
	s.clock.advance(time.Second)
	if got := shown(s, run); got != "a" {
		t.Errorf("down: rows %q", got)
	}
	s.StartScheduler()
	s.clock.advance(time.Second)
	if got := shown(s, run); got != "a b" {
		t.Errorf("up again: rows %q", got)
	}
}

// A count that would be negative shows what is left over from other requests.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	s := start(t)
	failure := []TaskError{{Message: "x"}}
	p := s.AddPipeline(Pipeline{Tasks: []Task{{Duration: 1530 * ms, Errors: failure}, {Errors: failure}}})
	s.AddRun(p.UUID, s.clock.now().Add(-time.Hour))
	const last = `"is_last_run_successful":false,"last_run_duration":1530,"last_run_executed_at":"2026-11-23 10:06:00"}`
	expect := func(successes, failures, average int) {
		t.Helper()
		counts := fmt.Sprintf(`"num_of_successes":%d,"num_of_failures":%d,"average_duration":%d`, successes, failures, average)
		if r := s.get("/v1/stats/pipelines/" + p.UUID + "/stats" + wholeTime); r.body != "{"+counts+","+last {
			t.Errorf("stats %+v\nwant %s", r, counts)
		}
		want := `[{"date_from":"2026-01-01 00:00:00","date_to":"2026-12-31 23:59:59",` + counts + `}]`
		if r := s.get("/v1/stats/pipelines/" + p.UUID + "/aggregated-stats/2026-01-01%2000:00:00/year/1"); r.body != want {
			t.Errorf("aggregated stats %+v\nwant %s", r, want)
		}
	}
	expect(0, 0, 0)
	s.SetLeftovers(310, 26)
	expect(0, 310, 26)
	if r := s.get("/v1/stats/tasks/" + p.Tasks[0].UUID + "/stats" + wholeTime); !strings.HasPrefix(r.body, `{"num_of_successes":0,"num_of_failures":1,"average_duration":1530,`) {
		t.Errorf("of a task: %+v", r)
	}
}
