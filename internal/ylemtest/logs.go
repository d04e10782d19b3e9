package ylemtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"
)

// logRow has one of two names for the run, by dialect.
type logRow struct {
	PipelineRunUUID string    `json:"pipeline_run_uuid,omitempty"`
	WorkflowRunUUID string    `json:"workflow_run_uuid,omitempty"`
	TaskUUID        string    `json:"task_uuid"`
	TaskType        string    `json:"task_type"`
	IsSuccessful    bool      `json:"is_successful"`
	Duration        int64     `json:"duration"`
	Output          []byte    `json:"output"`
	MetricValue     float64   `json:"metric_value"`
	ExecutedAt      time.Time `json:"executed_at"`
}

// logs answers with whole runs: all rows of each run that has one row in the
// window.
func (s *Server) logs(c *call, organization string) answer {
	uuid, w, faults := parseWindow(c)
	if faults != nil {
		return badRequest(faults)
	}
	rows, foreign := s.query(s.now(), false, uuid, organization)
	runs := map[string]bool{}
	for _, r := range within(rows, w) {
		runs[r.PipelineRunUUID] = true
	}
	if foreign && len(runs) > 0 {
		return forbidden().because("the pipeline belongs to another organization")
	}
	slices.SortStableFunc(rows, func(a, b *Row) int { return byExecution(b, a) })
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	separator := byte('[')
	for _, r := range rows {
		if !runs[r.PipelineRunUUID] {
			continue
		}
		body.WriteByte(separator)
		separator = ','
		begin := body.Len()
		if err := encoder.Encode(s.logRow(r)); err != nil {
			// A metric that is not a number: the real server stumbles over it too.
			return errorAnswer(http.StatusInternalServerError, "Internal error")
		}
		body.Truncate(body.Len() - 1) // the encoder's line end
		if len(r.JSON) > 0 {
			replaced := replaceFields(body.Bytes()[begin:], r.JSON)
			body.Truncate(begin)
			body.Write(replaced)
		}
	}
	if separator == '[' {
		body.WriteByte(separator)
	}
	body.WriteByte(']')
	return s.explain(c, rawAnswer(body.Bytes()), uuid)
}

// logRow is a row as the log shows it, but for its JSON.
func (s *Server) logRow(r *Row) logRow {
	row := logRow{
		PipelineRunUUID: r.PipelineRunUUID,
		TaskUUID:        r.TaskUUID,
		TaskType:        r.TaskType,
		IsSuccessful:    r.IsSuccessful,
		Duration:        r.Duration,
		Output:          r.Output,
		MetricValue:     r.MetricValue,
		ExecutedAt:      r.ExecutedAt,
	}
	if row.Output == nil {
		row.Output = []byte{} // "", never null
	}
	if s.dialect == Reference {
		row.PipelineRunUUID, row.WorkflowRunUUID = "", r.PipelineRunUUID
	}
	return row
}

// replaceFields puts other JSON in place of an object's fields. It need not be
// valid, since what it stands for need not be either.
func replaceFields(object []byte, with map[string]string) []byte {
	decoder := json.NewDecoder(bytes.NewReader(object))
	with = maps.Clone(with)
	var fields [][]byte
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, []byte(`"`+name+`":`+value))
		}
	}
	next := func() json.Token {
		token, err := decoder.Token()
		if err != nil {
			panic("ylemtest: " + err.Error())
		}
		return token
	}
	for next(); decoder.More(); {
		name, _ := next().(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			panic("ylemtest: " + err.Error())
		}
		replacement, replaced := with[name]
		if !replaced {
			replacement = string(value)
		}
		add(name, replacement)
		delete(with, name)
	}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		add(name, with[name])
	}
	return slices.Concat([]byte("{"), bytes.Join(fields, []byte(",")), []byte("}"))
}
