package provider

import (
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

func TestStats(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		h := newHistory(t, dialect)
		p := h.connect(t, nil)
		for what, test := range map[string]struct {
			dataSource string
			arguments  object
			want       object
		}{
			// Ylem counts failed tasks: the second run has one, and counts as a failure for it.
			"pipeline": {"ylem_pipeline_stats", h.window(nil), object{
				"num_of_successes": 1, "num_of_failures": 1, "average_duration": 1000,
				"is_last_run_successful": false, "last_run_executed_at": "2024-06-05T08:00:00Z", "last_run_duration": 500,
			}},
			"task that succeeded": {"ylem_task_stats", h.taskWindow(h.extract), object{
				"num_of_successes": 2, "num_of_failures": 0, "average_duration": 650,
				"is_last_run_successful": true, "last_run_executed_at": "2024-06-05T08:00:00Z", "last_run_duration": 300,
			}},
			"task that failed": {"ylem_task_stats", h.taskWindow(h.load), object{
				"num_of_successes": 1, "num_of_failures": 1, "average_duration": 350,
				"is_last_run_successful": false, "last_run_executed_at": "2024-06-05T08:00:00Z", "last_run_duration": 200,
			}},
			"nothing in the window, but before": {"ylem_pipeline_stats", h.window(object{"from": "2024-06-02", "to": "2024-06-03"}), object{
				"num_of_successes": 0, "num_of_failures": 0, "average_duration": 0,
				"is_last_run_successful": true, "last_run_executed_at": "2024-06-01T08:00:01Z", "last_run_duration": 1500,
			}},
			"pipeline that had not run yet": {"ylem_pipeline_stats", h.window(object{"from": "2024-05-01", "to": "2024-05-31"}), neverRan},
			"pipeline that does not exist":  {"ylem_pipeline_stats", h.window(object{"pipeline_uuid": ylemtest.NewUUID()}), neverRan},
			"task that does not exist":      {"ylem_task_stats", h.taskWindow(ylemtest.NewUUID()), neverRan},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				p.mustRead(t, test.dataSource, test.arguments).expect(t, test.want)
			})
		}
		if n := h.count(ylemtest.RouteToken); n != 1 {
			t.Errorf("%s: %d tokens", name, n)
		}
	}
}

// Ylem's counts of a pipeline go wrong where more tasks failed than there were runs. The sandbox counts as it does.
func TestStatsThatAreWrong(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	run := ylemtest.NewUUID()
	day := past.AddDate(0, 0, 1)
	for _, task := range []string{h.extract, h.load} {
		h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, PipelineRunUUID: run, TaskUUID: task, ExecutedAt: day})
	}
	p := h.connect(t, nil)
	says := []string{"statistics are wrong", h.pipeline, "ylem_pipeline_logs", "2024-06-02"}
	state, diags := p.read(t, "ylem_pipeline_stats", h.window(object{"from": "2024-06-02", "to": "2024-06-03"}))
	diags.expectWarning(t, "pipeline_uuid", append(says, "0 successes and 0 failures", "2024-06-02T08:00:00Z", "a task of it failed")...)
	state.expect(t, object{"num_of_failures": 0, "is_last_run_successful": false})

	arguments := object{"pipeline_uuid": h.pipeline, "date_from": "2024-06-01", "period": "day", "number_of_periods": 7}
	state, diags = p.read(t, "ylem_pipeline_aggregated_stats", arguments)
	diags.expectWarning(t, "pipeline_uuid", says...)
	if strings.Contains(diags.String(), "2024-06-01") || strings.Contains(diags.String(), "2024-06-05") {
		t.Errorf("names a day whose numbers may be right:%s", diags)
	}
	if n := len(state.list(t, "stats")); n != 3 {
		t.Errorf("%d periods", n)
	}

	// Ylem counts a task's runs in another way, which the warning would not explain.
	h.Inject(
		ylemtest.Fault{Route: ylemtest.RouteStats, Body: `{"num_of_successes":0,"num_of_failures":0,"last_run_executed_at":"2024-06-02 08:00:00"}`},
		ylemtest.Fault{Route: ylemtest.RouteAggregatedStats, Body: `[{"date_from":"2024-06-02 00:00:00","date_to":"2024-06-02 23:59:59"}]`},
	)
	p.mustRead(t, "ylem_task_stats", h.taskWindow(h.load)).expect(t, object{"num_of_failures": 0})
	p.mustRead(t, "ylem_task_aggregated_stats", object{"task_uuid": h.load, "date_from": "2024-06-01", "period": "day", "number_of_periods": 7})
}

