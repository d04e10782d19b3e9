package ylem_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// A server may be broken or hostile. Whatever it sends, a call ends with an error that a person understands, and takes
// no more memory than it has to.

// endless writes a text again and again until the client has had enough, and counts the bytes.
func endless(begin, text string, written *atomic.Int64) http.HandlerFunc {
	chunk := strings.Repeat(text, 1+(64<<10)/len(text))
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
		}
		_, err := io.WriteString(w, begin)
		for err == nil {
			var n int
			n, err = io.WriteString(w, chunk)
			written.Add(int64(n))
		}
	}
}

func TestAnswersWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ begin, text string }{
		"white space":           {"", " "},
		"a string in an object": {`{"duration":7,"executed_at":"`, "2024"},
		"a string in a row":     {`[{"output":"`, "AAAA"},
		"brackets":              {"", "["},
	} {
		for call, do := range fake.Calls {
			if call == "logs" && name != "a string in a row" { // the race detector makes these slow: see TestRowsWithoutEnd
				continue
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				var written atomic.Int64
				client, _ := fake.NewPipeClient(t, fake.New(t, endless(test.begin, test.text, &written))) // which buffers next to nothing
				err := do(t.Context(), client, fake.PipelineUUID)
				e := fake.AsError(t, err)
				want, most := "it is longer than 8 MiB", int64(request.MaxBody)
				switch call {
				case "run":
					want = "it is longer than 1 MiB"
				case "logs":
					want, most = "a row is longer than", ylem.MaxRow
				}
				if !strings.Contains(err.Error(), want) || e.MaybeStarted != (call == "run") || e.StatusCode/100 != 2 {
					t.Errorf("error is %+v, want %q", err, want)
				}
				if n := written.Load(); n > most+(1<<20) {
					t.Errorf("%d MiB were read", n>>20)
				}
				fake.CheckText(t, err.Error())
			})
		}
	}
}

func TestHeadersOfAMegabyte(t *testing.T) {
	t.Parallel()
	for call, do := range fake.Calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			status, body := http.StatusOK, fake.LastRun
			if call == "run" {
				status, body = http.StatusCreated, fake.StartedRun
			}
			f := fake.New(t, fake.Answer(status, body, "Content-Type", fake.TypeJSON, "X-Much", strings.Repeat("x", 1<<20)))
			err := do(t.Context(), fake.NewClient(t, f, func(cfg *request.Config) { cfg.MaxRetries = 0 }), fake.PipelineUUID)
			if err == nil || !strings.Contains(err.Error(), "headers exceeded") {
				t.Fatalf("error is %v", err)
			}
			if e := fake.AsError(t, err); e.MaybeStarted != (call == "run") {
				t.Errorf("maybe started: %t", e.MaybeStarted)
			}
			fake.CheckText(t, err.Error())
		})
	}
}

// repeated is a text again and again, without end.
type repeated struct {
	text string
	next int
	read int
}

func (r *repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.text[r.next]
		r.next = (r.next + 1) % len(r.text)
	}
	r.read += len(b)
	return len(b), nil
}

func TestRowsWithoutEnd(t *testing.T) {
	t.Parallel()
	const (
		row   = `{"pipeline_run_uuid":"` + fake.RunUUID + `","task_uuid":"` + fake.TaskUUID + `"}`
		limit = 64 << 10
		long  = "a row is longer than 65536 bytes"
	)
	for name, test := range map[string]struct{ begin, text, error string }{
		"white space":          {"", " ", long},
		"a number":             {"", "0", "not an array"},
		"a string":             {"", `"x`, "not an array"},
		"brackets":             {"", "[", "exceeded max depth"},
		"objects in a row":     {`[`, `{"a":`, "exceeded max depth"},
		"a string in a row":    {`[{"output":"`, "AAAA", long},
		"a number in a row":    {`[{"duration":`, "1", long},
		"fields in a row":      {`[{"a":1`, `,"a":1`, long},
		"space in a row":       {`[{`, "\n", long},
		"space before a row":   {`[` + row, "\n", long},
		"space after the rows": {`[` + row + `]`, "\n", "unexpected data after the JSON array"},
		"escapes in a row":     {`[{"output":"`, `\u0000`, long},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := &repeated{text: test.text}
			var err error
			for _, err = range ylem.DecodeLogs(io.MultiReader(strings.NewReader(test.begin), body), limit) {
				if err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.error) {
				t.Errorf("error is %v, want %q", err, test.error)
			}
			if body.read > 2*limit {
				t.Errorf("%d bytes were read", body.read)
			}
		})
	}
}

