package provider

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const runList = "ylem_pipeline_run"

// listed is a result of a list.
type listed struct {
	name, pipeline, run string
	resource            object
}

// list validates and lists runs. Limit 0 is none.
func (p *protocol) list(t *testing.T, arguments object, includeResource bool, limit int64) (results []listed, diags diagnostics) {
	t.Helper()
	server, ok := p.server.(tfprotov6.ListResourceServer)
	if !ok {
		t.Fatal("the provider lists nothing")
	}
	config := toDynamic(t, p.schema.ListResourceSchemas[runList].ValueType(), arguments)
	validated, err := server.ValidateListResourceConfig(t.Context(), &tfprotov6.ValidateListResourceConfigRequest{TypeName: runList, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(validated.Diagnostics); diags.failed() {
		return nil, diags
	}
	stream, err := server.ListResource(t.Context(), &tfprotov6.ListResourceRequest{TypeName: runList, Config: config, IncludeResource: includeResource, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	identity := tftypes.Object{AttributeTypes: map[string]tftypes.Type{"pipeline_uuid": tftypes.String, "run_uuid": tftypes.String}}
	for result := range stream.Results {
		diags = append(diags, result.Diagnostics...)
		if result.Identity == nil {
			continue
		}
		names := fromDynamic(t, identity, result.Identity.IdentityData)
		results = append(results, listed{
			name: result.DisplayName, pipeline: fmt.Sprint(names["pipeline_uuid"]), run: fmt.Sprint(names["run_uuid"]),
			resource: fromDynamic(t, p.schema.ResourceSchemas["ylem_pipeline_run"].ValueType(), result.Resource),
		})
	}
	return results, diags
}

// mustList lists runs without an error or warning.
func (p *protocol) mustList(t *testing.T, arguments object, includeResource bool, limit int64) []listed {
	t.Helper()
	results, diags := p.list(t, arguments, includeResource, limit)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return results
}

// runsOf are the runs of a list, in order.
func runsOf(results []listed) []string {
	uuids := []string{}
	for _, r := range results {
		uuids = append(uuids, r.run)
	}
	return uuids
}

func TestRunsAreListed(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, dialect)
			p := h.connect(t, nil)
			for name, test := range map[string]struct {
				arguments object
				limit     int64
				want      []string
			}{
				"the last day":      {nil, 100, []string{h.failed}},
				"all":               {object{"from": "2024-06-01"}, 100, []string{h.failed, h.good}},
				"lookback":          {object{"lookback": "3h59m50s"}, 100, nil},
				"to":                {object{"to": "2024-06-02 00:00:00"}, 100, []string{h.good}},
				"a part of a run":   {object{"from": "2024-06-01T08:00:01Z", "to": "2024-06-02"}, 100, []string{h.good}},
				"failed":            {object{"from": "2024-06-01", "status": "failed"}, 100, []string{h.failed}},
				"succeeded":         {object{"from": "2024-06-01", "status": "succeeded"}, 100, []string{h.good}},
				"running":           {object{"from": "2024-06-01", "status": "running"}, 100, nil},
				"limit":             {object{"from": "2024-06-01"}, 1, []string{h.failed}},
				"limit of the rest": {object{"from": "2024-06-01", "status": "succeeded"}, 1, []string{h.good}},
				"no limit":          {object{"from": "2024-06-01"}, 0, []string{h.failed, h.good}},
			} {
				h.ResetRequests()
				results := p.mustList(t, object{"pipeline_uuid": strings.ToUpper(h.pipeline)}.with(test.arguments), false, test.limit)
				if got := runsOf(results); !slices.Equal(got, test.want) {
					t.Errorf("%s: %v, want %v", name, got, test.want)
				}
				for _, r := range results {
					if r.pipeline != h.pipeline || r.resource != nil {
						t.Errorf("%s: %+v", name, r)
					}
				}
				h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 1, ylemtest.RouteOther: 0})()
			}
		})
	}
}