// Only what contradicts itself is called wrong.
func TestImpossibleStats(t *testing.T) {
	t.Parallel()
	w := window{past, past.Add(24 * time.Hour)}
	within, before, never := past.Add(time.Hour), past.Add(-time.Second), time.Time{}
	for name, test := range map[string]struct {
		stats ylem.Stats
		w     window
		want  bool
	}{
		"nothing ran":                      {ylem.Stats{LastRunExecutedAt: never}, w, false},
		"nothing in the window":            {ylem.Stats{LastRunExecutedAt: before}, w, false},
		"a success":                        {ylem.Stats{NumOfSuccesses: 1, LastRunExecutedAt: within, IsLastRunSuccessful: true}, w, false},
		"a failure":                        {ylem.Stats{NumOfFailures: 1, LastRunExecutedAt: within}, w, false},
		"a failure, then a good last task": {ylem.Stats{NumOfFailures: 1, LastRunExecutedAt: within, IsLastRunSuccessful: true}, w, false},
		"at the very beginning":            {ylem.Stats{NumOfSuccesses: 1, LastRunExecutedAt: w.from, IsLastRunSuccessful: true}, w, false},
		"perhaps after the end":            {ylem.Stats{LastRunExecutedAt: w.to}, w, false},
		"from the year 0":                  {ylem.Stats{LastRunExecutedAt: within}, window{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), w.to}, false},

		"none, but the last run is within":  {ylem.Stats{LastRunExecutedAt: within, IsLastRunSuccessful: true}, w, true},
		"none, the last at the beginning":   {ylem.Stats{LastRunExecutedAt: w.from, IsLastRunSuccessful: true}, w, true},
		"no failure, but the last failed":   {ylem.Stats{NumOfSuccesses: 5, LastRunExecutedAt: within}, w, true},
		"some, but the last run was before": {ylem.Stats{NumOfSuccesses: 1, LastRunExecutedAt: before}, w, true},
		"some, but nothing ever ran":        {ylem.Stats{NumOfFailures: 310, LastRunExecutedAt: never}, w, true},
		"less than none":                    {ylem.Stats{NumOfSuccesses: -1, NumOfFailures: 2, LastRunExecutedAt: within}, w, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := impossible(test.stats, test.w); got != test.want {
				t.Errorf("impossible: %t, want %t", got, test.want)
			}
		})
	}
}

// Never is null, and neither the year 1 nor a failure.
var neverRan = object{
	"num_of_successes": 0, "num_of_failures": 0, "average_duration": 0,
	"is_last_run_successful": nil, "last_run_executed_at": nil, "last_run_duration": nil,
}

