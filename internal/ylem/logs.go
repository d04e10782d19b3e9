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
)

// LogRow is a task that has run, as the log tells it.
type LogRow struct {
	PipelineRunUUID string
	TaskUUID        string
	TaskType        string
	IsSuccessful    bool
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
	if r.IsSuccessful {
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

// MaxHeldLog is how much of one log is held, in bytes: with more, a log without end would take all memory.
const MaxHeldLog = 256 << 20

// ErrLogTooLarge says that more of a log was to be held than MaxHeldLog.
var ErrLogTooLarge = fmt.Errorf("the rows to be kept take more than %d MiB", MaxHeldLog>>20)

// HeldLog counts what is held of a log. Its zero value is ready.
type HeldLog struct{ bytes int }

// Add counts a row, or fails with ErrLogTooLarge.
func (h *HeldLog) Add(row LogRow) error {
	const itself = 200 // with its place in a map or slice, about
	h.bytes += itself + len(row.PipelineRunUUID) + len(row.TaskUUID) + len(row.TaskType) + len(row.Output)
	if h.bytes > MaxHeldLog {
		return ErrLogTooLarge
	}
	return nil
}

type wireRow struct {
	PipelineRunUUID string   `json:"pipeline_run_uuid"`
	WorkflowRunUUID string   `json:"workflow_run_uuid"`
	TaskUUID        string   `json:"task_uuid"`
	TaskType        string   `json:"task_type"`
	IsSuccessful    bool     `json:"is_successful"`
	Duration        int64    `json:"duration"`
	Output          string   `json:"output"`
	MetricValue     float64  `json:"metric_value"`
	ExecutedAt      wireTime `json:"executed_at"`
}

// PipelineLogs reads the log of a pipeline between two times, newest first. Whole runs come: a run with one
// task in the window comes with all of them. Ylem knows neither a limit nor pages, so the answer is decoded as
// it arrives and never held; a caller that has enough stops early.
func (c *Client) PipelineLogs(ctx context.Context, pipelineUUID string, from, to time.Time) iter.Seq2[LogRow, error] {
	return func(yield func(LogRow, error) bool) {
		uuid, err := lowerUUID(OpLogs, pipelineUUID)
		if err != nil {
			yield(LogRow{}, err)
			return
		}
		r := request{op: OpLogs, method: http.MethodGet, path: []string{"stats", "pipelines", uuid, "logs", pathTime(from), pathTime(to)}}
		untilWhole(ctx, c.reads, func(ctx context.Context) bool {
			var seen bool
			seen, err = c.yieldLogs(ctx, r, yield)
			return !seen && brokeOff(err) // rows that were handed out cannot be taken back
		})
		if err != nil {
			yield(LogRow{}, err)
		}
	}
}

// yieldLogs asks once. seen tells whether a row was handed out.
func (c *Client) yieldLogs(ctx context.Context, r request, yield func(LogRow, error) bool) (seen bool, err error) {
	resp, err := c.send(ctx, c.reads, r)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	body := &watchedReader{Reader: resp.Body}
	for row, err := range decodeLogs(body, maxRow) {
		if err != nil {
			e := c.newError(r, nil, cmp.Or(context.Cause(ctx), err))
			e.StatusCode, e.brokeOff = resp.StatusCode, body.failed
			return seen, e
		}
		if seen = true; !yield(row, nil) {
			break
		}
	}
	return seen, nil
}

// watchedReader notes whether reading failed, which a decoder does not tell apart from what it cannot decode.
type watchedReader struct {
	io.Reader
	failed bool
}

func (r *watchedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.failed = r.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func pathTime(t time.Time) string { return t.UTC().Format(dateTimeLayout) }

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

// decodeLogs decodes a JSON array of rows, or null, row by row. A body that breaks off is an error, and so is a row of
// more than limit bytes.
func decodeLogs(body io.Reader, limit int) iter.Seq2[LogRow, error] {
	return func(yield func(LogRow, error) bool) {
		var start prefix
		reader := &rowReader{io.TeeReader(body, &start), limit, limit}
		decoder := json.NewDecoder(reader)
		fail := func(err error) { yield(LogRow{}, fmt.Errorf("the answer is not the JSON expected: %w", err)) }

		token, err := decoder.Token()
		switch _, malformed := errors.AsType[*json.SyntaxError](err); {
		case malformed, errors.Is(err, io.EOF), err == nil && token != nil && token != json.Delim('['):
			fail(fmt.Errorf("not an array: %q", Shorten(string(start))))
			return
		case err != nil:
			fail(err)
			return
		}
		for token != nil && decoder.More() {
			var row wireRow
			if err := decoder.Decode(&row); err != nil {
				fail(err)
				return
			}
			if row.PipelineRunUUID == "" {
				row.PipelineRunUUID = row.WorkflowRunUUID
			}
			if row.PipelineRunUUID == "" || row.TaskUUID == "" {
				fail(errors.New("a row names no run or no task"))
				return
			}
			reader.left = limit
			if !yield(LogRow{
				PipelineRunUUID: row.PipelineRunUUID,
				TaskUUID:        row.TaskUUID,
				TaskType:        row.TaskType,
				IsSuccessful:    row.IsSuccessful,
				Duration:        row.Duration,
				Output:          row.Output,
				MetricValue:     row.MetricValue,
				ExecutedAt:      row.ExecutedAt.Time,
			}, nil) {
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
			fail(errors.New("more follows where the answer ends"))
		}
	}
}

// prefix keeps the first bytes written to it, to be shown when they are not what was expected.
type prefix []byte

func (p *prefix) Write(b []byte) (int, error) {
	if room := 200 - len(*p); room > 0 {
		*p = append(*p, b[:min(room, len(b))]...)
	}
	return len(b), nil
}
