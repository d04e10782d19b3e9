package ylem

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Subject is what statistics are about.
type Subject string

// The subjects of statistics, as they are called in paths.
const (
	Pipelines Subject = "pipelines"
	Tasks     Subject = "tasks"
)

// Stats counts what ran in a window, and describes the last run before the window's end.
//
// Ylem counts failed tasks, not failed runs: for a pipeline, NumOfFailures is the number of failed tasks and
// NumOfSuccesses the number of runs minus that.
type Stats struct {
	NumOfSuccesses      int64
	NumOfFailures       int64
	AverageDuration     int64 // milliseconds
	IsLastRunSuccessful bool
	LastRunExecutedAt   time.Time // zero: never ran before the window's end
	LastRunDuration     int64     // milliseconds
}

// AggregatedStats counts what ran in one calendar period.
type AggregatedStats struct {
	DateFrom, DateTo time.Time
	NumOfSuccesses   int64
	NumOfFailures    int64
	AverageDuration  int64 // milliseconds
}

// LastRun is the last run that reported.
type LastRun struct {
	IsSuccessful bool
	ExecutedAt   time.Time // zero: never ran
	Duration     int64     // milliseconds
}

// Stats reads the statistics of a window, inclusive at both ends, to the second.
func (c *Client) Stats(ctx context.Context, subject Subject, uuid string, from, to time.Time) (Stats, error) {
	type statsAnswer struct { // named, because encoding/json quotes the name
		NumOfSuccesses      *int64   `json:"num_of_successes"`
		NumOfFailures       *int64   `json:"num_of_failures"`
		AverageDuration     int64    `json:"average_duration"`
		IsLastRunSuccessful bool     `json:"is_last_run_successful"`
		LastRunExecutedAt   wireTime `json:"last_run_executed_at"`
		LastRunDuration     int64    `json:"last_run_duration"`
	}
	complete := func(answer statsAnswer) bool { return answer.NumOfSuccesses != nil && answer.NumOfFailures != nil }
	answer, err := get(ctx, c, request.OpStats, subject, uuid, complete, "stats", pathTime(from), pathTime(to))
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		NumOfSuccesses:      *answer.NumOfSuccesses,
		NumOfFailures:       *answer.NumOfFailures,
		AverageDuration:     answer.AverageDuration,
		IsLastRunSuccessful: answer.IsLastRunSuccessful,
		LastRunExecutedAt:   answer.LastRunExecutedAt.Time,
		LastRunDuration:     answer.LastRunDuration,
	}, nil
}

// dayForms are the two forms of a day in the path of aggregated statistics.
var dayForms = [2]string{dateTimeLayout, time.DateOnly}

// AggregatedStats reads statistics for each of number periods from the day of from on, sorted by date. Periods
// without runs are left out. They are calendar periods, so that the first may begin before from.
//
// The open-source server wants the day as a date and time and answers 400 to a bare date, which is what the
// reference shows. The form that worked is used first from then on; before that, the token's scope shows
// the dialect.
func (c *Client) AggregatedStats(ctx context.Context, subject Subject, uuid string, from time.Time, period Period, number int64) ([]AggregatedStats, error) {
	type element struct {
		DateFrom        wireTime `json:"date_from"`
		DateTo          wireTime `json:"date_to"`
		NumOfSuccesses  int64    `json:"num_of_successes"`
		NumOfFailures   int64    `json:"num_of_failures"`
		AverageDuration int64    `json:"average_duration"`
	}
	if _, err := lowerUUID(request.OpAggregatedStats, uuid); err != nil {
		return nil, err
	}
	if _, err := c.Now(ctx); err != nil { // fetches the token, whose scope shows the dialect
		return nil, err
	}
	read := func(form int) (list[element], error) {
		complete := func(answer list[element]) bool {
			return !slices.ContainsFunc(answer, func(e element) bool { return e.DateFrom.IsZero() || e.DateTo.IsZero() })
		}
		answer, err := get(ctx, c, request.OpAggregatedStats, subject, uuid, complete,
			"aggregated-stats", from.UTC().Format(dayForms[form]), string(period), strconv.FormatInt(number, 10))
		if err == nil {
			c.dayForm.Store(int32(form) + 1)
		}
		return answer, err
	}

	form := int(c.dayForm.Load()) - 1
	if form < 0 {
		form = 0
		if strings.Contains(c.Scope(), "workflows:") {
			form = 1
		}
	}
	badRequest := func(err error) bool {
		e, ok := errors.AsType[*request.Error](err)
		return ok && e.StatusCode == http.StatusBadRequest
	}
	answer, err := read(form)
	if badRequest(err) {
		first := err
		if answer, err = read(1 - form); badRequest(err) {
			err = first
		}
	}
	if err != nil {
		return nil, err
	}

	stats := make([]AggregatedStats, len(answer))
	for i, e := range answer {
		stats[i] = AggregatedStats{
			DateFrom:        e.DateFrom.Time,
			DateTo:          e.DateTo.Time,
			NumOfSuccesses:  e.NumOfSuccesses,
			NumOfFailures:   e.NumOfFailures,
			AverageDuration: e.AverageDuration,
		}
	}
	slices.SortFunc(stats, func(a, b AggregatedStats) int {
		return cmp.Or(a.DateFrom.Compare(b.DateFrom), a.DateTo.Compare(b.DateTo))
	})
	return stats, nil
}

