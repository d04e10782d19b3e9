package follow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

// A wait's outputs are those of logs that were requested to hold them; half of them would look like all.
func TestOutputsComeWithLogsThatHoldThem(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, time.Second, true), s.at(taskB, 2*time.Second, true)}}}
		o := options(taskA, taskB)
		o.PollInterval = time.Minute
		wait := func(outputTasks ...string) follow.Outputs {
			t.Helper()
			run.OutputTasks = outputTasks
			p, err := c.Wait(t.Context(), run, o)
			if err != nil || p.Status != follow.Succeeded {
				t.Fatal(p, err)
			}
			return p.Outputs
		}
		if _, err := c.Refresh(t.Context(), run, o.Completion); err != nil {
			t.Fatal(err)
		}
		if outputs := wait(taskA); outputs != nil || len(s.polls) != 1 {
			t.Errorf("%v from a log that was there before they were wanted; %d requests", outputs, len(s.polls))
		}
		time.Sleep(time.Hour) // in the bubble
		outputs := wait(strings.ToUpper(taskA), taskC)
		if _, ok := outputs.Of(taskA); len(outputs) != 1 || !ok || len(s.polls) != 2 {
			t.Errorf("%v; %d requests", outputs, len(s.polls))
		}
		time.Sleep(time.Hour)
		if outputs := wait(); outputs != nil {
			t.Errorf("%v although none are wanted", outputs)
		}
	})
}