// Elements take far more memory than their text: a short answer may be large.
func TestListsOfNothing(t *testing.T) {
	t.Parallel()
	body := "[" + strings.Repeat("{},", 300_000) + "{}]"
	for _, call := range []string{"run", "aggregated stats"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			status := map[string]int{"run": 201, "aggregated stats": 200}[call]
			err := fake.Calls[call](t.Context(), fake.NewClient(t, fake.New(t, fake.Answer(status, body, "Content-Type", fake.TypeJSON))), fake.PipelineUUID)
			if err == nil || !strings.Contains(err.Error(), "an array has more than 50000 elements") {
				t.Errorf("error is %v", err)
			}
		})
	}
	if faults := (ylem.LogRow{Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(body, "{}", `{"Message":"x"}`)))}).TaskErrors(); faults != nil {
		t.Errorf("%d faults", len(faults))
	}
}

// The rows of a log without end are dropped as they come; those who keep them have a limit.
func TestLogWithoutEnd(t *testing.T) {
	t.Parallel()
	row := func(output string) string {
		return `{"pipeline_run_uuid":"` + fake.RunUUID + `","task_uuid":"` + fake.TaskUUID + `","output":"` + output + `"}`
	}
	t.Run("whoever stops", func(t *testing.T) {
		t.Parallel()
		var written atomic.Int64
		client, _ := fake.NewPipeClient(t, fake.New(t, endless("["+row(""), ","+row(""), &written))) // which buffers next to nothing
		n := 0
		for _, err := range client.PipelineLogs(t.Context(), fake.PipelineUUID, fake.Day(1, 0, 0, 0), fake.Day(2, 0, 0, 0)) {
			if n++; err != nil || n == 100 {
				if err != nil {
					t.Errorf("row %d: %v", n, err)
				}
				break
			}
		}
		if written.Load() > 1<<20 {
			t.Errorf("%d bytes for %d rows", written.Load(), n)
		}
	})
	t.Run("what is kept is bounded", func(t *testing.T) {
		t.Parallel()
		var held ylem.HeldLog
		kept, err := 0, error(nil)
		for ; err == nil; kept++ {
			err = held.Add(ylem.LogRow{PipelineRunUUID: fake.RunUUID, TaskUUID: fake.TaskUUID, Output: "W10="})
		}
		if kept < 500_000 || kept > 2_000_000 || !strings.Contains(err.Error(), "256 MiB") {
			t.Errorf("%d rows: %v", kept, err)
		}
	})
}

