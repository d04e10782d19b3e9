package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// dialects are both forms of the API; nothing in a configuration says which one it talks to.
var dialects = map[string]ylemtest.Dialect{"open source": ylemtest.OpenSource, "reference": ylemtest.Reference}

// now is the sandbox's time where a test reads the past.
var (
	now  = time.Date(2024, 6, 5, 12, 0, 0, 0, time.UTC)
	past = time.Date(2024, 6, 1, 8, 0, 0, 0, time.UTC)
)

func withNow() ylemtest.Option { return ylemtest.WithClock(func() time.Time { return now }) }

// history is a pipeline of two tasks that ran twice: all went well on 1 June, and the load failed on 5 June.
type history struct {
	*sandbox
	pipeline, extract, load string
	good, failed            string // the runs
	foreign                 string // a pipeline of another organization, which ran too
}

// failedRun is the newer of the two.
const failedRun = "95295cbc-cee7-49cc-a11a-2f1788423934"

const loadError = "table \"orders\" does not exist"

func newHistory(t *testing.T, dialect ylemtest.Dialect) *history {
	t.Helper()
	h := &history{
		sandbox: newSandbox(t, ylemtest.WithDialect(dialect), withNow()),
		extract: ylemtest.NewUUID(), load: ylemtest.NewUUID(), good: ylemtest.NewUUID(), failed: failedRun,
	}
	h.pipeline = h.AddPipeline(ylemtest.Pipeline{}).UUID
	h.foreign = h.AddPipeline(ylemtest.Pipeline{Organization: "others"}).UUID
	failure, err := json.Marshal([]map[string]any{{"Code": 200, "Severity": "error", "Message": loadError}})
	if err != nil {
		t.Fatal(err)
	}
	second := time.Date(2024, 6, 5, 8, 0, 0, 0, time.UTC)
	h.AddRows(
		ylemtest.Row{
			PipelineUUID: h.pipeline, PipelineRunUUID: h.good, TaskUUID: h.extract, TaskType: "query", IsSuccessful: true,
			Duration: 1000, Output: []byte(`[{"amount":299.76}]`), ExecutedAt: past,
		},
		ylemtest.Row{
			PipelineUUID: h.pipeline, PipelineRunUUID: h.good, TaskUUID: h.load, TaskType: "api_call", IsSuccessful: true,
			Duration: 500, Output: []byte{0xff, 0x00, 0xfe}, ExecutedAt: past.Add(1500 * time.Millisecond),
		},
		ylemtest.Row{
			PipelineUUID: h.pipeline, PipelineRunUUID: h.failed, TaskUUID: h.extract, TaskType: "query", IsSuccessful: true,
			Duration: 300, Output: []byte("größe"), ExecutedAt: second,
		},
		ylemtest.Row{
			PipelineUUID: h.pipeline, PipelineRunUUID: h.failed, TaskUUID: h.load, TaskType: "api_call",
			Duration: 200, Output: failure, ExecutedAt: second.Add(123456 * time.Microsecond),
		},
		ylemtest.Row{PipelineUUID: h.foreign, IsSuccessful: true, Duration: 7, ExecutedAt: past},
	)
	return h
}

// window holds all of the history.
func (h *history) window(more object) object {
	return object{"pipeline_uuid": h.pipeline, "from": "2024-06-01", "to": "2024-06-05T23:59:59Z"}.with(more)
}

// taskWindow is the same of a task.
func (h *history) taskWindow(task string) object {
	return object{"task_uuid": task, "from": "2024-06-01", "to": "2024-06-05T23:59:59Z"}
}

// The UUID attribute of each data source, and what else it needs.
var dataSources = map[string]struct {
	attribute string
	route     ylemtest.Route
	arguments object
}{
	"ylem_pipeline_run":              {"pipeline_uuid", ylemtest.RouteLogs, object{"id": failedRun}},
	"ylem_pipeline_logs":             {"pipeline_uuid", ylemtest.RouteLogs, object{"from": "2024-06-01", "to": "2024-06-06"}},
	"ylem_pipeline_tasks":            {"pipeline_uuid", ylemtest.RouteLogs, object{"from": "2024-06-01", "to": "2024-06-05T23:59:59Z"}},
	"ylem_pipeline_stats":            {"pipeline_uuid", ylemtest.RouteStats, object{"from": "2024-06-01", "to": "2024-06-06"}},
	"ylem_pipeline_aggregated_stats": {"pipeline_uuid", ylemtest.RouteAggregatedStats, object{"date_from": "2024-06-01", "period": "day", "number_of_periods": 7}},
	"ylem_pipeline_last_run":         {"pipeline_uuid", ylemtest.RouteLastRun, object{}},
	"ylem_task_stats":                {"task_uuid", ylemtest.RouteStats, object{"from": "2024-06-01", "to": "2024-06-06"}},
	"ylem_task_aggregated_stats":     {"task_uuid", ylemtest.RouteAggregatedStats, object{"date_from": "2024-06-01", "period": "day", "number_of_periods": 7}},
	"ylem_task_last_run":             {"task_uuid", ylemtest.RouteLastRun, object{}},
}

