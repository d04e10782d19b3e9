package ylem

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Outcome is how a task ended.
type Outcome int8

// The outcomes of a task. Ylem has been seen to log a task without one.
const (
	OutcomeUnknown Outcome = iota
	Succeeded
	Failed
)

// OutcomeOf is the outcome that a value of is_successful stands for.
func OutcomeOf(isSuccessful bool) Outcome {
	if isSuccessful {
		return Succeeded
	}
	return Failed
}

// TaskTypeForEach is the type of a task after which all tasks report once for each item.
const TaskTypeForEach = "for_each"

// LogRow is a task that has run, as the log shows it.
type LogRow struct {
	PipelineRunUUID string
	TaskUUID        string
	TaskType        string
	Outcome         Outcome
	Duration        int64  // milliseconds
	Output          string // base64 as Ylem sent it: see DecodeOutput and TaskErrors
	MetricValue     float64
	ExecutedAt      time.Time
}

// TaskError is a fault that a failed task reports in place of its output.
type TaskError struct {
	Code     int64  `json:"Code"`
	Severity string `json:"Severity"`
	Message  string `json:"Message"`
}

// DecodeOutput returns the output as text, and whether it is text: UTF-8 without NUL. The reference calls
// outputs encrypted, so that bytes of any kind may come.
func (r LogRow) DecodeOutput() (text string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(r.Output)
	if err != nil {
		raw = []byte(r.Output) // what is not base64 was never encoded
	}
	if !utf8.Valid(raw) || bytes.IndexByte(raw, 0) >= 0 {
		return "", false
	}
	return string(raw), true
}

// TaskErrors returns the faults of a failed task; none where the task succeeded or its output is something else.
func (r LogRow) TaskErrors() []TaskError {
	if r.Outcome != Failed {
		return nil
	}
	text, ok := r.DecodeOutput()
	if !ok {
		return nil
	}
	var faults list[TaskError]
	if json.Unmarshal([]byte(text), &faults) != nil {
		return nil
	}
	return slices.DeleteFunc(faults, func(f TaskError) bool { return f.Message == "" })
}

// EncodeTaskErrors is the output of a task that failed with these errors.
func EncodeTaskErrors(errors []TaskError) string {
	text, _ := json.Marshal(errors) // plain structs always encode
	return base64.StdEncoding.EncodeToString(text)
}

// MaxHeldLog is how much of one log is held, in bytes: with more, a log without end would take all memory.
const MaxHeldLog = 256 << 20

// ErrLogTooLarge says that more of a log was to be held than MaxHeldLog.
var ErrLogTooLarge = fmt.Errorf("the rows to be kept take more than %d MiB", MaxHeldLog>>20)

// HeldLog counts what is held of a log. Its zero value is ready.
type HeldLog struct {
	Max   int // in bytes; 0: MaxHeldLog
	bytes int
}

// Add counts a row, or fails with ErrLogTooLarge.
func (h *HeldLog) Add(row LogRow) error {
	h.bytes += row.size()
	if h.bytes > cmp.Or(h.Max, MaxHeldLog) {
		return ErrLogTooLarge
	}
	return nil
}

// Remove takes back rows that were added and are no longer held.
func (h *HeldLog) Remove(rows []LogRow) {
	for _, row := range rows {
		h.bytes -= row.size()
	}
}

// size is about how many bytes the row takes.
func (r LogRow) size() int {
	const itself = 200 // with its place in a map or slice
	return itself + len(r.PipelineRunUUID) + len(r.TaskUUID) + len(r.TaskType) + len(r.Output)
}

type wireRow struct {
	PipelineRunUUID string  `json:"pipeline_run_uuid"`
	WorkflowRunUUID string  `json:"workflow_run_uuid"`
	TaskUUID        string  `json:"task_uuid"`
	TaskType        string  `json:"task_type"`
	IsSuccessful    rowBool `json:"is_successful"`
	Duration        int64   `json:"duration"`
	Output          string  `json:"output"`
	MetricValue     float64 `json:"metric_value"`
	ExecutedAt      rowTime `json:"executed_at"`
}

// rowTime keeps why a time cannot be read, because an error would end the decoding before all fields of the row are known.
type rowTime struct {
	wireTime
	err error
}

func (t *rowTime) UnmarshalJSON(data []byte) error {
	t.err = t.wireTime.UnmarshalJSON(data)
	return nil
}

// rowBool is rowTime for a value of is_successful; null is no outcome.
type rowBool struct {
	outcome Outcome
	err     error
}

func (b *rowBool) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true", "false":
		b.outcome = OutcomeOf(string(data) == "true")
	default:
		b.outcome, b.err = OutcomeUnknown, json.Unmarshal(data, new(bool))
	}
	return nil
}

func (w wireRow) runUUID() string { return cmp.Or(w.PipelineRunUUID, w.WorkflowRunUUID) }