func TestHostileRows(t *testing.T) {
	t.Parallel()
	const uuids = `"pipeline_run_uuid":"r","task_uuid":"t"`
	for name, test := range map[string]struct {
		row   string
		want  ylem.LogRow // where there is no error
		error string
	}{
		"only the UUIDs":            {`{` + uuids + `}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t"}, ""},
		"more fields":               {`{` + uuids + `,"a":[{"b":null}],"c":"d"}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t"}, ""},
		"a field twice":             {`{` + uuids + `,"duration":1,"duration":2}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", Duration: 2}, ""},
		"all null":                  {`{` + uuids + `,"task_type":null,"is_successful":null,"duration":null,"output":null,"metric_value":null,"executed_at":null}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t"}, ""},
		"invalid UTF-8":             {`{` + uuids + `,"task_type":"a` + "\xff" + `b","output":"` + "\xc3\x28" + `"}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", TaskType: "a\uFFFDb", Output: "\uFFFD("}, ""},
		"half a surrogate":          {`{` + uuids + `,"task_type":"\ud800"}`, ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", TaskType: "\uFFFD"}, ""},
		"no UUIDs":                  {`{}`, ylem.LogRow{}, "names no run or no task"},
		"UUIDs of null":             {`{"pipeline_run_uuid":null,"task_uuid":null}`, ylem.LogRow{}, "names no run or no task"},
		"a duration too large":      {`{` + uuids + `,"duration":9223372036854775808}`, ylem.LogRow{}, "cannot unmarshal number 9223372036854775808"},
		"a duration with a point":   {`{` + uuids + `,"duration":1.5}`, ylem.LogRow{}, "cannot unmarshal number 1.5"},
		"a duration of text":        {`{` + uuids + `,"duration":"1"}`, ylem.LogRow{}, "cannot unmarshal string"},
		"a metric too large":        {`{` + uuids + `,"metric_value":1e999}`, ylem.LogRow{}, "cannot unmarshal number 1e999"},
		"a metric that is none":     {`{` + uuids + `,"metric_value":NaN}`, ylem.LogRow{}, "invalid character 'N'"},
		"a success of text":         {`{` + uuids + `,"is_successful":"true"}`, ylem.LogRow{}, "cannot unmarshal string"},
		"an output of an object":    {`{` + uuids + `,"output":{}}`, ylem.LogRow{}, "cannot unmarshal object"},
		"a date without meaning":    {`{` + uuids + `,"executed_at":"2024-02-30 00:00:00"}`, ylem.LogRow{}, "is not a time"},
		"a date of a number":        {`{` + uuids + `,"executed_at":1704880800}`, ylem.LogRow{}, "cannot unmarshal number"},
		"a date of invalid UTF-8":   {`{` + uuids + `,"executed_at":"` + "\xff" + `"}`, ylem.LogRow{}, "is not a time"},
		"a date of 1 MB":            {`{` + uuids + `,"executed_at":"` + strings.Repeat("2024", 1<<18) + `"}`, ylem.LogRow{}, "is not a time"},
		"a year of five digits":     {`{` + uuids + `,"executed_at":"10000-01-01 00:00:00"}`, ylem.LogRow{}, "is not a time"},
		"an array in an array":      {`[{` + uuids + `}]`, ylem.LogRow{}, "cannot unmarshal array"},
		"nested 20,000 levels deep": {`{` + uuids + `,"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, ylem.LogRow{}, "exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, err := collect(strings.NewReader("[" + test.row + "]"))
			if test.error == "" {
				if err != nil || len(rows) != 1 || rows[0] != test.want {
					t.Errorf("rows are %+v (%v), want %+v", rows, err, test.want)
				}
				return
			}
			if err == nil || len(rows) != 0 || !strings.Contains(err.Error(), test.error) {
				t.Errorf("%d rows, error %v", len(rows), err)
			}
		})
	}
}

func TestHostileNumbersAndDates(t *testing.T) {
	t.Parallel()
	const whole = `{"is_successful":true,"num_of_successes":1,"num_of_failures":0,"date_from":"2024-01-01 00:00:00","date_to":"2024-01-31 23:59:59",` +
		`"duration":%[1]s,"average_duration":%[1]s,"executed_at":%[2]s,"last_run_executed_at":%[2]s}`
	for name, test := range map[string]struct{ number, date, error string }{
		"beyond 64 bits":    {"18446744073709551616", `"2024-01-31 14:23:01"`, "cannot unmarshal number"},
		"with a point":      {"1.5", `"2024-01-31 14:23:01"`, "cannot unmarshal number"},
		"with an exponent":  {"1e3", `"2024-01-31 14:23:01"`, "cannot unmarshal number"},
		"an empty object":   {"{}", `"2024-01-31 14:23:01"`, "cannot unmarshal object"},
		"a date of words":   {"1", `"yesterday"`, "is not a time"},
		"a date of a list":  {"1", `[]`, "cannot unmarshal array"},
		"a date of BCE":     {"1", `"-0001-01-01 00:00:00"`, "is not a time"},
		"a leap second":     {"1", `"2016-12-31 23:59:60"`, "is not a time"},
		"29 February 2023":  {"1", `"2023-02-29 00:00:00"`, "is not a time"},
		"a zone of letters": {"1", `"2024-01-31 14:23:01 UTC"`, "is not a time"},
	} {
		for _, call := range []string{"stats", "aggregated stats", "last run"} {
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				body := fmt.Sprintf(whole, test.number, test.date)
				if call == "aggregated stats" {
					body = "[" + strings.ReplaceAll(body, `"2024-01-01 00:00:00"`, test.date) + "]"
				}
				err := fake.Calls[call](t.Context(), fake.NewClient(t, fake.New(t, fake.AnswerJSON(body))), fake.PipelineUUID)
				if e := fake.AsError(t, err); e.StatusCode != 200 || !strings.Contains(err.Error(), test.error) {
					t.Errorf("error is %v", err)
				}
				fake.CheckText(t, err.Error())
			})
		}
	}
}

