package follow_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

// A Ylem that refuses connections is asked about one run, not about each of a hundred. Half a minute later it is asked again.
func TestRefreshSharesThatThereIsNoConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, pipe := fake.NewPipeClient(t, fake.New(t, fake.AnswerJSON("[]")))
		if _, err := client.Now(t.Context()); err != nil { // the token
			t.Fatal(err)
		}
		var down atomic.Bool
		var attempts atomic.Int64
		pipe.Refuse = func() bool {
			if down.Load() {
				attempts.Add(1)
			}
			return down.Load()
		}
		down.Store(true)
		follower := follow.New(client)
		refresh := func(pipeline int) error {
			_, err := follower.Refresh(t.Context(), follow.Run{
				PipelineUUID: fmt.Sprintf("10000000-0000-4000-8000-%012d", pipeline), RunUUID: fake.RunUUID, TriggeredAt: time.Now(),
			}, follow.Completion{})
			return err
		}
		for i := range 10 {
			if err := refresh(i); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%v", err)
			}
		}
		if n := attempts.Load(); n != 3 {
			t.Errorf("%d attempts to connect, want 3", n)
		}
		time.Sleep(31 * time.Second)
		down.Store(false)
		if err := refresh(10); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

// The outage of one pipeline's log says nothing of the others.
func TestRefreshDoesNotShareWhatConcernsOnePipeline(t *testing.T) {
	t.Parallel()
	const broken = "10000000-0000-4000-8000-000000000001"
	follower := tcpFollower(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, broken) {
			fake.Drop(w, r)
		}
		fake.AnswerJSON("[]")(w, r)
	})
	run := follow.Run{PipelineUUID: broken, RunUUID: fake.RunUUID, TriggeredAt: time.Now()}
	if _, err := follower.Refresh(t.Context(), run, follow.Completion{}); err == nil {
		t.Error("no error")
	}
	run.PipelineUUID = fake.PipelineUUID
	if _, err := follower.Refresh(t.Context(), run, follow.Completion{}); err != nil {
		t.Errorf("another pipeline: %v", err)
	}
}

// A task runner's clock may be fast. Its rows are as old as they are seen, or a run would not end before they are past.
func TestWaitDoesNotOutwaitAFastClock(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, time.Hour, true)}}} // there at the first poll
		p, err := c.Wait(t.Context(), run, options())
		if took := time.Since(s.begin); err != nil || p.Status != follow.Succeeded || took < 30*time.Second || took > 40*time.Second {
			t.Errorf("after %s: %v, %+v", took, err, p)
		}
	})
}

// A log that is too large now is too large at the next poll.
func TestWaitEndsWhenTheLogIsTooLarge(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		follow.LimitHeld(c, 2000)
		for i := range 20 {
			s.steps = []logStep{{rows: append(rowsOf(s.steps), s.at(taskA, time.Duration(i)*time.Second, true))}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := c.Wait(ctx, run, options(taskB))
		if !errors.Is(err, ylem.ErrLogTooLarge) || len(s.polls) != 1 {
			t.Errorf("%v after %d polls", err, len(s.polls))
		}
	})
}

func rowsOf(steps []logStep) []ylem.LogRow {
	if len(steps) == 0 {
		return nil
	}
	return steps[0].rows
}

// A run is looked for in a log of any size: nothing of the log is kept but when its first task was executed.
func TestFindHoldsNothingOfTheLog(t *testing.T) {
	const rows, megabyte = 20, 1 << 20
	output := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", megabyte*3/4)))
	var most uint64
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	follower := tcpFollower(t, func(w http.ResponseWriter, _ *http.Request) {
		separator := "["
		for i := range rows {
			_, _ = fmt.Fprintf(w, `%s{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":%t,"output":"%s","executed_at":%q}`,
				separator, fake.RunUUID, taskA, i%2 == 0, output, start.Add(-time.Duration(i)*time.Minute).Format(time.RFC3339))
			separator = ","
			if i%5 == 4 { // what was sent has been read, but for the last rows
				most = max(most, heap())
			}
		}
		_, _ = fmt.Fprint(w, "]")
	})
	first, found, err := follower.Find(t.Context(), fake.PipelineUUID, fake.RunUUID)
	if want := start.Add(-(rows - 1) * time.Minute); err != nil || !found || !first.Equal(want) {
		t.Errorf("%s, want %s (%t), %v", first, want, found, err)
	}
	if grown := int64(most) - int64(before); grown > rows/2*megabyte {
		t.Errorf("%d MiB are held of a log of %d MiB", grown/megabyte, rows)
	}
}
