package ylemtest

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	dateTimeLayout = "2006-01-02 15:04:05"
	dateLayout     = "2006-01-02"
)

// The statistics engine knows only the times of an unsigned 32-bit clock.
var (
	earliest = time.Unix(0, 0).UTC()
	latest   = time.Unix(1<<32-1, 0).UTC()
)

// window is a span of time, both ends included.
type window struct{ from, to time.Time }

func (w window) contains(t time.Time) bool {
	return !t.Before(w.from) && !t.After(w.to)
}

// parseTime reads a date of the path. The engine sees whole seconds only.
func parseTime(layout, value string) (time.Time, error) {
	t, err := time.Parse(layout, value)
	if err != nil {
		return t, err
	}
	switch {
	case t.Year() == 0:
		// Observed to find nothing, unlike other early years.
		return latest, nil
	case t.Before(earliest):
		return earliest, nil
	case t.After(latest):
		return latest, nil
	}
	return t.Truncate(time.Second), nil
}

// parseWindow reads the subject and the two dates of a path and lists all that
// is wrong with them.
func parseWindow(c *call) (uuid string, w window, faults []string) {
	uuid, err := parseUUID(c.subject)
	faults = appendError(faults, err)
	w.from, err = parseTime(dateTimeLayout, c.args[0])
	faults = appendError(faults, err)
	w.to, err = parseTime(dateTimeLayout, c.args[1])
	faults = appendError(faults, err)
	return uuid, w, faults
}

func appendError(list []string, err error) []string {
	if err == nil {
		return list
	}
	return append(list, err.Error())
}

// query is the visible rows of a request's subject, in no particular order,
// and whether they belong to another organization than the client. Without
// ClickHouse there are none.
func (s *Server) query(now time.Time, tasks bool, uuid, organization string) (rows []*Row, foreign bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clickHouseStops.down() {
		return nil, false
	}
	rows = s.visible(now, func(r *Row) bool {
		if tasks {
			return r.TaskUUID == uuid
		}
		return r.PipelineUUID == uuid
	})
	if len(rows) == 0 {
		return nil, false
	}
	owner := defaultOrganization
	if p := s.pipelines[rows[0].PipelineUUID]; p != nil {
		owner = p.Organization
	}
	return rows, owner != organization
}

func within(rows []*Row, w window) []*Row {
	var found []*Row
	for _, r := range rows {
		if w.contains(r.ExecutedAt) {
			found = append(found, r)
		}
	}
	return found
}

// counts is what both kinds of statistics say about a set of rows.
type counts struct{ successes, failures, average int64 }

// SetLeftovers sets num_of_failures and average_duration of pipeline statistics
// whose count is negative, because more tasks failed than there were runs. The
// real server shows numbers left over from earlier requests, such as another
// pipeline's average duration. The default is zeros.
func (s *Server) SetLeftovers(failures, averageDuration int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leftovers = counts{failures: failures, average: averageDuration}
}

// count counts as the real server does. For a pipeline a success is a run and
// a failure is a task, so a run's second failed task eats another's success.
// When that makes the number negative the real server shows leftovers.
func (s *Server) count(rows []*Row, tasks bool) counts {
	total := int64(len(rows))
	if !tasks {
		total = int64(len(groupByRun(rows)))
	}
	if total == 0 {
		return counts{}
	}
	var failures, duration int64
	for _, r := range rows {
		duration += r.Duration
		if !r.IsSuccessful {
			failures++
		}
	}
	if failures > total {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.leftovers
	}
	return counts{total - failures, failures, duration / total}
}