// A person recognizes a run by its name, and an import by its attributes.
func TestListedRunsHaveNamesAndResources(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, PipelineRunUUID: ylemtest.NewUUID(), IsSuccessful: true, ExecutedAt: now.Add(-time.Minute)})
	p := h.connect(t, nil)
	results := p.mustList(t, object{"pipeline_uuid": h.pipeline, "from": "2024-06-01"}, true, 100)
	names := []string{}
	for _, r := range results {
		names = append(names, r.name)
	}
	if want := []string{"2024-06-05 11:59:00 running, 1 task", "2024-06-05 08:00:00 failed, 2 tasks", "2024-06-01 08:00:00 succeeded, 2 tasks"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	for _, r := range results[1:] {
		r.resource.expect(t, p.imported(t, h.pipeline, r.run))
	}
	for _, completion := range []object{{"quiet_period": "50s"}, {}} {
		results := p.mustList(t, object{"pipeline_uuid": h.pipeline, "completion": completion, "status": "succeeded"}, true, 100)
		if len(results) != 1 || results[0].name != "2024-06-05 11:59:00 succeeded, 1 task" || results[0].resource["status"] != "succeeded" {
			t.Errorf("%v: %+v", completion, results)
		}
		results[0].resource.expect(t, object{"completion": nil}) // it is the list's
	}
}

// A key is found whatever triggers and input its run has, and shown.
func TestListedRunsOfAKey(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered()
	p := s.connect(t, nil)
	var want []string
	for _, arguments := range []object{
		{"idempotency_key": "a/b"},
		{"idempotency_key": "a/b", "triggers": object{"x": "1"}},
		{"idempotency_key": "a"},
		{"input": `{"_idempotency_key":"a/b"}`},
		{},
	} {
		state, diags := p.create(t, object{"pipeline_uuid": pipeline}.with(arguments))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		if arguments["idempotency_key"] == "a/b" {
			want = append(want, fmt.Sprint(state["id"]))
		}
	}
	eventually(t, "all triggers have reported", func() bool { return len(p.mustList(t, object{"pipeline_uuid": pipeline}, false, 0)) == 5 })
	results := p.mustList(t, object{"pipeline_uuid": pipeline, "idempotency_key": "a/b"}, false, 0)
	got := runsOf(results)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, r := range results {
		if !strings.HasSuffix(r.name, " running, 1 task, key a/b") {
			t.Error(r.name)
		}
	}
}

// What was a secret when the run was started is one in the log too.
func TestListedRunsShowNoInput(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered()
	p := s.connect(t, nil)
	const secret = "not to be shown"
	for _, arguments := range []object{{"input_wo": secret}, {"input_wo": `{"a":"` + secret + `"}`, "idempotency_key": "k"}} {
		if _, diags := p.create(t, object{"pipeline_uuid": pipeline}.with(arguments)); len(diags) > 0 {
			t.Fatal(diags)
		}
	}
	var results []listed
	eventually(t, "both triggers have reported", func() bool {
		results = p.mustList(t, object{"pipeline_uuid": pipeline}, true, 0)
		return len(results) == 2
	})
	if text := fmt.Sprint(results); strings.Contains(text, secret) || !strings.Contains(text, "key k") {
		t.Error(text)
	}
}

