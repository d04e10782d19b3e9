package follow_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
)

// A row that cannot be read may be the trigger of a run with the key: without it, nothing is certain.
func TestRecentNeedsEveryTrigger(t *testing.T) {
	t.Parallel()
	row := func(taskType, executedAt string) string {
		return fmt.Sprintf(`{"pipeline_run_uuid":%q,"task_uuid":%q,"task_type":%q,"is_successful":true,"output":%q,"executed_at":%q}`,
			fake.RunUUID, taskA, taskType, base64.StdEncoding.EncodeToString([]byte(`{"_idempotency_key":"k/f"}`)), executedAt)
	}
	const good, bad = "2024-01-10T10:00:00Z", "2024-01-10T10:00:00 CET"
	for name, test := range map[string]struct {
		rows  string
		key   string
		fails bool
	}{
		"a trigger":                      {row("external_trigger", good), "k/f", false},
		"a task with the same output":    {row("query", good), "", false},
		"an unreadable trigger":          {row("external_trigger", bad), "", true},
		"an unreadable row of no type":   {`{"pipeline_run_uuid":"x"}`, "", true},
		"an unreadable row of a query":   {row("query", bad) + "," + row("external_trigger", good), "k/f", false},
		"an input that is not an object": {strings.Replace(row("external_trigger", good), base64.StdEncoding.EncodeToString([]byte(`{"_idempotency_key":"k/f"}`)), "W10=", 1), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs, err := tcpFollower(t, func(w http.ResponseWriter, r *http.Request) { fake.AnswerJSON("["+test.rows+"]")(w, r) }).Recent(t.Context(), fake.PipelineUUID)
			if (err != nil) != test.fails {
				t.Fatal(err)
			}
			if err == nil && runs[0].Key != test.key {
				t.Errorf("%+v", runs)
			}
		})
	}
}
