package ylemtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// wholeTime is the window of the log that holds all runs of a test.
const wholeTime = "/2020-01-01%2000:00:00/2030-01-01%2000:00:00"

func startedUUID(t *testing.T, r reply) string {
	t.Helper()
	var run struct {
		UUID string `json:"pipeline_run_uuid"`
	}
	if err := json.Unmarshal([]byte(r.body), &run); err != nil || r.status != http.StatusCreated {
		t.Fatalf("run: %+v", r)
	}
	return run.UUID
}

func taskUUIDs(rows []Row) []string {
	var uuids []string
	for _, r := range rows {
		uuids = append(uuids, r.TaskUUID[:1])
	}
	return uuids
}

// id is a UUID that begins with a letter, to distinguish tasks by.
func id(letter string) string { return letter + "0000000-0000-4000-8000-000000000000" }

func TestRunProgresses(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Duration: 100 * ms},
		{UUID: id("b"), Duration: 50*ms + 1500*time.Nanosecond, After: []string{id("a")}},
		{UUID: id("c"), Duration: 10 * ms, After: []string{strings.ToUpper(id("a"))}, Errors: []TaskError{{Message: "no <table>"}}},
		{UUID: id("d"), After: []string{id("c")}},
		{UUID: id("e"), After: []string{id("a"), id("b")}, Type: "aggregator", Metric: 2.5, Output: []byte("unseen")},
		{UUID: id("f"), Duration: 30 * ms, Repeat: 3, ReportDelay: time.Second},
		{UUID: id("0"), Inactive: true},
		{UUID: id("1"), Unended: true},
		{UUID: id("2"), After: []string{id("1")}},
		{UUID: id("3"), After: []string{id("3")}},
	}})
	started := s.clock.now()
	run := startedUUID(t, s.run(p.UUID, ""))

	for _, step := range []struct {
		after time.Duration
		tasks string
	}{
		{0, ""},
		{99 * ms, ""},
		{1 * ms, "a"},
		{10 * ms, "a c"},
		{40 * ms, "a c"},
		{1 * ms, "a c b e"},
		{time.Second, "f f f a c b e"},
		{time.Hour, "f f f a c b e"},
	} {
		s.clock.advance(step.after)
		rows := s.Rows(run)
		if got := strings.Join(taskUUIDs(rows), " "); got != step.tasks {
			t.Errorf("after %v: tasks %q, want %q", s.clock.now().Sub(started), got, step.tasks)
		}
	}

	rows := s.Rows(run)
	last := rows[len(rows)-1]
	if last.Output != nil || last.MetricValue != 2.5 || last.Duration != 0 {
		t.Errorf("metric %+v", last)
	}
	if want := started.Add(150*ms + time.Microsecond); !last.ExecutedAt.Equal(want) {
		t.Errorf("executed at %v, want %v", last.ExecutedAt, want)
	}
	if failed := rows[4]; failed.IsSuccessful || string(failed.Output) != `[{"Code":200,"Severity":"error","Message":"no \u003ctable\u003e"}]` {
		t.Errorf("failed %+v %s", failed, failed.Output)
	}
	for i, r := range rows[:3] {
		if want := started.Add(time.Duration(i+1) * 10 * ms); r.Duration != 10 || !r.ExecutedAt.Equal(want) {
			t.Errorf("row %d of the for-each: %+v", i, r)
		}
	}
	body := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime).body
	if n := strings.Count(body, run); n != len(rows) {
		t.Errorf("%d rows in the log, want %d: %s", n, len(rows), body)
	}
}

func TestRunInput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, input, testData, output string }{
		{"none", "", "test", "null"},
		{"empty object", "{}", "test", "test"},
		{"empty object without test data", "{}", "", ""},
		{"verbatim", "{ \"a\":\t1}\n\x00\xff", "test", "{ \"a\":\t1}\n\x00\xff"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := s.AddPipeline(Pipeline{Tasks: []Task{{Type: "external_trigger", Output: []byte(test.testData)}}})
			run := startedUUID(t, s.run(p.UUID, test.input))
			if got := string(s.Rows(run)[0].Output); got != test.output {
				t.Errorf("output %q, want %q", got, test.output)
			}
			want := `"output":"` + base64.StdEncoding.EncodeToString([]byte(test.output)) + `"`
			if body := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime).body; !strings.Contains(body, want) {
				t.Errorf("log %s, want %s", body, want)
			}
			if runs := s.Runs(p.UUID); len(runs) != 1 || runs[0].UUID != run || string(runs[0].Input) != test.input {
				t.Errorf("runs %+v", runs)
			}
		})
	}
}