// groupByRun splits rows by run and keeps their order, also that of the runs.
func groupByRun(rows []*Row) [][]*Row {
	var groups [][]*Row
	index := map[string]int{}
	for _, r := range rows {
		i, known := index[r.PipelineRunUUID]
		if !known {
			i = len(groups)
			index[r.PipelineRunUUID] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// last is the last run of rows in order of execution: the end and the success
// of its last task, the sum of the durations. Of a task it is the last row.
func last(rows []*Row, tasks bool) (successful bool, duration int64, executedAt time.Time) {
	if len(rows) == 0 {
		return false, 0, time.Time{}
	}
	final := rows[len(rows)-1]
	if tasks {
		return final.IsSuccessful, final.Duration, final.ExecutedAt
	}
	for _, r := range rows {
		if r.PipelineRunUUID == final.PipelineRunUUID {
			duration += r.Duration
		}
	}
	return final.IsSuccessful, duration, final.ExecutedAt
}

// stats ignores the start of the window for the last run.
func (s *Server) stats(c *call, organization string) answer {
	uuid, w, faults := parseWindow(c)
	if faults != nil {
		return badRequest(faults)
	}
	rows, foreign := s.query(s.now(), c.tasks, uuid, organization)
	inside := within(rows, w)
	if foreign && len(inside) > 0 {
		return forbidden().because("it belongs to another organization")
	}
	slices.SortStableFunc(rows, byExecution)
	n := s.count(inside, c.tasks)
	successful, duration, executedAt := last(within(rows, window{to: w.to}), c.tasks)
	return s.explain(c, dataAnswer(struct {
		NumOfSuccesses      int64  `json:"num_of_successes"`
		NumOfFailures       int64  `json:"num_of_failures"`
		AverageDuration     int64  `json:"average_duration"`
		IsLastRunSuccessful bool   `json:"is_last_run_successful"`
		LastRunDuration     int64  `json:"last_run_duration"`
		LastRunExecutedAt   string `json:"last_run_executed_at"`
	}{n.successes, n.failures, n.average, successful, duration, s.formatTime(executedAt)}), uuid)
}

// explain adds a reason to an answer that is empty because its subject does
// not exist.
func (s *Server) explain(c *call, a answer, uuid string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.pipelines[uuid]
	if c.tasks {
		known = s.hasTask(uuid)
	}
	if known || slices.ContainsFunc(s.rows, func(r timedRow) bool {
		return c.tasks && r.TaskUUID == uuid || !c.tasks && r.PipelineUUID == uuid
	}) {
		return a
	}
	return a.because("%s", s.unknown(c))
}

// unknown says why a subject is not found. The caller holds the lock.
func (s *Server) unknown(c *call) string {
	uuid, err := parseUUID(c.subject)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a UUID: %s", c.subject, err)
	case c.tasks && s.pipelines[uuid] != nil:
		return uuid + " is a pipeline, not a task"
	case c.tasks:
		return "there is no task " + uuid
	case s.hasTask(uuid):
		return uuid + " is a task, not a pipeline"
	}
	return "there is no pipeline " + uuid
}

// hasTask is whether a pipeline has the task. The caller holds the lock.
func (s *Server) hasTask(uuid string) bool {
	for _, p := range s.pipelines {
		if slices.ContainsFunc(p.Tasks, func(t Task) bool { return t.UUID == uuid }) {
			return true
		}
	}
	return false
}

// lastRun is refused when nothing ran, like a request for another
// organization's.
func (s *Server) lastRun(c *call, organization string) answer {
	uuid, err := parseUUID(c.subject)
	if err != nil {
		return badRequest([]string{err.Error()})
	}
	now := s.now()
	rows, foreign := s.query(now, c.tasks, uuid, organization)
	rows = within(rows, window{to: now})
	switch {
	case foreign:
		return forbidden().because("it belongs to another organization")
	case len(rows) == 0:
		return s.explain(c, forbidden().because("it has never run"), uuid)
	}
	slices.SortStableFunc(rows, byExecution)
	successful, duration, executedAt := last(rows, c.tasks)
	return dataAnswer(struct {
		IsSuccessful bool   `json:"is_successful"`
		Duration     int64  `json:"duration"`
		ExecutedAt   string `json:"executed_at"`
	}{successful, duration, s.formatTime(executedAt)})
}

// formatTime cuts the fraction off.
func (s *Server) formatTime(t time.Time) string {
	if s.dialect == Reference {
		return t.Truncate(time.Second).Format(time.RFC3339)
	}
	return t.Format(dateTimeLayout)
}

var (
	lowerUUIDv4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	onlyDigits  = regexp.MustCompile(`^[0-9]+$`)
)

// maxPeriods is enough for every kind of period to reach past the last time
// that the engine knows, and few enough to calculate with.
const maxPeriods = 1_000_000

type aggregatedElement struct {
	DateFrom        string `json:"date_from"`
	DateTo          string `json:"date_to"`
	NumOfSuccesses  int64  `json:"num_of_successes"`
	NumOfFailures   int64  `json:"num_of_failures"`
	AverageDuration int64  `json:"average_duration"`
}

// aggregatedStats takes rows from the date asked for on, but labels them by
// the calendar. Only periods with runs are answered, in no order.
func (s *Server) aggregatedStats(c *call, organization string) answer {
	date, unit, number := c.args[0], period(c.args[1]), c.args[2]
	var faults []string
	if !lowerUUIDv4.MatchString(c.subject) {
		faults = append(faults, "must be a valid UUID v4")
	}
	if !slices.Contains(periods, unit) {
		faults = append(faults, "must be a valid value")
	}
	if !onlyDigits.MatchString(number) {
		faults = append(faults, "must contain digits only")
	}
	layout := dateTimeLayout
	if s.dialect == Reference {
		layout = dateLayout
	}
	from, err := time.Parse(layout, date)
	if faults = appendError(faults, err); faults != nil {
		return badRequest(faults)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n > maxPeriods {
		n = maxPeriods
	}
	from = unitDay.start(from)
	w := window{from, unit.add(from, n).Add(-time.Second)}

	var elements []aggregatedElement
	if s.dialect == Reference {
		elements = []aggregatedElement{}
	}
	if n == 0 || w.to.After(latest) {
		return dataAnswer(elements)
	}
	rows, foreign := s.query(s.now(), c.tasks, c.subject, organization)
	rows = within(rows, w)
	if foreign && len(rows) > 0 {
		return forbidden().because("it belongs to another organization")
	}
	slices.SortStableFunc(rows, byExecution)
	for start, bucket := range unit.split(rows, c.tasks) {
		counted := s.count(bucket, c.tasks)
		elements = append(elements, aggregatedElement{
			DateFrom:        s.formatTime(start),
			DateTo:          s.formatTime(unit.add(start, 1).Add(-time.Second)),
			NumOfSuccesses:  counted.successes,
			NumOfFailures:   counted.failures,
			AverageDuration: counted.average,
		})
	}
	disorder(elements)
	return s.explain(c, dataAnswer(elements), c.subject)
}

// disorder shuffles, and never into the order of time: a client that forgets
// to sort is found out every time.
func disorder(elements []aggregatedElement) {
	rand.Shuffle(len(elements), func(i, j int) { elements[i], elements[j] = elements[j], elements[i] })
	byDate := func(a, b aggregatedElement) int { return strings.Compare(a.DateFrom, b.DateFrom) }
	if len(elements) > 1 && slices.IsSortedFunc(elements, byDate) {
		elements[0], elements[1] = elements[1], elements[0]
	}
}

// period is a unit of the calendar.
type period string

const (
	unitDay     period = "day"
	unitWeek    period = "week"
	unitMonth   period = "month"
	unitQuarter period = "quarter"
	unitYear    period = "year"
)

var periods = []period{unitDay, unitWeek, unitMonth, unitQuarter, unitYear}

// start is the beginning of the period that a time is in. Weeks start on
// Monday.
func (p period) start(t time.Time) time.Time {
	year, month, day := t.Date()
	switch p {
	case unitWeek:
		day -= (int(t.Weekday()) + 6) % 7
	case unitMonth:
		day = 1
	case unitQuarter:
		month, day = month-(month-1)%3, 1
	case unitYear:
		month, day = time.January, 1
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// add goes n periods on. A day that the month does not have becomes its last.
func (p period) add(t time.Time, n int) time.Time {
	switch p {
	case unitDay:
		return t.AddDate(0, 0, n)
	case unitWeek:
		return t.AddDate(0, 0, 7*n)
	case unitQuarter:
		n *= 3
	case unitYear:
		n *= 12
	}
	first := unitMonth.start(t).AddDate(0, n, 0)
	lastDay := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), lastDay)-1)
}

// split puts rows in order of execution into their periods. A run is in the
// period of its last task.
func (p period) split(rows []*Row, tasks bool) map[time.Time][]*Row {
	buckets := map[time.Time][]*Row{}
	if tasks {
		for _, r := range rows {
			start := p.start(r.ExecutedAt)
			buckets[start] = append(buckets[start], r)
		}
		return buckets
	}
	for _, run := range groupByRun(rows) {
		start := p.start(run[len(run)-1].ExecutedAt)
		buckets[start] = append(buckets[start], run...)
	}
	return buckets
}
