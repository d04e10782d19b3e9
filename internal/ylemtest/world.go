package ylemtest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	defaultOrganization = "default"
	defaultTaskType     = "query"
	triggerTaskType     = "external_trigger"
	forEachTaskType     = "for_each"
	metricTaskType      = "aggregator"
)

// Pipeline is a pipeline that can be run.
type Pipeline struct {
	UUID         string
	Organization string
	Paused       bool // a run is refused with 403
	Template     bool // a run is refused with 404, as of an unknown pipeline
	Deleted      bool // the same; its statistics stay
	Tasks        []Task
}

// Task is a step of a pipeline.
type Task struct {
	UUID string
	// Type is as in task_type. An "external_trigger" outputs the run's input.
	// A "for_each" lets each later task, also after a merge, run once for each
	// of its Items.
	Type     string
	Duration time.Duration // from its start to its end, reported in whole milliseconds
	After    []string      // UUIDs of the tasks that must have succeeded; none = an initial task
	Items    int           // of a "for_each"; 0 = an empty list, which reaches no later task
	// Output is before base64; for an external_trigger the test data that
	// replaces the input {}. More than 65,535 bytes end a run that a request
	// started: this row and all later ones of the run never come.
	Output []byte
	Errors []TaskError // what it fails with; none = it succeeds
	// FailOnPass makes Errors those of one pass after a for-each only, counted
	// from 1. What comes after that pass does not run.
	FailOnPass int
	Metric     float64 // metric_value; then, and if Type is "aggregator", there is no output
	// Repeat is the number of rows that each pass reports, spread evenly over
	// its Duration. 0 and 1 mean one.
	Repeat   int
	Inactive bool // never starts, and so does what comes after it
	// Unended starts and never reports, and nothing after it starts, like a
	// merge with malformed input.
	Unended     bool
	ReportDelay time.Duration // how long after its end the row shows up
	// ClockBehind is how far the task's clock is behind the server's:
	// executed_at is that much too early.
	ClockBehind time.Duration
	// Copies is how often the row shows up, as after a repeated delivery. After
	// MergeAfter the database keeps one of them; 0 = never.
	Copies      int
	MergeAfter  time.Duration
	VanishAfter time.Duration     // how long the row can be seen; 0 = forever
	JSON        map[string]string // as in Row
}

// TaskError is one message of a failed task.
type TaskError struct {
	Code     int    // 0 = 200, what Ylem's tasks report
	Severity string // "" = "error"
	Message  string
}

// Row is one line of a pipeline's log: one task run that has ended.
type Row struct {
	PipelineRunUUID string
	PipelineUUID    string
	TaskUUID        string
	TaskType        string
	IsSuccessful    bool
	Duration        int64  // milliseconds
	Output          []byte // before base64
	MetricValue     float64
	ExecutedAt      time.Time // the end of the task, to the microsecond
	// JSON replaces fields in the log, as other servers may write them: from a
	// field's name on the wire to its JSON, such as "null", "1.5" or
	// `"0000-00-00 00:00:00"`. An empty value leaves the field out, an unknown
	// name adds one. Windows and statistics go by the fields above.
	JSON map[string]string
}

// timedRow is a row and the times between which it can be seen.
type timedRow struct {
	Row
	origin  origin    // zero = added by AddRows
	end     time.Time // of the task, by the server's clock
	visible time.Time // zero = always
	until   time.Time // zero = forever
}

// origin identifies a row that a run reports.
type origin struct {
	run, task               string
	pass, repeat, duplicate int
}

// AddPipeline adds a pipeline, or replaces the one of that UUID. Empty fields
// are filled in: random UUIDs, the organization "default", the task type
// "query". Without Tasks (nil) it gets one query of 20 ms; an empty slice
// means a pipeline without tasks.
func (s *Server) AddPipeline(p Pipeline) Pipeline {
	p = p.filled()
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := p.filled()
	s.pipelines[p.UUID] = &stored
	return p
}

// UpdatePipeline changes a pipeline. Runs that have started keep the tasks
// they started with. The change must not call the server's methods. It panics
// when there is no such pipeline.
func (s *Server) UpdatePipeline(uuid string, change func(*Pipeline)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pipeline(uuid)
	changed := p.filled()
	change(&changed)
	changed.UUID = p.UUID
	changed = changed.filled()
	s.pipelines[p.UUID] = &changed
}

// AddRows adds log rows as they are. Logs and statistics see them at once,
// also those of the future, and like those of runs. UUIDs left empty are
// random, a task type left empty is "query". Rows of a pipeline that was not
// added belong to the organization "default".
func (s *Server) AddRows(rows ...Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = slices.Grow(s.rows, len(rows))
	for _, r := range rows {
		r.PipelineRunUUID = uuidOrNew(r.PipelineRunUUID)
		r.PipelineUUID = uuidOrNew(r.PipelineUUID)
		r.TaskUUID = uuidOrNew(r.TaskUUID)
		r.TaskType = cmp.Or(r.TaskType, defaultTaskType)
		r.Output = slices.Clone(r.Output)
		r.JSON = maps.Clone(r.JSON)
		s.ran[r.PipelineUUID] = true
		r.ExecutedAt = r.ExecutedAt.UTC().Truncate(time.Microsecond)
		s.rows = append(s.rows, timedRow{Row: r})
	}
}