func TestAggregatedStats(t *testing.T) {
	t.Parallel()
	element := func(from, to string, successes, failures, average int) object {
		return object{
			"date_from": from, "date_to": to,
			"num_of_successes": successes, "num_of_failures": failures, "average_duration": average,
		}
	}
	for name, dialect := range dialects {
		h := newHistory(t, dialect)
		p := h.connect(t, nil)
		for what, test := range map[string]struct {
			dataSource string
			arguments  object
			want       []object
		}{
			"days": {"ylem_pipeline_aggregated_stats", object{"period": "day", "number_of_periods": 7}, []object{
				element("2024-06-01T00:00:00Z", "2024-06-01T23:59:59Z", 1, 0, 1500),
				element("2024-06-05T00:00:00Z", "2024-06-05T23:59:59Z", 0, 1, 500),
			}},
			"weeks begin on Monday": {"ylem_pipeline_aggregated_stats", object{"period": "week", "number_of_periods": 2}, []object{
				element("2024-05-27T00:00:00Z", "2024-06-02T23:59:59Z", 1, 0, 1500),
				element("2024-06-03T00:00:00Z", "2024-06-09T23:59:59Z", 0, 1, 500),
			}},
			"month": {"ylem_pipeline_aggregated_stats", object{"period": "month", "number_of_periods": 12}, []object{
				element("2024-06-01T00:00:00Z", "2024-06-30T23:59:59Z", 1, 1, 1000),
			}},
			"quarter": {"ylem_task_aggregated_stats", object{"period": "quarter", "number_of_periods": 1}, []object{
				element("2024-04-01T00:00:00Z", "2024-06-30T23:59:59Z", 2, 0, 650),
			}},
			"year, from a time of day with an offset": {
				"ylem_task_aggregated_stats",
				object{"date_from": "2024-01-01T23:30:00-05:00", "period": "year", "number_of_periods": 1},
				[]object{element("2024-01-01T00:00:00Z", "2024-12-31T23:59:59Z", 2, 0, 650)},
			},
			"nothing in the window": {"ylem_pipeline_aggregated_stats", object{"date_from": "2020-01-01", "period": "day", "number_of_periods": 7}, []object{}},
			"never ran":             {"ylem_task_aggregated_stats", object{"task_uuid": ylemtest.NewUUID(), "period": "day", "number_of_periods": 7}, []object{}},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				d := dataSources[test.dataSource]
				arguments := object{"date_from": "2024-06-01", d.attribute: h.uuidOf(test.dataSource)}.with(test.arguments)
				state := p.mustRead(t, test.dataSource, arguments)
				state.expect(t, object{"stats": test.want, "date_from": arguments["date_from"]})
			})
		}
	}
}

// Many periods, which the sandbox never answers in their order.
func TestAggregatedStatsAreSorted(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	for day := range 60 {
		h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, IsSuccessful: true, ExecutedAt: past.AddDate(0, -3, day)})
	}
	state := h.connect(t, nil).mustRead(t, "ylem_pipeline_aggregated_stats",
		object{"pipeline_uuid": h.pipeline, "date_from": "2024-03-01", "period": "day", "number_of_periods": 60})
	stats := state.list(t, "stats")
	if len(stats) != 60 {
		t.Fatalf("%d elements", len(stats))
	}
	for i, from := range column(stats, "date_from") {
		if want := past.AddDate(0, -3, i).Truncate(24 * time.Hour).Format(time.RFC3339); from != want {
			t.Errorf("element %d: %v, want %s", i, from, want)
		}
	}
}

// The dialects exclude each other in the form of date_from. The token's scope gives the reference away; where it
// does not, the one form is tried and then the other, and what worked is remembered.
func TestFormOfDateFrom(t *testing.T) {
	t.Parallel()
	const (
		dateTime = "/2024-06-01%2000:00:00/day/7"
		bare     = "/2024-06-01/day/7"
	)
	for name, test := range map[string]struct {
		dialect       ylemtest.Dialect
		scopes        any
		first, second []string // the paths' ends in the first and the second read
	}{
		"open source":                     {ylemtest.OpenSource, nil, []string{dateTime}, []string{dateTime}},
		"open source, one scope":          {ylemtest.OpenSource, []string{"stats:read"}, []string{dateTime}, []string{dateTime}},
		"reference":                       {ylemtest.Reference, nil, []string{bare}, []string{bare}},
		"reference, scope without a sign": {ylemtest.Reference, []string{"stats:read"}, []string{dateTime, bare}, []string{bare}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, test.dialect)
			p := h.connect(t, object{"scopes": test.scopes})
			for i, want := range [][]string{test.first, test.second} {
				h.ResetRequests()
				dataSource := []string{"ylem_pipeline_aggregated_stats", "ylem_task_aggregated_stats"}[i]
				d := dataSources[dataSource]
				p.mustRead(t, dataSource, d.arguments.with(object{d.attribute: h.uuidOf(dataSource)}))
				requests := h.Requests(ylemtest.RouteAggregatedStats)
				if len(requests) != len(want) {
					t.Fatalf("read %d: %d requests, want %d", i, len(requests), len(want))
				}
				for j, r := range requests {
					if !strings.HasSuffix(r.Path, want[j]) {
						t.Errorf("read %d: sent %s, want it to end in %s", i, r.Path, want[j])
					}
				}
			}
		})
	}
}