func TestListsThatCannotWork(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.connect(t, nil)
	pipeline := ylemtest.NewUUID()
	for name, test := range map[string]struct {
		arguments object
		attribute string
		says      string
	}{
		"a pipeline":      {object{"pipeline_uuid": "../x"}, "pipeline_uuid", "is not a UUID"},
		"two beginnings":  {object{"from": "2024-06-01", "lookback": "24h"}, "from", "Set at most one"},
		"ends too early":  {object{"from": "2024-06-02", "to": "2024-06-01"}, "from", "ends before it begins"},
		"no time":         {object{"from": "yesterday"}, "from", "Invalid time"},
		"days":            {object{"lookback": "7d"}, "lookback", "Invalid duration"},
		"a status":        {object{"status": "pending"}, "status", "running"},
		"a key":           {object{"idempotency_key": ""}, "idempotency_key", "1 to 200 characters"},
		"a final task":    {object{"completion": object{"final_task_uuids": []any{"x"}}}, "completion", "is not a UUID"},
		"a quiet period":  {object{"completion": object{"quiet_period": "-1s"}}, "completion", "Invalid duration"},
		"the distant era": {object{"to": "0001-01-01", "lookback": "20000h"}, "lookback", "before the year 0"},
	} {
		_, diags := p.list(t, object{"pipeline_uuid": pipeline}.with(test.arguments), false, 100)
		if len(diags) != 1 {
			t.Errorf("%s: %s", name, diags)
			continue
		}
		diags.expectError(t, test.attribute, test.says)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestListsThatAreRefused(t *testing.T) {
	t.Parallel()
	var h *history
	list := func() diagnostics {
		t.Helper()
		arguments := object{"pipeline_uuid": h.pipeline}
		results, diags := h.connect(t, object{"max_retries": 0}).list(t, arguments, true, 100)
		if len(results) != 0 {
			t.Errorf("%+v", results)
		}
		return diags
	}
	for _, test := range []struct {
		fault ylemtest.Fault
		says  string
	}{
		{ylemtest.Fault{Body: "<html>"}, "cannot be understood"},
		{ylemtest.Fault{Truncate: 100}, "EOF"},
		{ylemtest.Fault{Truncate: 400}, "EOF"}, // after the first row
		{ylemtest.Fault{Status: 502}, "Ylem failed"},
		{ylemtest.Fault{Drop: true}, "cannot be reached"},
	} {
		h = newHistory(t, ylemtest.OpenSource)
		fault := test.fault
		fault.Route, fault.Times = ylemtest.RouteLogs, -1
		h.Inject(fault)
		list().expectError(t, "pipeline_uuid", test.says)
	}
	h = newHistory(t, ylemtest.OpenSource)
	h.client = h.AddClient(ylemtest.Client{Scopes: []string{"pipelines:run"}})
	list().expectError(t, "pipeline_uuid", "lacks the scope stats:read")
	h.client = h.AddClient(ylemtest.Client{Organization: "others"})
	list().expectError(t, "pipeline_uuid", "refuses access")
	h.client.Secret = "wrong"
	list().expectError(t, "", "refused the client's secret")
}

func TestListWithAnUnknownConfiguration(t *testing.T) {
	t.Parallel()
	p := newProtocol(t)
	if diags := p.configure(t, object{"api_url": "http://127.0.0.1:1", "client_id": "x", "client_secret": unknown{}}); len(diags) > 0 {
		t.Fatal(diags)
	}
	_, diags := p.list(t, object{"pipeline_uuid": ylemtest.NewUUID()}, false, 100)
	diags.expectError(t, "", "not known yet", "client_secret")
}

// A run is complete once the log has come to a day before its first row: what follows, here a connection that breaks, is
// not read.
func TestLimitStopsReadingRuns(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline := ylemtest.NewUUID()
	rows := make([]ylemtest.Row, 10_000) // one an hour
	for i := range rows {
		rows[i] = ylemtest.Row{PipelineUUID: pipeline, IsSuccessful: true, Output: []byte("output"), ExecutedAt: now.Add(-time.Duration(i) * time.Hour)}
	}
	s.AddRows(rows...)
	p, arguments := s.connect(t, object{"max_retries": 0}), object{"pipeline_uuid": pipeline, "from": "2022-01-01"}
	if n := len(p.mustList(t, arguments, false, 0)); n != len(rows) {
		t.Errorf("%d runs", n)
	}
	s.ResetRequests()
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Truncate: 60_000}) // of more than two million bytes
	if n := len(p.mustList(t, arguments, false, 100)); n != 100 {
		t.Errorf("%d runs", n)
	}
	if n := s.count(ylemtest.RouteLogs); n != 1 {
		t.Errorf("%d requests", n)
	}
	if _, diags := p.list(t, arguments, false, 1000); !diags.failed() {
		t.Error("the connection does not break")
	}
}