// row is the row, unless decoding it failed or it lacks what a row must have.
func (w wireRow) row(decodeErr error) (LogRow, error) {
	switch err := cmp.Or(decodeErr, w.IsSuccessful.err, w.ExecutedAt.err); {
	case err != nil:
		return LogRow{}, err
	case w.runUUID() == "" || w.TaskUUID == "":
		return LogRow{}, errors.New("a row names no run or no task")
	}
	return LogRow{
		PipelineRunUUID: w.runUUID(),
		TaskUUID:        w.TaskUUID,
		TaskType:        w.TaskType,
		Outcome:         w.IsSuccessful.outcome,
		Duration:        w.Duration,
		Output:          w.Output,
		MetricValue:     w.MetricValue,
		ExecutedAt:      w.ExecutedAt.Time,
	}, nil
}

// PipelineLogs reads the log of a pipeline between two times, newest first, at whole seconds: the fraction of from is
// dropped, that of to rounded up. A run with one task in the window comes with all of them. Ylem knows neither a limit nor
// pages, so the answer is decoded as it arrives and never held; a caller that has enough stops early.
//
// A row that cannot be read is an error that wraps a [*RowError]; the rows after it follow, unless the caller stops.
func (c *Client) PipelineLogs(ctx context.Context, pipelineUUID string, from, to time.Time) iter.Seq2[LogRow, error] {
	return func(yield func(LogRow, error) bool) {
		uuid, err := lowerUUID(request.OpLogs, pipelineUUID)
		if err != nil {
			yield(LogRow{}, err)
			return
		}
		r := request.Request{
			Op: request.OpLogs, Method: http.MethodGet,
			Path: []string{"stats", "pipelines", uuid, "logs", pathTime(from), pathTime(CeilSecond(to))},
		}
		err = c.Read(ctx, r, func(a *request.Answer) error {
			for row, err := range decodeLogs(a, maxRow) {
				if _, ok := errors.AsType[*RowError](err); ok {
					err = c.Failure(r, a, err)
				} else if err != nil {
					return err
				}
				a.Use()
				if !yield(row, err) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(LogRow{}, err)
		}
	}
}

func pathTime(t time.Time) string { return t.UTC().Format(dateTimeLayout) }

// CeilSecond rounds up, but not into the year 10000: Ylem drops the fractions of a window's ends, and its rows have them.
func CeilSecond(t time.Time) time.Time {
	whole := t.Truncate(time.Second)
	if next := whole.Add(time.Second); whole.Before(t) && next.Year() <= 9999 {
		return next
	}
	return whole
}

// maxRow is the length of the longest row that is read, in bytes: the decoder holds a row as a whole.
const maxRow = 32 << 20

// rowReader ends a row that is too long.
type rowReader struct {
	io.Reader
	limit, left int
}

func (r *rowReader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("a row is longer than %d bytes", r.limit)
	}
	n, err := r.Reader.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// RowError is a row of a log that cannot be read.
type RowError struct {
	RunUUID  string // "" if the row does not name one
	TaskType string // "" if the row does not name one
	Err      error
}

// Error says why the row cannot be read.
func (e *RowError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RowError) Unwrap() error { return e.Err }

// decodeLogs decodes a JSON array of rows, or null, row by row. A body that breaks off is an error, and so is a row of
// more than limit bytes. After a *RowError, more rows may follow.
func decodeLogs(body io.Reader, limit int) iter.Seq2[LogRow, error] {
	return func(yield func(LogRow, error) bool) {
		var start prefix
		reader := &rowReader{io.TeeReader(body, &start), limit, limit}
		decoder := json.NewDecoder(reader)
		notJSON := func(err error) error { return fmt.Errorf("the answer is not the JSON expected: %w", err) }
		fail := func(err error) { yield(LogRow{}, notJSON(err)) }

		token, err := decoder.Token()
		switch _, malformed := errors.AsType[*json.SyntaxError](err); {
		case malformed, errors.Is(err, io.EOF), err == nil && token != nil && token != json.Delim('['):
			fail(fmt.Errorf("not an array: %s", start)) // shortened once it holds no secret
			return
		case err != nil:
			fail(err)
			return
		}
		for token != nil && decoder.More() {
			var w wireRow
			err := decoder.Decode(&w)
			if _, mismatch := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mismatch {
				fail(err)
				return
			}
			reader.left = limit
			row, err := w.row(err)
			if err != nil {
				if !yield(LogRow{}, &RowError{w.runUUID(), w.TaskType, notJSON(err)}) {
					return
				}
				continue
			}
			if !yield(row, nil) {
				return
			}
		}
		if token != nil {
			if _, err := decoder.Token(); err != nil {
				fail(err)
				return
			}
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			fail(errors.New("unexpected data after the JSON array"))
		}
	}
}

// maxPrefix is far more than is shown, so that no secret is cut before it is removed.
const maxPrefix = 4 << 10

// prefix keeps the first bytes written to it, to be shown when they are not what was expected.
type prefix []byte

func (p *prefix) Write(b []byte) (int, error) {
	if room := maxPrefix - len(*p); room > 0 {
		*p = append(*p, b[:min(room, len(b))]...)
	}
	return len(b), nil
}