func TestRunOfThePast(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Paused: true})
	past := s.AddRun(p.UUID, s.clock.now().Add(-time.Hour))
	future := s.AddRun(p.UUID, s.clock.now().Add(time.Hour))
	if len(s.Rows(past.UUID)) != 1 || len(s.Rows(future.UUID)) != 0 {
		t.Error("want the rows of the past run only")
	}
	if runs := s.Runs(""); runs != nil {
		t.Errorf("runs by request: %+v", runs)
	}
	s.clock.advance(2 * time.Hour)
	if len(s.Rows(future.UUID)) != 1 {
		t.Error("want the row of the run that was in the future")
	}
}

func TestUpdatePipeline(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	run := startedUUID(t, s.run(p.UUID, ""))
	s.UpdatePipeline(p.UUID, func(p *Pipeline) {
		p.Paused = true
		p.Tasks[0].Errors = []TaskError{{Message: "x"}}
	})
	if r := s.run(p.UUID, ""); r.status != http.StatusForbidden || r.header.Get("Content-Type") == "" {
		t.Errorf("paused: %+v", r)
	}
	s.clock.advance(time.Second)
	if rows := s.Rows(run); len(rows) != 1 || !rows[0].IsSuccessful {
		t.Errorf("the run that had started: %+v", rows)
	}
	s.UpdatePipeline(p.UUID, func(p *Pipeline) { p.Paused = false })
	run = startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(time.Second)
	if rows := s.Rows(run); len(rows) != 1 || rows[0].IsSuccessful {
		t.Errorf("the run after: %+v", rows)
	}
}

func TestStatisticsFollowRuns(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	lastRun := "/v1/stats/pipelines/" + p.UUID + "/last-run/stats"
	startedUUID(t, s.run(p.UUID, ""))
	if r := s.get(lastRun); r.status != http.StatusForbidden {
		t.Errorf("before the end: %+v", r)
	}
	s.clock.advance(20 * ms)
	if r := s.get(lastRun); r.body != `{"is_successful":true,"duration":20,"executed_at":"2026-11-23 11:05:59"}` {
		t.Errorf("after the end: %+v", r)
	}
}

func TestMetricThatIsNoNumber(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	s.AddRows(Row{PipelineUUID: p.UUID, MetricValue: math.NaN(), ExecutedAt: s.clock.now()})
	r := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime)
	if r.status != http.StatusInternalServerError || r.body != `{"code":500,"message":"Internal error"}`+"\n" {
		t.Errorf("%+v", r)
	}
}

func TestManyRows(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	rows := make([]Row, 100_000)
	now := s.clock.now()
	for i := range rows {
		rows[i] = Row{
			PipelineRunUUID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i),
			PipelineUUID:    p.UUID,
			TaskUUID:        p.Tasks[0].UUID,
			ExecutedAt:      now.Add(time.Duration(-i) * time.Second),
		}
	}
	s.AddRows(rows...)
	began := time.Now()
	r := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime)
	t.Logf("%d bytes in %v", len(r.body), time.Since(began))
	if n := strings.Count(r.body, `"executed_at":`); n != len(rows) {
		t.Errorf("%d rows", n)
	}
	newest := now.Format(time.RFC3339)
	if first, _, _ := strings.Cut(r.body, "}"); !strings.Contains(first, newest) {
		t.Errorf("first %s, want that of %s", first, newest)
	}
}

func TestAggregatedStatsHaveNoOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		s.AddRun(p.UUID, day.AddDate(0, i, 0))
	}
	orders := map[string]bool{}
	for range 50 {
		r := s.get("/v1/stats/pipelines/" + p.UUID + "/aggregated-stats/2026-01-01%2000:00:00/month/3")
		var list []aggregatedElement
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list) != 3 {
			t.Fatalf("%+v", r)
		}
		if list[0].DateFrom < list[1].DateFrom && list[1].DateFrom < list[2].DateFrom {
			t.Error("in the order of time")
		}
		orders[r.body] = true
	}
	if len(orders) < 2 {
		t.Error("always the same order")
	}
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		unit               period
		from, start, after string // after = from plus one
	}{
		{unitDay, "2024-02-29", "2024-02-29", "2024-03-01"},
		{unitWeek, "2024-01-07", "2024-01-01", "2024-01-14"},
		{unitWeek, "2024-01-08", "2024-01-08", "2024-01-15"},
		{unitMonth, "2024-01-31", "2024-01-01", "2024-02-29"},
		{unitQuarter, "2024-11-30", "2024-10-01", "2025-02-28"},
		{unitYear, "2024-02-29", "2024-01-01", "2025-02-28"},
	} {
		from, err := time.Parse(dateLayout, test.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.unit.start(from).Format(dateLayout); got != test.start {
			t.Errorf("%s of %s starts %s, want %s", test.unit, test.from, got, test.start)
		}
		if got := test.unit.add(from, 1).Format(dateLayout); got != test.after {
			t.Errorf("%s and a %s is %s, want %s", test.from, test.unit, got, test.after)
		}
	}
}