// uuidOf is the history's object that a data source is about.
func (h *history) uuidOf(dataSource string) string {
	if dataSources[dataSource].attribute == "task_uuid" {
		return h.extract
	}
	return h.pipeline
}

// Terraform shows a difference when a value is not the one in the configuration, but some routes of Ylem only
// take lower case.
func TestUUIDsAreSentInLowerCaseAndKeptAsWritten(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		h := newHistory(t, dialect)
		p := h.connect(t, nil)
		for dataSource, d := range dataSources {
			t.Run(name+", "+dataSource, func(t *testing.T) {
				h.ResetRequests()
				uuid := h.uuidOf(dataSource)
				state := p.mustRead(t, dataSource, d.arguments.with(object{d.attribute: strings.ToUpper(uuid)}))
				state.expect(t, object{d.attribute: strings.ToUpper(uuid)})
				for _, r := range h.Requests(d.route) {
					if !strings.Contains(r.Path, uuid) {
						t.Errorf("sent as %s", r.Path)
					}
				}
				lower := p.mustRead(t, dataSource, d.arguments.with(object{d.attribute: uuid}))
				state.expect(t, lower.with(object{d.attribute: strings.ToUpper(uuid)}))
			})
		}
	}
}

// What the configuration says stays as it is, in every data source.
func TestArgumentsAreKeptAsWritten(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	p := h.connect(t, nil)
	for dataSource, d := range dataSources {
		arguments := d.arguments.with(object{d.attribute: h.uuidOf(dataSource)})
		p.mustRead(t, dataSource, arguments).expect(t, arguments)
	}
}

func TestWindowForms(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	p := h.connect(t, nil)
	for name, test := range map[string]struct {
		arguments object
		state     object
		from, to  string // in the path
	}{
		"RFC 3339": {
			object{"from": "2024-06-01T00:00:00Z", "to": "2024-06-02T00:00:00Z"},
			object{"from": "2024-06-01T00:00:00Z", "to": "2024-06-02T00:00:00Z", "lookback": nil},
			"2024-06-01%2000:00:00", "2024-06-02%2000:00:00",
		},
		"offsets": {
			object{"from": "2024-06-01T02:30:00+02:30", "to": "2024-06-01T18:00:00-06:00"},
			object{"from": "2024-06-01T02:30:00+02:30", "to": "2024-06-01T18:00:00-06:00"},
			"2024-06-01%2000:00:00", "2024-06-02%2000:00:00",
		},
		"fractions": {
			object{"from": "2024-06-01T00:00:00.75Z", "to": "2024-06-02T00:00:00.999999Z"},
			object{"from": "2024-06-01T00:00:00.75Z", "to": "2024-06-02T00:00:00.999999Z"},
			"2024-06-01%2000:00:00", "2024-06-02%2000:00:01",
		},
		"a fraction at the end of a day": {
			object{"from": "2024-06-01", "to": "2024-06-01T23:59:59.000000001Z"},
			object{"to": "2024-06-01T23:59:59.000000001Z"},
			"2024-06-01%2000:00:00", "2024-06-02%2000:00:00",
		},
		"within one second": {
			object{"from": "2024-06-01T00:00:00.9Z", "to": "2024-06-01T00:00:00.1Z"},
			object{"from": "2024-06-01T00:00:00.9Z", "to": "2024-06-01T00:00:00.1Z"},
			"2024-06-01%2000:00:00", "2024-06-01%2000:00:01",
		},
		"lookback from a fraction": {
			object{"lookback": "1s", "to": "2024-06-02T00:00:00.5Z"},
			object{"from": "2024-06-01T23:59:59Z", "to": "2024-06-02T00:00:00.5Z"},
			"2024-06-01%2023:59:59", "2024-06-02%2000:00:01",
		},
		"lookback of a fraction": {
			object{"lookback": "1500ms", "to": "2024-06-02"},
			object{"from": "2024-06-01T23:59:58Z", "lookback": "1500ms"},
			"2024-06-01%2023:59:58", "2024-06-02%2000:00:00",
		},
		"the last second of all": {
			object{"from": "2024-06-01", "to": "9999-12-31T23:59:59.5Z"},
			object{"to": "9999-12-31T23:59:59.5Z"},
			"2024-06-01%2000:00:00", "9999-12-31%2023:59:59",
		},
		"date and time": {
			object{"from": "2024-06-01 01:02:03", "to": "2024-06-02 04:05:06"},
			object{"from": "2024-06-01 01:02:03", "to": "2024-06-02 04:05:06"},
			"2024-06-01%2001:02:03", "2024-06-02%2004:05:06",
		},
		"dates": {
			object{"from": "2024-06-01", "to": "2024-06-02"},
			object{"from": "2024-06-01", "to": "2024-06-02"},
			"2024-06-01%2000:00:00", "2024-06-02%2000:00:00",
		},
		"a single second": {
			object{"from": "2024-06-01", "to": "2024-06-01"},
			object{"from": "2024-06-01", "to": "2024-06-01"},
			"2024-06-01%2000:00:00", "2024-06-01%2000:00:00",
		},
		"lookback": {
			object{"lookback": "36h", "to": "2024-06-02T14:00:00+02:00"},
			object{"lookback": "36h", "from": "2024-06-01T00:00:00Z", "to": "2024-06-02T14:00:00+02:00"},
			"2024-06-01%2000:00:00", "2024-06-02%2012:00:00",
		},
		"lookback of minutes and seconds": {
			object{"lookback": "1m30s", "to": "2024-06-02"},
			object{"lookback": "1m30s", "from": "2024-06-01T23:58:30Z", "to": "2024-06-02"},
			"2024-06-01%2023:58:30", "2024-06-02%2000:00:00",
		},
	} {
		for _, dataSource := range []string{"ylem_pipeline_logs", "ylem_pipeline_stats", "ylem_task_stats"} {
			t.Run(name+", "+dataSource, func(t *testing.T) {
				d := dataSources[dataSource]
				h.ResetRequests()
				state := p.mustRead(t, dataSource, test.arguments.with(object{d.attribute: h.uuidOf(dataSource)}))
				state.expect(t, test.state)
				requests := h.Requests(d.route)
				if len(requests) != 1 || !strings.HasSuffix(requests[0].Path, "/"+test.from+"/"+test.to) {
					t.Errorf("sent %v", requests)
				}
			})
		}
	}
}