// RemoveRows removes rows that can be seen by now, and returns how many.
func (s *Server) RemoveRows(unwanted func(Row) bool) int {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []timedRow // another slice: readers may still hold rows of the old one
	for _, r := range s.rows {
		if !s.canSee(&r, now) || !unwanted(r.Row) {
			left = append(left, r)
		}
	}
	removed := len(s.rows) - len(left)
	s.rows = left
	return removed
}

// MergeRows keeps one of the rows that can be seen by now and are equal, as the
// statistics database does some time after a row was delivered twice. It
// returns how many it removed.
func (s *Server) MergeRows() int {
	type key struct {
		run, task, output string
		successful        bool
		duration          int64
		executedAt        time.Time
	}
	seen := map[key]bool{}
	return s.RemoveRows(func(r Row) bool {
		k := key{r.PipelineRunUUID, r.TaskUUID, string(r.Output), r.IsSuccessful, r.Duration, r.ExecutedAt}
		again := seen[k]
		seen[k] = true
		return again
	})
}

// Rows is what the log holds of a run by now, in order of execution.
func (s *Server) Rows(runUUID string) []Row {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.visible(now, func(r *Row) bool { return strings.EqualFold(r.PipelineRunUUID, runUUID) })
	slices.SortStableFunc(found, byExecution)
	var rows []Row
	for _, r := range found {
		row := *r
		row.Output = slices.Clone(r.Output)
		row.JSON = maps.Clone(r.JSON)
		rows = append(rows, row)
	}
	return rows
}

func byExecution(a, b *Row) int {
	return a.ExecutedAt.Compare(b.ExecutedAt)
}

// visible is the rows of interest that can be seen by now. Rows never change,
// so the lock, which the caller holds, need not outlast the call.
func (s *Server) visible(now time.Time, wanted func(*Row) bool) []*Row {
	var rows []*Row
	for i := range s.rows {
		if r := &s.rows[i]; s.canSee(r, now) && wanted(&r.Row) {
			rows = append(rows, &r.Row)
		}
	}
	return rows
}

// canSee is whether a row has come and is still there. What comes while
// ClickHouse is down is lost. The caller holds the lock.
func (s *Server) canSee(r *timedRow, now time.Time) bool {
	if r.visible.After(now) || !r.until.IsZero() && !r.until.After(now) {
		return false
	}
	return r.visible.IsZero() || s.clickHouseStops.upAt(r.visible)
}

// pipeline finds a pipeline for a method of the Server. The caller holds the
// lock.
func (s *Server) pipeline(uuid string) *Pipeline {
	p := s.pipelines[strings.ToLower(uuid)]
	if p == nil {
		panic("ylemtest: no pipeline " + uuid)
	}
	return p
}

// filled is a deep copy with the defaults in place.
func (p Pipeline) filled() Pipeline {
	p.UUID = uuidOrNew(p.UUID)
	p.Organization = cmp.Or(p.Organization, defaultOrganization)
	if p.Tasks == nil {
		p.Tasks = []Task{{Duration: 20 * time.Millisecond}}
	}
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		t := &p.Tasks[i]
		t.UUID = uuidOrNew(t.UUID)
		t.Type = cmp.Or(t.Type, defaultTaskType)
		t.After = slices.Clone(t.After)
		t.Output = slices.Clone(t.Output)
		t.Errors = slices.Clone(t.Errors)
		t.JSON = maps.Clone(t.JSON)
	}
	return p
}

// NewUUID is a random UUID, version 4 and in lower case: the only form that
// every route of the API accepts.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func uuidOrNew(uuid string) string {
	if uuid == "" {
		return NewUUID()
	}
	return strings.ToLower(uuid)
}

// parseUUID reads the forms that most routes accept, with the messages of the
// library that the real server uses: dashes, none, braces, urn:uuid:. The
// result is in lower case with dashes.
func parseUUID(s string) (string, error) {
	text := s
	switch len(s) {
	case 36:
	case 36 + 9:
		if !strings.EqualFold(s[:9], "urn:uuid:") {
			return "", fmt.Errorf("invalid urn prefix: %q", s[:9])
		}
		text = s[9:]
	case 36 + 2:
		text = s[1:37]
	case 32:
		if _, err := hex.DecodeString(s); err != nil {
			return "", errors.New("invalid UUID format")
		}
		text = s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	default:
		return "", fmt.Errorf("invalid UUID length: %d", len(s))
	}
	if !uuidForm.MatchString(text) {
		return "", errors.New("invalid UUID format")
	}
	return strings.ToLower(text), nil
}
