package ylemtest

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// shown is the rows of a run as letters in order of execution, failures in brackets.
func shown(s *testServer, run string) string {
	var text []string
	for _, r := range s.Rows(run) {
		letter := r.TaskUUID[:1]
		if !r.IsSuccessful {
			letter = "(" + letter + ")"
		}
		text = append(text, letter)
	}
	return strings.Join(text, " ")
}

func TestForEach(t *testing.T) {
	t.Parallel()
	each := func(items int) Task {
		return Task{UUID: id("e"), Type: "for_each", Items: items, After: []string{id("a")}, Duration: ms}
	}
	failure := []TaskError{{Message: "x"}}
	for _, test := range []struct {
		name  string
		tasks []Task
		rows  string
	}{
		{"three items, through a merge", []Task{
			{UUID: id("a"), Duration: ms},
			{UUID: id("b"), Duration: 10 * ms},
			each(3),
			{UUID: id("c"), Duration: ms, After: []string{id("e")}},
			{UUID: id("d"), Type: "merge", Duration: ms, After: []string{id("b"), id("c")}},
			{UUID: id("f"), Duration: ms, After: []string{id("d")}},
		}, "a e c c c b d d d f f f"},
		{"an empty list", []Task{{UUID: id("a")}, each(0), {UUID: id("c"), After: []string{id("e")}}, {UUID: id("d"), After: []string{id("c")}}}, "a e"},
		{"one item", []Task{{UUID: id("a")}, each(1), {UUID: id("c"), Duration: ms, After: []string{id("e")}}}, "a e c"},
		{"the third pass fails", []Task{
			{UUID: id("a")},
			each(3),
			{UUID: id("c"), After: []string{id("e")}, Errors: failure, FailOnPass: 3, Duration: ms},
			{UUID: id("d"), After: []string{id("c")}, Duration: ms},
		}, "a e c c (c) d d"},
		{"every pass fails", []Task{
			{UUID: id("a")},
			each(2),
			{UUID: id("c"), After: []string{id("e")}, Errors: failure, Duration: ms},
			{UUID: id("d"), After: []string{id("c")}},
		}, "a e (c) (c)"},
		{"one in another", []Task{
			{UUID: id("a")},
			each(2),
			{UUID: id("f"), Type: "for_each", Items: 3, After: []string{id("e")}, Duration: ms},
			{UUID: id("c"), After: []string{id("f")}, Duration: ms},
			{UUID: id("d"), After: []string{id("e"), id("c")}, Duration: ms},
		}, "a e f f c c c c c c d d d d d d"},
		{"a failed for-each", []Task{{UUID: id("a")}, {UUID: id("e"), Type: "for_each", Items: 2, Errors: failure}, {UUID: id("c"), After: []string{id("e")}}}, "a (e)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := s.AddPipeline(Pipeline{Tasks: test.tasks})
			run := startedUUID(t, s.run(p.UUID, ""))
			s.clock.advance(time.Minute)
			if got := shown(s, run); got != test.rows {
				t.Errorf("rows %q, want %q", got, test.rows)
			}
			for _, r := range s.Rows(run) {
				if (r.TaskType == "for_each") != (r.TaskUUID == id("e") || r.TaskUUID == id("f") && strings.Contains(test.name, "another")) {
					t.Errorf("type of a row: %+v", r)
				}
			}
		})
	}
}