// The clock that counts is Ylem's: the sandbox lives in 2024.
func TestWindowEndsNowByDefault(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	for _, dataSource := range []string{"ylem_pipeline_logs", "ylem_pipeline_stats", "ylem_task_stats"} {
		d := dataSources[dataSource]
		for name, arguments := range map[string]object{"lookback": {"lookback": "4h"}, "from": {"from": "2024-06-05 08:00:00"}} {
			t.Run(dataSource+", "+name, func(t *testing.T) {
				h.ResetRequests()
				begin := time.Now()
				state := h.connect(t, nil).mustRead(t, dataSource, arguments.with(object{d.attribute: h.uuidOf(dataSource)}))
				took := time.Since(begin)
				to, err := time.Parse(time.RFC3339, fmt.Sprint(state["to"]))
				// Two seconds: one that the Date header may be short of, and one whose rows Ylem leaves out.
				if err != nil || to.Before(now.Add(2*time.Second)) || to.After(now.Add(2*time.Second+took)) || to.Nanosecond() != 0 {
					t.Errorf("to = %v, two seconds before it was %s by Ylem's clock, and the test took %s", state["to"], now, took)
				}
				if name == "lookback" {
					state.expect(t, object{"from": to.Add(-4 * time.Hour).Format(time.RFC3339)})
				}
				path := h.Requests(d.route)[0].Path
				if want := strings.ReplaceAll(to.Format(time.DateTime), " ", "%20"); !strings.HasSuffix(path, want) {
					t.Errorf("sent %s, want its end to be %s", path, want)
				}
			})
		}
	}
}

// A window that ends when a run finished has the run's last row, in whose second Ylem would not look.
func TestWindowUntilTheLastRow(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, TaskUUID: h.load, IsSuccessful: true, ExecutedAt: past.Add(26*time.Hour + 300*time.Millisecond)})
	window := object{"pipeline_uuid": h.pipeline, "from": "2024-06-02T10:00:00.3Z", "to": "2024-06-02T10:00:00.3Z"}
	p := h.connect(t, nil)
	if n := len(p.mustRead(t, "ylem_pipeline_logs", window).list(t, "logs")); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	p.mustRead(t, "ylem_pipeline_stats", window).expect(t, object{"num_of_successes": 1})
}