// LastRun reads the last run. What never ran is an [*request.Error] whose NoData is true, and so is what does not exist
// or belongs to another organization: Ylem does not distinguish them.
func (c *Client) LastRun(ctx context.Context, subject Subject, uuid string) (LastRun, error) {
	type lastRunAnswer struct {
		IsSuccessful *bool     `json:"is_successful"`
		ExecutedAt   *wireTime `json:"executed_at"`
		Duration     int64     `json:"duration"`
	}
	complete := func(answer lastRunAnswer) bool { return answer.IsSuccessful != nil && answer.ExecutedAt != nil }
	answer, err := get(ctx, c, request.OpLastRun, subject, uuid, complete, "last-run", "stats")
	if err != nil {
		return LastRun{}, err
	}
	return LastRun{IsSuccessful: *answer.IsSuccessful, ExecutedAt: answer.ExecutedAt.Time, Duration: answer.Duration}, nil
}

// list is an array that is not trusted to be short: elements take far more memory than their text.
type list[T any] []T

// maxList is how many elements an array may have: 80 years have 29,950 days.
const maxList = 50_000

func (l *list[T]) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	switch token, err := decoder.Token(); {
	case err != nil:
		return err
	case token == nil:
		*l = nil
		return nil
	case token != json.Delim('['):
		return json.Unmarshal(data, (*[]T)(l)) // for encoding/json's error message
	}
	*l = list[T]{}
	for decoder.More() {
		if len(*l) == maxList {
			return fmt.Errorf("an array has more than %d elements", maxList)
		}
		var element T
		if err := decoder.Decode(&element); err != nil {
			return err
		}
		*l = append(*l, element)
	}
	return nil
}

// get reads one JSON answer about a pipeline or task; callers who ask for the same at the same time share it, and must
// not change it. complete reports whether it holds what it must: the page of a proxy may be JSON too, and must not pass
// for zeros.
func get[T any](ctx context.Context, c *Client, op request.Op, subject Subject, uuid string, complete func(T) bool, path ...string) (answer T, err error) {
	if uuid, err = lowerUUID(op, uuid); err != nil {
		return answer, err
	}
	r := request.Request{Op: op, Method: http.MethodGet, Path: append([]string{"stats", string(subject), uuid}, path...)}
	return request.ReadShared(ctx, c.Client, r, func(a *request.Answer) (answer T, err error) {
		body, err := request.ReadAll(a, request.MaxBody)
		if err != nil {
			return answer, err
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return answer, c.Unreadable(r, body, fmt.Errorf("it is not the JSON expected (%w)", err))
		}
		if !complete(answer) {
			return answer, c.Unreadable(r, body, errors.New("it lacks what Ylem answers"))
		}
		return answer, nil
	})
}