func TestTaskRunner(t *testing.T) {
	t.Parallel()
	s := start(t, WithTaskRunner())
	long := s.AddPipeline(Pipeline{Tasks: []Task{{UUID: id("1"), Duration: 25 * time.Second}}})
	p := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Duration: time.Second},
		{UUID: id("b"), Duration: time.Second, After: []string{id("a")}},
		{UUID: id("c"), Duration: time.Second, After: []string{id("a")}},
	}})
	began := s.clock.now()
	run := startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(500 * ms)
	blocking := startedUUID(t, s.run(long.UUID, ""))

	for _, step := range []struct {
		at             time.Duration
		rows, blocking string
	}{
		{999 * ms, "", ""},
		{time.Second, "a", ""},
		{26*time.Second - ms, "a", ""},
		{26 * time.Second, "a", "1"},
		{27 * time.Second, "a b", "1"},
		{28 * time.Second, "a b c", "1"},
	} {
		s.clock.advance(step.at - s.clock.now().Sub(began))
		if got := shown(s, run); got != step.rows {
			t.Errorf("after %v: rows %q, want %q", step.at, got, step.rows)
		}
		if got := shown(s, blocking); got != step.blocking {
			t.Errorf("after %v: rows of the other run %q, want %q", step.at, got, step.blocking)
		}
	}
	for _, r := range s.Rows(run) {
		if r.Duration != 1000 {
			t.Errorf("the wait counts as work: %+v", r)
		}
	}

	// What has been seen stays, whatever is added before it.
	before := shown(s, run)
	past := s.AddRun(long.UUID, began.Add(-time.Second))
	s.clock.advance(time.Hour)
	if got := shown(s, run); got != before || shown(s, past.UUID) != "1" {
		t.Errorf("after a run of the past: rows %q and %q, were %q", got, shown(s, past.UUID), before)
	}
}

// Of tasks that are ready at the same time the older run's goes first, so that a start changes nothing that was seen.
func TestTaskRunnerIsFair(t *testing.T) {
	t.Parallel()
	s := start(t, WithTaskRunner())
	pipeline := func(letters string) string {
		var tasks []Task
		for _, letter := range letters {
			task := Task{UUID: id(string(letter)), Duration: time.Second}
			if len(tasks) > 0 {
				task.After = []string{tasks[0].UUID}
			}
			tasks = append(tasks, task)
		}
		return s.AddPipeline(Pipeline{Tasks: tasks}).UUID
	}
	first := startedUUID(t, s.run(pipeline("abc"), ""))
	s.clock.advance(time.Second)
	second := startedUUID(t, s.run(pipeline("d"), ""))
	s.clock.advance(2 * time.Second)
	if shown(s, first) != "a b c" || shown(s, second) != "" {
		t.Errorf("rows %q and %q", shown(s, first), shown(s, second))
	}
	s.clock.advance(time.Second)
	if got := shown(s, second); got != "d" {
		t.Errorf("rows of the second %q", got)
	}
}

func TestTasksRunSideBySide(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{{UUID: id("a"), Duration: time.Second}, {UUID: id("b"), Duration: time.Second}}})
	run, other := startedUUID(t, s.run(p.UUID, "")), startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(time.Second)
	if shown(s, run) != "a b" || shown(s, other) != "a b" {
		t.Errorf("rows %q and %q", shown(s, run), shown(s, other))
	}
}

func TestLargeOutputEndsTheRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	pipeline := func(size int) string {
		return s.AddPipeline(Pipeline{Tasks: []Task{
			{UUID: id("a"), Duration: time.Second},
			{UUID: id("b"), Duration: time.Second, After: []string{id("a")}, Output: bytes.Repeat([]byte("x"), size)},
			{UUID: id("c"), Duration: time.Second, After: []string{id("b")}},
			{UUID: id("d"), Duration: 1500 * ms},
			{UUID: id("e"), Duration: 2500 * ms},
			{UUID: id("f"), Duration: time.Second, After: []string{id("d")}},
		}}).UUID
	}
	fits, large := pipeline(65535), pipeline(65536)
	twice := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Duration: time.Second, Output: make([]byte, 65536)},
		{UUID: id("b"), Duration: time.Second},
		{UUID: id("c"), Duration: 2 * time.Second},
		{UUID: id("d"), Duration: 3 * time.Second, Output: make([]byte, 65536)},
	}}).UUID
	brokenTwice := startedUUID(t, s.run(twice, ""))
	whole, broken := startedUUID(t, s.run(fits, "")), startedUUID(t, s.run(large, ""))
	scheduled := s.AddRun(large, s.clock.now())
	s.clock.advance(time.Hour)
	if got := shown(s, whole); got != "a d b e f c" {
		t.Errorf("at the limit: rows %q", got)
	}
	if got := shown(s, brokenTwice); got != "b" {
		t.Errorf("over the limit twice: rows %q", got)
	}
	if got := shown(s, broken); got != "a d" {
		t.Errorf("over the limit: rows %q", got)
	}
	if got := shown(s, scheduled.UUID); got != "a d b e f c" {
		t.Errorf("not started by the API: rows %q", got)
	}
}