func TestWindowThatBeginsBeforeTheYear0IsRefused(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	for _, dataSource := range []string{"ylem_pipeline_logs", "ylem_pipeline_stats"} {
		_, diags := s.connect(t, nil).read(t, dataSource, object{"pipeline_uuid": ylemtest.NewUUID(), "lookback": "20000h", "to": "0001-01-01"})
		diags.expectError(t, "lookback", "before the year 0")
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestWindowThatBeginsInTheFutureIsRefused(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	_, diags := h.connect(t, nil).read(t, "ylem_pipeline_stats", object{"pipeline_uuid": h.pipeline, "from": "2024-07-01"})
	diags.expectError(t, "from", "ends before it begins", "2024-07-01T00:00:00Z", "2024-06-05T1")
	if n := h.count(ylemtest.RouteStats); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// Terraform, the built provider, a run and all data sources, against both dialects. One process of the
// provider is one walk of Terraform: the data sources depend on the run, so that the apply's walk does
// everything and the plan's before it nothing.
func TestResourceAndAllDataSources(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, dialect)
			var config strings.Builder
			fmt.Fprintf(&config, `
resource "ylem_pipeline_run" "test" {
  pipeline_uuid = %q
}
locals {
  # Known only after the run has started.
  pipeline = ylem_pipeline_run.test.id == "" ? "" : %[1]q
  task     = ylem_pipeline_run.test.id == "" ? "" : %q
}
`, h.pipeline, h.extract)
			asked := map[ylemtest.Route][]string{}
			for dataSource, d := range dataSources {
				asked[d.route] = append(asked[d.route], d.attribute)
				fmt.Fprintf(&config, "data %q \"test\" {\n  %s = local.%s\n", dataSource, d.attribute, strings.TrimSuffix(d.attribute, "_uuid"))
				for name, value := range d.arguments {
					fmt.Fprintf(&config, "  %s = %#v\n", name, value)
				}
				fmt.Fprintf(&config, "}\noutput %q {\n  value     = data.%[1]s.test\n  sensitive = true\n}\n", dataSource)
			}
			config.WriteString("output \"run\" {\n  value     = ylem_pipeline_run.test\n  sensitive = true\n}\n")
			tf := newTerraform(t, config.String(), envURL+"="+h.URL, envClientID+"="+h.client.ID, envClientSecret+"="+h.client.Secret)

			expectReads := func(runs int) {
				t.Helper()
				h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteRun: runs, ylemtest.RouteOther: 0})()
				for route, of := range asked {
					least, most := len(slices.Compact(slices.Sorted(slices.Values(of)))), len(of) // the same may be asked once
					if n := h.count(route); route != ylemtest.RouteLogs && (n < least || n > most) {
						t.Errorf("%s: %d requests, want %d to %d", route, n, least, most)
					}
				}
				logs := 0 // of the data source: the run's own refresh asks for another window
				for _, r := range h.Requests(ylemtest.RouteLogs) {
					if strings.HasSuffix(r.Path, "/2024-06-01%2000:00:00/2024-06-06%2000:00:00") {
						logs++
					}
				}
				if logs != 1 {
					t.Errorf("%d requests for the logs", logs)
				}
				h.ResetRequests()
			}

			tf.mustRun(t, 0, "apply", "-auto-approve", "-no-color")
			expectReads(1)
			if runs := h.Runs(""); len(runs) != 1 || runs[0].PipelineUUID != h.pipeline {
				t.Fatalf("runs: %v", runs)
			}
			tf.mustRun(t, 0, "plan", "-detailed-exitcode", "-no-color") // 2 would be a change
			expectReads(0)
			tf.mustRun(t, 0, "apply", "-auto-approve", "-no-color")
			expectReads(0)

			var outputs map[string]struct{ Value object }
			if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json")), &outputs); err != nil {
				t.Fatal(err)
			}
			outputs["run"].Value.expect(t, object{
				"id": h.Runs("")[0].UUID, "pipeline_uuid": h.pipeline, "triggered_at": "2024-06-05T12:00:00Z",
			})
			outputs["ylem_pipeline_stats"].Value.expect(t, object{"num_of_failures": 1})
			outputs["ylem_task_last_run"].Value.expect(t, object{"task_uuid": h.extract})
			if logs := outputs["ylem_pipeline_logs"].Value.list(t, "logs"); len(logs) < 4 {
				t.Errorf("%d rows", len(logs))
			}

			h.ResetRequests()
			tf.mustRun(t, 0, "destroy", "-auto-approve", "-no-color", "-refresh=false")
			h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0})()
		})
	}
}