// A fault that has nothing to do with the date's form is reported once, with what Ylem said to the first form.
func TestAggregatedStatsOfAnotherFault(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	// Version 1 of UUIDs: Ylem itself never makes one, and refuses it on this route only.
	uuid := "b3a1f0c4-52d7-1a8e-9c1b-7e6d5f4a3b2c"
	_, diags := h.connect(t, nil).read(t, "ylem_pipeline_aggregated_stats",
		object{"pipeline_uuid": uuid, "date_from": "2024-06-01", "period": "day", "number_of_periods": 7})
	diags.expectError(t, "pipeline_uuid", "Ylem refused the request", uuid, "400 Bad Request", "must be a valid UUID v4")
	if strings.Contains(diags.String(), "parsing time") {
		t.Errorf("blames the date:%s", diags)
	}
}

func TestLastRun(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		h := newHistory(t, dialect)
		p := h.connect(t, nil)
		t.Run(name+", pipeline", func(t *testing.T) {
			p.mustRead(t, "ylem_pipeline_last_run", object{"pipeline_uuid": h.pipeline}).
				expect(t, object{"is_successful": false, "executed_at": "2024-06-05T08:00:00Z", "duration": 500})
		})
		t.Run(name+", task", func(t *testing.T) {
			p.mustRead(t, "ylem_task_last_run", object{"task_uuid": h.extract}).
				expect(t, object{"is_successful": true, "executed_at": "2024-06-05T08:00:00Z", "duration": 300})
		})
		// Ylem gives the same answer for all of these, and a first apply must not fail for it.
		for what, uuid := range map[string]string{
			"never ran": h.AddPipeline(ylemtest.Pipeline{}).UUID, "unknown": ylemtest.NewUUID(), "of another organization": h.foreign,
		} {
			for _, dataSource := range []string{"ylem_pipeline_last_run", "ylem_task_last_run"} {
				t.Run(name+", "+dataSource+" "+what, func(t *testing.T) {
					attribute := dataSources[dataSource].attribute
					state, diags := p.read(t, dataSource, object{attribute: uuid})
					diags.expectWarning(t, attribute, "No last run", uuid, "never ran", "does not exist", "different organization", "null",
						strings.TrimSuffix(attribute, "_uuid"))
					state.expect(t, object{attribute: uuid, "is_successful": nil, "executed_at": nil, "duration": nil})
				})
			}
		}
	}
}

// A run that lies ahead by a clock that is wrong elsewhere has not happened.
func TestLastRunOfTheFuture(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	pipeline := h.AddPipeline(ylemtest.Pipeline{}).UUID
	h.AddRows(ylemtest.Row{PipelineUUID: pipeline, IsSuccessful: true, ExecutedAt: now.Add(time.Hour)})
	state, diags := h.connect(t, nil).read(t, lastRun, object{"pipeline_uuid": pipeline})
	diags.expectWarning(t, "pipeline_uuid", "No last run")
	state.expect(t, object{"is_successful": nil})
}
