package provider

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// A secret input is part of what makes two triggers of an action the same.
func TestActionsWithOtherSecretInputsAreOtherRuns(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered()
	p := s.connect(t, nil)
	for _, input := range []string{`{"a":1}`, `{"a":2}`, `{"a":2}`} {
		if _, diags := p.invoke(t.Context(), t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly", "input_wo": input}); diags.failed() {
			t.Fatal(diags)
		}
	}
	if n := len(s.Runs(pipeline)); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}

// If it stays unclear whether a trigger has started its run, those that wait for it start none.
func TestActionsShareADoubt(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Type: "external_trigger", Duration: time.Hour}}}).UUID
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Status: http.StatusBadGateway, After: true, Times: -1, Stall: 100 * time.Millisecond})
	p := s.connect(t, nil)
	var triggers sync.WaitGroup
	for range 3 {
		triggers.Go(func() {
			_, diags := p.invoke(t.Context(), t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly", "timeout": "1s"})
			diags.expectError(t, "pipeline_uuid", "may have been started")
		})
	}
	triggers.Wait()
	if n := len(s.Runs(pipeline)); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
}

// A run that has failed is not shared with the triggers that come after it.
func TestActionRunsAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered(ylemtest.Task{Errors: []ylemtest.TaskError{{Message: "boom"}}})
	p := s.connect(t, nil)
	for want := 1; want <= 2; want++ {
		_, diags := p.invoke(t.Context(), t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly", "wait_for_completion": true, "completion": object{"poll_interval": "100ms"}})
		if n := len(s.Runs(pipeline)); !diags.failed() || n != want {
			t.Errorf("%d runs, want %d: %s", n, want, diags)
		}
	}
}

// loggedStart is the row of a trigger whose input carries the key of a resource without an input and triggers.
func loggedStart(run string) object {
	input, _ := json.Marshal(map[string]string{"_idempotency_key": "nightly/" + fingerprint(map[string]string{}, "", "<null>")})
	return object{
		"pipeline_run_uuid": run, "task_uuid": ylemtest.NewUUID(), "task_type": "external_trigger", "is_successful": true,
		"output": base64.StdEncoding.EncodeToString(input), "executed_at": time.Now().UTC().Add(-time.Minute).Truncate(time.Minute).Format(time.RFC3339),
	}
}

// logs makes the sandbox answer requests for logs with these rows.
func (s *sandbox) logs(rows ...object) {
	body, _ := json.Marshal(rows)
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Body: string(body)})
}

// Of two runs with one key, which is the documented limit, the same one is always taken, and the other one is named.
func TestTwoRunsWithOneKey(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered()
	const first, second = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	s.logs(loggedStart(second), loggedStart(first))
	for range 5 {
		state, diags := s.connect(t, nil).create(t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly"})
		diags.expectWarning(t, "idempotency_key", "was adopted", first, second)
		if state["id"] != first {
			t.Errorf("adopted %v", state["id"])
		}
	}
}

func TestRunsThatCannotBeAdopted(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]string{
		"no UUID":  "x;id\x1b[31m",
		"nil UUID": "00000000-0000-0000-0000-000000000000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			pipeline := s.triggered()
			s.logs(loggedStart(run))
			if state, diags := s.connect(t, nil).create(t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly"}); len(diags) > 0 || len(s.Runs(pipeline)) != 1 {
				t.Errorf("adopted %v: %s", state["id"], diags)
			}
		})
	}
	t.Run("a row that cannot be read", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		pipeline := s.triggered()
		const run = "11111111-1111-4111-8111-111111111111"
		s.logs(loggedStart(run), object{"pipeline_run_uuid": run, "task_uuid": ylemtest.NewUUID(), "task_type": "query", "is_successful": false, "executed_at": "yesterday"})
		_, diags := s.connect(t, nil).create(t, object{"pipeline_uuid": pipeline, "idempotency_key": "nightly"})
		diags.expectError(t, "idempotency_key", "cannot be read", run)
		if n := len(s.Runs(pipeline)); n != 0 {
			t.Errorf("%d runs", n)
		}
	})
}

// The output of a trigger that failed is the run's input, which may be secret. That of other tasks is shown.
func TestInputOfAFailedTriggerIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "k3y-of-the-warehouse"
	for taskType, shown := range map[string]bool{follow.TaskTypeTrigger: false, "query": true} {
		row := ylem.LogRow{TaskType: taskType, Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString([]byte(secret))}
		if text := describe(failedTasks(follow.Progress{Rows: []ylem.LogRow{row}})); strings.Contains(text, secret) != shown {
			t.Errorf("%s: %s", taskType, text)
		}
	}
}