// Whatever the runs look like: a limit gives the first of what there is without one, which is sorted.
func TestListsAreSortedWhateverTheLimit(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSandbox(t, withNow())
	pipeline := ylemtest.NewUUID()
	began := map[string]time.Time{}
	failed := map[string]bool{}
	var all []string
	for range 60 {
		run, at := ylemtest.NewUUID(), now.Add(-time.Duration(random.IntN(20*24*60))*time.Minute)
		all, began[run] = append(all, run), at
		for task := range 1 + random.IntN(5) {
			success := random.IntN(10) > 0
			failed[run] = failed[run] || !success
			s.AddRows(ylemtest.Row{PipelineUUID: pipeline, PipelineRunUUID: run, IsSuccessful: success, ExecutedAt: at})
			at = at.Add(time.Duration(random.IntN((task+1)*5*60)) * time.Minute) // less than a day
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(began[b].Compare(began[a]), cmp.Compare(a, b)) })
	p := s.connect(t, nil)
	for _, status := range []any{nil, "failed"} {
		want := slices.DeleteFunc(slices.Clone(all), func(run string) bool { return status != nil && !failed[run] })
		for _, limit := range []int{0, 1, 2, 10, len(want) - 1, len(want), len(want) + 1} {
			results := p.mustList(t, object{"pipeline_uuid": pipeline, "from": "2024-01-01", "to": "2024-07-01", "status": status}, false, int64(limit))
			wanted := want
			if limit > 0 {
				wanted = want[:min(limit, len(want))]
			}
			if got := runsOf(results); !slices.Equal(got, wanted) {
				t.Fatalf("limit %d, status %v:\n%v, want\n%v", limit, status, got, wanted)
			}
		}
	}
}

// Whatever a log holds, what can be listed is, once, and what cannot is named.
func TestHostileLogIsListed(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline, run := ylemtest.NewUUID(), ylemtest.NewUUID()
	good := func(more string) string {
		return `"pipeline_run_uuid":"` + run + `","task_uuid":"` + pipeline + `","is_successful":true` + more
	}
	rows := []string{
		good(`,"executed_at":"2024-06-05T11:00:00Z"`),
		`"pipeline_run_uuid":"` + strings.ToUpper(run) + `","task_uuid":"t","executed_at":"2024-06-05T10:00:00Z","duration":-9223372036854775808`,
		good(`,"executed_at":"2024-06-05T11:00:00Z"`), // the same again
		`"pipeline_run_uuid":"../../etc","task_uuid":"${file(\"x\")}","task_type":"%{ if true }","executed_at":"2024-06-05T09:00:00Z"`,
		`"pipeline_run_uuid":"key","task_uuid":"t","task_type":"external_trigger","executed_at":"2024-06-05T08:00:00Z","output":"` +
			"eyJfaWRlbXBvdGVuY3lfa2V5IjoiYVx1MDAxYlszMW1cbmIvZiJ9" + `"`, // {"_idempotency_key":"a\u001b[31m\nb/f"}
		`"pipeline_run_uuid":"number","task_uuid":"t","task_type":"external_trigger","executed_at":"2024-06-05T07:00:00Z","output":"eyJfaWRlbXBvdGVuY3lfa2V5Ijo3fQ=="`,
		`"pipeline_run_uuid":"timeless","task_uuid":"t"`,
		`"pipeline_run_uuid":"broken","task_uuid":"t","executed_at":"2024-06-05T06:00:00Z"`,
		`"pipeline_run_uuid":"broken","task_uuid":"u","executed_at":"0000-00-00 00:00:00"`,
		`"task_uuid":"u"`,
		good(`,"executed_at":"2020-01-01T00:00:00Z"`), // long after the run was complete
	}
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Body: "[{" + strings.Join(rows, "},{") + "}]"})
	results, diags := s.connect(t, nil).list(t, object{"pipeline_uuid": pipeline}, true, 100)
	diags.expectWarning(t, "", "Some runs cannot be read", pipeline, "broken")
	var names []string
	for _, r := range results {
		names = append(names, r.run+" "+r.name)
	}
	want := []string{
		run + " 2024-06-05 10:00:00 running, 2 tasks",
		"../../etc 2024-06-05 09:00:00 running, 1 task",
		"key 2024-06-05 08:00:00 running, 1 task, key a [31m b",
		"number 2024-06-05 07:00:00 running, 1 task",
		"timeless (no time) running, 1 task",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
}
