package ylemtest

import (
	"container/heap"
	"slices"
	"strings"
	"time"
)

// maxOutput is the size in bytes of the largest output that a task of a run
// may have which the API started. A larger one ends the run without a trace.
const maxOutput = 65535

// step is one pass of one task of one run.
type step struct {
	run     int // which of the runs that are worked out together
	order   int // among the steps of its run
	task    Task
	pass    int       // from 0
	pending int       // steps that have to succeed first
	later   []*step   // those that wait for this one
	ready   time.Time // when the last of the earlier steps has ended
}

// loop is a for-each and the number of its items.
type loop struct {
	task  string
	items int
}

// node is a task with a step for each of its passes: one for each combination
// of the items of the loops before it.
type node struct {
	task  Task
	loops []loop
	steps []*step
}

// at is the step for the given items of the loops.
func (n *node) at(item map[string]int) *step {
	i := 0
	for _, l := range n.loops {
		i = i*l.items + item[l.task]
	}
	return n.steps[i]
}

// behind is the loops that a task after this one is in.
func (n *node) behind() []loop {
	if n.task.Type != forEachTaskType {
		return n.loops
	}
	return append(slices.Clone(n.loops), loop{n.task.UUID, n.task.Items})
}

// steps is the steps of a run, linked. A task after an inactive, unknown or
// its own one has none.
func (r *Run) steps(run int) []*step {
	var all []*step
	nodes := map[string]*node{}
	waiting := slices.DeleteFunc(slices.Clone(r.Tasks), func(t Task) bool { return t.Inactive })
	for progress := true; progress; {
		progress = false
		waiting = slices.DeleteFunc(waiting, func(t Task) bool {
			n := &node{task: t}
			before := make([]*node, len(t.After))
			for i, uuid := range t.After {
				if before[i] = nodes[strings.ToLower(uuid)]; before[i] == nil {
					return false
				}
				for _, l := range before[i].behind() {
					if !slices.Contains(n.loops, l) {
						n.loops = append(n.loops, l)
					}
				}
			}
			for pass, item := range passes(n.loops) {
				next := &step{run: run, order: len(all), task: t, pass: pass, pending: len(before), ready: r.StartedAt}
				for _, b := range before {
					earlier := b.at(item)
					earlier.later = append(earlier.later, next)
				}
				n.steps = append(n.steps, next)
				all = append(all, next)
			}
			nodes[t.UUID] = n
			progress = true
			return true
		})
	}
	return all
}

// passes is the combinations of the loops' items, in order: one without loops,
// none where a list is empty.
func passes(loops []loop) []map[string]int {
	list := []map[string]int{{}}
	for _, l := range loops {
		var longer []map[string]int
		for _, item := range list {
			for i := range l.items {
				next := map[string]int{l.task: i}
				for task, j := range item {
					next[task] = j
				}
				longer = append(longer, next)
			}
		}
		list = longer
	}
	return list
}

// queue is the steps that are ready, the earliest first. Of two at the same
// time the older run's comes first: a run that is started later changes
// nothing that has happened.
type queue []*step

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case !a.ready.Equal(b.ready):
		return a.ready.Before(b.ready)
	case a.run != b.run:
		return a.run < b.run
	}
	return a.order < b.order
}
func (q *queue) Push(x any) { *q = append(*q, x.(*step)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	*q = (*q)[:last]
	return s
}

// simulate works out which rows runs report and when. Tasks run side by side,
// or one after the other where there is one task runner for all. The caller
// holds the lock.
func (s *Server) simulate(runs []Run) []timedRow {
	ready := &queue{}
	push := func(next *step) {
		// A scheduler that is down starts what is ready once it is up again.
		if at, up := s.schedulerStops.next(next.ready); up {
			next.ready = at
			heap.Push(ready, next)
		}
	}
	for i := range runs {
		for _, next := range runs[i].steps(i) {
			if next.pending == 0 {
				push(next)
			}
		}
	}

	var rows []timedRow
	var free time.Time // when the one task runner is
	broken := map[string]time.Time{}
	for ready.Len() > 0 {
		now := heap.Pop(ready).(*step)
		run := &runs[now.run]
		if at, ended := broken[run.UUID]; ended && !now.ready.Before(at) {
			continue
		}
		if now.task.Unended {
			continue
		}
		start := now.ready
		if s.oneTaskRunner {
			if free.After(start) {
				start = free
			}
			free = start.Add(now.task.Duration)
		}
		end := start.Add(now.task.Duration)
		if run.requested && len(run.output(now.task, now.pass)) > maxOutput {
			if at, ended := broken[run.UUID]; !ended || end.Before(at) {
				broken[run.UUID] = end
			}
			continue
		}
		rows = append(rows, run.report(now.task, now.pass, start)...)
		if now.task.fails(now.pass) {
			continue
		}
		for _, next := range now.later {
			if end.After(next.ready) {
				next.ready = end
			}
			if next.pending--; next.pending == 0 {
				push(next)
			}
		}
	}
	return slices.DeleteFunc(rows, func(r timedRow) bool {
		at, ended := broken[r.PipelineRunUUID]
		return ended && r.end.After(at)
	})
}

// fails is whether a pass of the task, counted from 0, fails.
func (t Task) fails(pass int) bool {
	return len(t.Errors) > 0 && (t.FailOnPass == 0 || t.FailOnPass == pass+1)
}

// report is the rows of a pass that starts at a given time.
func (r *Run) report(t Task, pass int, start time.Time) []timedRow {
	repeat := max(t.Repeat, 1)
	share := t.Duration / time.Duration(repeat)
	var rows []timedRow
	for i := range repeat {
		end := start.Add(share * time.Duration(i+1))
		if i == repeat-1 {
			end = start.Add(t.Duration)
		}
		row := timedRow{
			Row: Row{
				PipelineRunUUID: r.UUID,
				PipelineUUID:    r.PipelineUUID,
				TaskUUID:        t.UUID,
				TaskType:        t.Type,
				IsSuccessful:    !t.fails(pass),
				Duration:        share.Milliseconds(),
				Output:          r.output(t, pass),
				MetricValue:     t.Metric,
				ExecutedAt:      end.Add(-t.ClockBehind).Truncate(time.Microsecond),
				JSON:            t.JSON,
			},
			end:     end,
			visible: end.Add(t.ReportDelay),
		}
		if t.VanishAfter > 0 {
			row.until = row.visible.Add(t.VanishAfter)
		}
		for duplicate := range max(t.Copies, 1) {
			row.origin = origin{r.UUID, t.UUID, pass, i, duplicate}
			if duplicate == 1 && t.MergeAfter > 0 {
				row.until = row.visible.Add(t.MergeAfter)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// reschedule works out anew what runs are going to report. What could be seen
// by now stays. Rows of the new run come whenever they are. The caller holds
// the lock.
func (s *Server) reschedule(now time.Time, newRun string) {
	seen := map[origin]bool{}
	var rows []timedRow // another slice: readers may still hold rows of the old one
	for _, r := range s.rows {
		if r.origin != (origin{}) {
			if r.visible.After(now) {
				continue
			}
			seen[r.origin] = true
		}
		rows = append(rows, r)
	}
	for _, r := range s.simulate(s.history) {
		if !seen[r.origin] && (r.visible.After(now) || r.PipelineRunUUID == newRun) {
			rows = append(rows, r)
		}
	}
	s.rows = rows
}