// inMemory answers without a network: with one body to requests for a token, and with another to all others.
type inMemory struct {
	status      int
	token, body []byte
}

func (m inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	status, body := m.status, m.body
	if strings.HasSuffix(req.URL.Path, "/oauth/token") {
		status, body = http.StatusOK, m.token
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

// Whatever an answer is, a call ends with values that make sense or with an error that can be shown.
func FuzzAnswers(f *testing.F) {
	const token = `{"access_token":"TOKEN","expires_in":86400,"scope":"stats:read,pipelines:run","token_type":"Bearer"}`
	for _, body := range []string{
		"", "null", "[]", "{}", "[null]", "[{}]", fake.LastRun, fake.StartedRun, fake.Forbidden, `{"error":"server_error"}`, "<html>", "\xff", strings.Repeat("[", 11_000),
		`{"num_of_successes":2,"num_of_failures":4,"average_duration":573,"is_last_run_successful":false,"last_run_duration":16,"last_run_executed_at":"2024-06-05 08:00:00"}`,
		`[{"date_from":"2024-01-01 00:00:00","date_to":"2024-01-31 23:59:59","num_of_successes":1,"num_of_failures":1,"average_duration":200}]`,
		fake.Fixture(f, "reference_run.json"), fake.Fixture(f, "reference_stats.json"), fake.Fixture(f, "reference_aggregated_stats.json"), fake.Fixture(f, "open_source_logs.json"),
	} {
		for _, status := range []int{200, 201, 302, 400, 403, 500} {
			f.Add(status, []byte(token), []byte(body))
		}
	}
	for _, body := range []string{"", "null", `{"access_token":1}`, `{"access_token":"a\nb"}`, `{"access_token":"x","expires_in":"soon"}`, `{"access_token":"x","expires_in":1e30}`, `{"error":"\u0000"}`, `{"scope":[]}`} {
		f.Add(200, []byte(body), []byte(fake.LastRun))
	}
	f.Fuzz(func(t *testing.T, status int, token, body []byte) {
		if status < 200 || status > 599 {
			t.Skip()
		}
		client := fake.NewClientAt(t, "http://ylem.test", func(cfg *request.Config) {
			cfg.MaxRetries, cfg.Transport = 0, inMemory{status, token, body}
		})
		for name, call := range fake.Calls {
			if err := call(t.Context(), client, fake.PipelineUUID); err != nil {
				_ = fake.AsError(t, err)
				fake.CheckText(t, err.Error())
			} else if status >= 300 {
				t.Errorf("%s: no error of %d", name, status)
			}
		}
	})
}