func TestLargeOutputFreesTheTaskRunner(t *testing.T) {
	t.Parallel()
	s := start(t, WithTaskRunner())
	broken := startedUUID(t, s.run(s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Duration: time.Second, Output: make([]byte, 65536)},
		{UUID: id("b"), Duration: time.Second},
		{UUID: id("c"), Duration: time.Hour, After: []string{id("b")}},
	}}).UUID, ""))
	next := startedUUID(t, s.run(s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("d"), Duration: time.Second},
		{UUID: id("e"), Duration: time.Second, After: []string{id("d")}},
	}}).UUID, ""))
	s.clock.advance(4 * time.Second)
	if shown(s, broken) != "" || shown(s, next) != "d e" {
		t.Errorf("rows %q and %q", shown(s, broken), shown(s, next))
	}
}

func TestMergeIsNotLogged(t *testing.T) {
	t.Parallel()
	s := start(t, WithTaskRunner())
	p := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a")},
		{UUID: id("b"), Type: "merge", After: []string{id("a")}, Unended: true},
		{UUID: id("c"), After: []string{id("b")}},
		{UUID: id("d"), Duration: time.Second, After: []string{id("a")}},
	}})
	run := startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(time.Hour)
	if got := shown(s, run); got != "a d" {
		t.Errorf("rows %q", got)
	}
}

func TestTaskClockIsBehind(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{{Duration: time.Second, ClockBehind: 3 * time.Second}}})
	began := s.clock.now()
	run := startedUUID(t, s.run(p.UUID, ""))
	s.clock.advance(time.Second - ms)
	if len(s.Rows(run)) != 0 {
		t.Error("the row is there before its time")
	}
	s.clock.advance(ms)
	if rows := s.Rows(run); len(rows) != 1 || !rows[0].ExecutedAt.Equal(began.Add(-2*time.Second)) {
		t.Errorf("rows %+v", rows)
	}
}

func TestDuplicatesMerge(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{Tasks: []Task{
		{UUID: id("a"), Copies: 3, MergeAfter: 2 * time.Second},
		{UUID: id("b"), VanishAfter: time.Second},
		{UUID: id("c"), Duration: ms},
	}})
	run := startedUUID(t, s.run(p.UUID, ""))
	if n := s.RemoveRows(func(r Row) bool { return r.TaskUUID == id("c") }); n != 0 {
		t.Errorf("removed %d rows that have not come", n)
	}
	rows := func() string {
		body := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + wholeTime).body
		return fmt.Sprintf("%d %d %d", strings.Count(body, id("a")), strings.Count(body, id("b")), strings.Count(body, id("c")))
	}
	for _, step := range []struct {
		after time.Duration
		rows  string
	}{{0, "3 1 0"}, {ms, "3 1 1"}, {time.Second - 2*ms, "3 1 1"}, {ms, "3 0 1"}, {time.Second - ms, "3 0 1"}, {ms, "1 0 1"}, {time.Hour, "1 0 1"}} {
		s.clock.advance(step.after)
		if got := rows(); got != step.rows {
			t.Errorf("rows %s, want %s", got, step.rows)
		}
	}

	// The same by hand.
	row := Row{PipelineRunUUID: run, PipelineUUID: p.UUID, TaskUUID: id("c"), IsSuccessful: true, ExecutedAt: s.clock.now()}
	s.AddRows(row, row, row)
	if got := rows(); got != "1 0 4" {
		t.Errorf("added: rows %s", got)
	}
	if n := s.MergeRows(); n != 2 || rows() != "1 0 2" {
		t.Errorf("merged %d: rows %s", n, rows())
	}
	if n := s.RemoveRows(func(r Row) bool { return r.TaskUUID == id("c") }); n != 2 || rows() != "1 0 0" {
		t.Errorf("removed %d: rows %s", n, rows())
	}
}

func TestRowsOfOtherServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect Dialect
		json    map[string]string
		want    string
	}{
		{OpenSource, map[string]string{"is_successful": "null"}, `{"pipeline_run_uuid":"{run}","task_uuid":"{task}","task_type":"query","is_successful":null,"duration":7,"output":"eA==","metric_value":0,"executed_at":"2026-11-23T11:05:59.5Z"}`},
		{OpenSource, map[string]string{"is_successful": ""}, `{"pipeline_run_uuid":"{run}","task_uuid":"{task}","task_type":"query","duration":7,"output":"eA==","metric_value":0,"executed_at":"2026-11-23T11:05:59.5Z"}`},
		{OpenSource, map[string]string{"duration": "1.5", "task_uuid": `""`}, `{"pipeline_run_uuid":"{run}","task_uuid":"","task_type":"query","is_successful":true,"duration":1.5,"output":"eA==","metric_value":0,"executed_at":"2026-11-23T11:05:59.5Z"}`},
		{Reference, map[string]string{"executed_at": `"0000-00-00 00:00:00"`, "more": "[1]"}, `{"workflow_run_uuid":"{run}","task_uuid":"{task}","task_type":"query","is_successful":true,"duration":7,"output":"eA==","metric_value":0,"executed_at":"0000-00-00 00:00:00","more":[1]}`},
		{OpenSource, map[string]string{"duration": "NaN"}, `{"pipeline_run_uuid":"{run}","task_uuid":"{task}","task_type":"query","is_successful":true,"duration":NaN,"output":"eA==","metric_value":0,"executed_at":"2026-11-23T11:05:59.5Z"}`},
	} {
		t.Run(fmt.Sprint(test.json), func(t *testing.T) {
			t.Parallel()
			s := start(t, WithDialect(test.dialect))
			// One that is added, and one that a run reports.
			added, own := id("a"), id("b")
			s.AddRows(Row{PipelineRunUUID: id("d"), PipelineUUID: added, TaskUUID: id("c"), IsSuccessful: true, Duration: 7, Output: []byte("x"), ExecutedAt: s.clock.now().Add(500 * ms), JSON: test.json})
			s.AddPipeline(Pipeline{UUID: own, Tasks: []Task{{UUID: id("c"), Duration: 7 * ms, Output: []byte("x"), JSON: test.json}}})
			run := s.AddRun(own, s.clock.now().Add(493*ms))
			s.clock.advance(time.Second)
			for pipeline, runUUID := range map[string]string{added: id("d"), own: run.UUID} {
				want := "[" + strings.NewReplacer("{run}", runUUID, "{task}", id("c")).Replace(test.want) + "]"
				if r := s.get("/v1/stats/pipelines/" + pipeline + "/logs" + wholeTime); r.body != want || r.status != http.StatusOK {
					t.Errorf("log %+v\nwant %s", r, want)
				}
			}
		})
	}
}

// A row has a fraction of a second, and a window has not.
func TestWindowMissesTheFraction(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddPipeline(Pipeline{})
	s.AddRows(Row{PipelineUUID: p.UUID, IsSuccessful: true, ExecutedAt: s.clock.now().Add(123456 * time.Microsecond)})
	s.clock.advance(time.Minute)
	for to, rows := range map[string]int{"11:05:58": 0, "11:05:59": 0, "11:05:59.999999": 0, "11:06:00": 1} {
		window := "/2026-11-23%2000:00:00/2026-11-23%20" + to
		if r := s.get("/v1/stats/pipelines/" + p.UUID + "/logs" + window); strings.Count(r.body, "executed_at") != rows {
			t.Errorf("to %s: %+v, want %d rows", to, r, rows)
		}
		if r := s.get("/v1/stats/pipelines/" + p.UUID + "/stats" + window); !strings.HasPrefix(r.body, fmt.Sprintf(`{"num_of_successes":%d,`, rows)) {
			t.Errorf("to %s: %+v, want %d successes", to, r, rows)
		}
	}
}
