package ylem_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// readLogs collects what comes before an error.
func readLogs(ctx context.Context, client *ylem.Client) (rows []ylem.LogRow, err error) {
	for row, err := range client.PipelineLogs(ctx, fake.PipelineUUID, fake.Day(1, 0, 0, 0), fake.Day(31, 23, 59, 59)) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func TestPipelineLogsRequest(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON("[]"))
	client := fake.NewClient(t, f)
	east := time.FixedZone("east", 5*3600+1800)
	for row, err := range client.PipelineLogs(t.Context(), strings.ToUpper(fake.PipelineUUID), fake.Day(1, 14, 23, 1).Add(999*time.Millisecond), fake.Day(2, 0, 0, 0).In(east)) {
		t.Error(row, err)
	}
	if len(f.Calls()) != 1 {
		t.Fatalf("%d calls, want 1", len(f.Calls()))
	}
	r := f.Calls()[0]
	if want := "/v1/stats/pipelines/" + fake.PipelineUUID + "/logs/2024-01-01%2014:23:01/2024-01-02%2000:00:00"; r.Method != http.MethodGet || r.Path != want || r.Query != "" {
		t.Errorf("request is %s %s?%s, want GET %s", r.Method, r.Path, r.Query, want)
	}
	if r.Body != "" || r.Header.Get("Content-Type") != "" {
		t.Errorf("a read sent %q as %q", r.Body, r.Header.Get("Content-Type"))
	}
}

func TestPipelineLogsReference(t *testing.T) {
	t.Parallel()
	rows, err := readLogs(t.Context(), fake.NewClient(t, fake.New(t, fake.AnswerJSON(fake.Fixture(t, "reference_logs.json")))))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3", len(rows))
	}
	text, ok := rows[0].DecodeOutput()
	if !ok || !json.Valid([]byte(text)) || !strings.HasPrefix(text, `[{"amount":299.76,"created_at":"2022-09-30 18:53:35"`) {
		t.Errorf("the first output is %q", text)
	}
	rows[0].Output = ""
	const task = "eff48172-2e75-4229-aff9-6c5d658db248"
	at := func(m, s int) time.Time { return time.Date(2024, 3, 22, 12, m, s, 0, time.UTC) }
	want := []ylem.LogRow{
		{PipelineRunUUID: "f05eeffa-1683-4dcc-88aa-5d7da344ccd9", TaskUUID: task, TaskType: "query", Outcome: ylem.Succeeded, Duration: 105, ExecutedAt: at(57, 49)},
		{PipelineRunUUID: "746a0443-e3ff-4350-af4b-c7ac01b05acd", TaskUUID: task, TaskType: "query", Outcome: ylem.Failed, Duration: 1245, Output: "+iIYz/dFRiOhzfOmibIOxQ==", ExecutedAt: at(57, 2)},
		{PipelineRunUUID: "5f96ec22-6b1c-42a4-a43c-bbb49b920937", TaskUUID: task, TaskType: "query", Outcome: ylem.Failed, Duration: 294, ExecutedAt: at(56, 38)},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows are\n%+v, want\n%+v", rows, want)
	}
	for _, row := range rows[1:] {
		if faults := row.TaskErrors(); faults != nil {
			t.Errorf("faults are %+v", faults)
		}
	}
}

func TestPipelineLogsOpenSource(t *testing.T) {
	t.Parallel()
	rows, err := readLogs(t.Context(), fake.NewClient(t, fake.New(t, fake.AnswerJSON(fake.Fixture(t, "open_source_logs.json")))))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 11 {
		t.Fatalf("%d rows, want 11", len(rows))
	}
	for i, want := range map[int]ylem.LogRow{
		7: {
			PipelineRunUUID: "e0000002-0000-4000-8000-000000000002", TaskUUID: "30000000-0000-4000-8000-0000000000ab", TaskType: "filter",
			Outcome: ylem.Failed, Duration: 50, Output: "W3siQ29kZSI6MSwiU2V2ZXJpdHkiOiJlcnJvciIsIk1lc3NhZ2UiOiJib29tIn1d", ExecutedAt: fake.Day(20, 23, 59, 59).Add(999_999 * time.Microsecond),
		},
		9: {
			PipelineRunUUID: "e0000001-0000-4000-8000-000000000001", TaskUUID: "30000000-0000-4000-8000-0000000000ab", TaskType: "filter",
			Outcome: ylem.Succeeded, Duration: 30, Output: "W10=", ExecutedAt: fake.Day(10, 10, 0, 5).Add(500 * time.Millisecond),
		},
	} {
		if rows[i] != want {
			t.Errorf("row %d is\n%+v, want\n%+v", i, rows[i], want)
		}
	}
	if faults := rows[7].TaskErrors(); !slices.Equal(faults, []ylem.TaskError{{Code: 1, Severity: "error", Message: "boom"}}) {
		t.Errorf("faults are %+v", faults)
	}
	if !slices.IsSortedFunc(rows, func(a, b ylem.LogRow) int { return b.ExecutedAt.Compare(a.ExecutedAt) }) {
		t.Error("not newest first, as they came")
	}
}

func logRow(run, output string) string {
	return fmt.Sprintf(`{"pipeline_run_uuid":"%s","task_uuid":"%s","task_type":"query","is_successful":true,"duration":120,"output":"%s","metric_value":0,"executed_at":"2024-01-10T10:00:00.123456Z"}`,
		run, fake.TaskUUID, output)
}

func TestPipelineLogsBodies(t *testing.T) {
	t.Parallel()
	row := logRow(fake.RunUUID, "W10=")
	for name, test := range map[string]struct {
		body string
		rows int
		ok   bool
	}{
		"no rows":                {"[]", 0, true},
		"no rows, spaced":        {" [ \n ] \n", 0, true},
		"null":                   {"null", 0, true},
		"one":                    {"[" + row + "]", 1, true},
		"two":                    {"[" + row + "," + row + "]\n", 2, true},
		"a metric":               {`[{"pipeline_run_uuid":"r","task_uuid":"t","metric_value":1e+21}]`, 1, true},
		"an output of null":      {`[{"pipeline_run_uuid":"r","task_uuid":"t","output":null,"executed_at":null}]`, 1, true},
		"empty":                  {"", 0, false},
		"white space":            {"\n", 0, false},
		"HTML":                   {"<html><title>Log in</title></html>", 0, false},
		"an object":              {`{"rows":[]}`, 0, false},
		"a string":               {`"rows"`, 0, false},
		"half a null":            {"nu", 0, false},
		"only a bracket":         {"[", 0, false},
		"cut in the first row":   {"[" + row[:50], 0, false},
		"cut in the second row":  {"[" + row + "," + row[:50], 1, false},
		"cut after a row":        {"[" + row, 1, false},
		"cut after a comma":      {"[" + row + ",", 1, false},
		"a comma too many":       {"[" + row + ",]", 1, false},
		"a comma too few":        {"[" + row + row + "]", 1, false},
		"the wrong bracket":      {"[" + row + "}", 1, false},
		"more after the end":     {"[" + row + "]<html>", 1, false},
		"more after null":        {"null<html>", 0, false},
		"no run":                 {`[` + row + `,{"task_uuid":"t"}]`, 1, false},
		"no task":                {`[` + row + `,{"pipeline_run_uuid":"r"}]`, 1, false},
		"a null row":             {`[` + row + `,null]`, 1, false},
		"a row of another type":  {`[` + row + `,[]]`, 1, false},
		"a time in another form": {`[` + row + `,{"pipeline_run_uuid":"r","task_uuid":"t","executed_at":"yesterday"}]`, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, err := readLogs(t.Context(), fake.NewClient(t, fake.New(t, fake.AnswerJSON(test.body))))
			if len(rows) != test.rows {
				t.Errorf("%d rows, want %d", len(rows), test.rows)
			}
			if test.ok {
				if err != nil {
					t.Errorf("error: %v", err)
				}
				return
			}
			if e := fake.AsError(t, err); e.Op != request.OpLogs || e.StatusCode != http.StatusOK || e.Err == nil {
				t.Errorf("error is %+v", e)
			}
			fake.CheckText(t, err.Error())
		})
	}

	t.Run("the connection breaks", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "23281961")
			_, _ = io.WriteString(w, "["+row+","+row)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		rows, err := readLogs(t.Context(), fake.NewClient(t, f))
		if len(rows) != 2 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d rows, error %v", len(rows), err)
		}
		if got := len(f.Calls()); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

// The first row is received before the rest is sent; whoever stops then closes the connection.
func TestPipelineLogsStream(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]string{
		"a row as Ylem sends it": logRow(fake.RunUUID, "W10="),
		"a short row":            `{"workflow_run_uuid":"` + fake.RunUUID + `","task_uuid":"` + fake.TaskUUID + `"}`,
		"a long row":             logRow(fake.RunUUID, strings.Repeat("W10=", 100_000)),
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stopping early %t", name, early), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					received, gone := make(chan struct{}), false
					f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.WriteString(w, "["+row)
						_ = http.NewResponseController(w).Flush()
						select {
						case <-received:
							_, _ = io.WriteString(w, ","+row+"]")
						case <-r.Context().Done():
							gone = true
						}
					})
					client, _ := fake.NewPipeClient(t, f)
					n := 0
					for _, err := range client.PipelineLogs(t.Context(), fake.PipelineUUID, fake.Day(1, 0, 0, 0), fake.Day(2, 0, 0, 0)) {
						if err != nil {
							t.Fatalf("after %d rows: %v", n, err)
						}
						if n++; early {
							break
						}
						if n == 1 {
							close(received)
						}
					}
					synctest.Wait()
					if want := map[bool]int{false: 2, true: 1}[early]; n != want || gone != early {
						t.Errorf("%d rows, connection closed early: %t", n, gone)
					}
				})
			})
		}
	}
}

// The sequence can be read again: each time is a request.
func TestPipelineLogsAgain(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON("["+logRow(fake.RunUUID, "")+"]"))
	rows := fake.NewClient(t, f).PipelineLogs(t.Context(), fake.PipelineUUID, fake.Day(1, 0, 0, 0), fake.Day(2, 0, 0, 0))
	if len(f.Calls()) != 0 {
		t.Error("sent before it is read")
	}
	for n := range 2 {
		for _, err := range rows {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := len(f.Calls()); got != n+1 {
			t.Errorf("%d calls, want %d", got, n+1)
		}
	}
}

func TestDecodeOutput(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]struct {
		text string
		ok   bool
	}{
		"":                             {"", true},
		"W10=":                         {"[]", true},
		"e30=":                         {"{}", true},
		"bnVsbA==":                     {"null", true},
		"cGxhaW4gdGV4dCwgbm90IGpzb24=": {"plain text, not json", true},
		"W3siaWQiOjEsIm5hbWUiOiLDnG7DryJ9LHsiaWQiOjIsIm5hbWUiOm51bGx9XQ==": {`[{"id":1,"name":"Ünï"},{"id":2,"name":null}]`, true},
		"/wD+AcMogEE=":             {"", false},
		"+iIYz/dFRiOhzfOmibIOxQ==": {"", false},
		"YQBi":                     {"", false}, // a NUL
		"not base64!":              {"not base64!", true},
		"W10":                      {"W10", true}, // no padding: not what Ylem writes
	} {
		if text, ok := (ylem.LogRow{Outcome: ylem.Failed, Output: output}).DecodeOutput(); text != want.text || ok != want.ok {
			t.Errorf("%q is %q, %t, want %q, %t", output, text, ok, want.text, want.ok)
		}
	}
}

func TestTaskErrors(t *testing.T) {
	t.Parallel()
	for output, want := range map[string][]ylem.TaskError{
		`[{"Code":200,"Severity":"error","Message":"no such table"}]`: {{Code: 200, Severity: "error", Message: "no such table"}},
		`[{"Code":1,"Severity":"warning","Message":"a"},{"Code":2,"Severity":"error","Message":"b\nc"}]`: {
			{Code: 1, Severity: "warning", Message: "a"}, {Code: 2, Severity: "error", Message: "b\nc"},
		},
		`[{"Message":"only this"}]`:            {{Message: "only this"}},
		`[]`:                                   nil,
		`null`:                                 nil,
		`{}`:                                   nil,
		``:                                     nil,
		`plain text`:                           nil,
		`[1,2,3]`:                              nil,
		`["a"]`:                                nil,
		`[{"id":1,"name":"a row of a query"}]`: nil,
		`[null]`:                               nil,
		"\xff\xfe":                             nil,
	} {
		row := ylem.LogRow{Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString([]byte(output))}
		if got := row.TaskErrors(); !slices.Equal(got, want) {
			t.Errorf("%q shows %+v, want %+v", output, got, want)
		}
		row.Outcome = ylem.Succeeded
		if got := row.TaskErrors(); got != nil {
			t.Errorf("%q of a task that succeeded shows %+v", output, got)
		}
	}
}

func collect(body io.Reader) (rows []ylem.LogRow, err error) {
	for row, err := range ylem.DecodeLogs(body, ylem.MaxRow) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func FuzzDecodeLogs(f *testing.F) {
	row := logRow(fake.RunUUID, "W10=")
	for _, s := range []string{
		"", "null", "[]", "{}", "[null]", "[" + row + "]", "[" + row + "," + row + "]", "[" + row + "]x", "[" + row + "}", "[" + row + ",]",
		fake.Fixture(f, "reference_logs.json"), fake.Fixture(f, "open_source_logs.json"), `[{"pipeline_run_uuid":"\ud800","task_uuid":"t","metric_value":1e400}]`,
		`[{"workflow_run_uuid":"r","TASK_UUID":"t"}]`, "<html>", "\xff", `[{"pipeline_run_uuid":"r","task_uuid":"t","executed_at":"2024-01-01"}]`,
		"[" + strings.Repeat("[", 11_000), strings.Repeat(" ", 300) + "[]",
	} {
		f.Add([]byte(s), len(s)/2)
	}
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		rows, err := collect(bytes.NewReader(body))
		for _, row := range rows {
			if row.PipelineRunUUID == "" || row.TaskUUID == "" || !utf8.ValidString(row.Output) {
				t.Errorf("row is %+v", row)
			}
		}
		slow, slowErr := collect(iotest.OneByteReader(bytes.NewReader(body)))
		if !slices.Equal(slow, rows) || (slowErr == nil) != (err == nil) {
			t.Errorf("byte by byte %d rows (%v), at once %d (%v)", len(slow), slowErr, len(rows), err)
		}
		if cut > 0 && cut < len(body) {
			part, partErr := collect(bytes.NewReader(body[:cut]))
			if len(part) > len(rows) || !slices.Equal(part, rows[:len(part)]) {
				t.Errorf("cut to %d bytes, the rows are others", cut)
			}
			if partErr == nil && !json.Valid(body[:cut]) {
				t.Errorf("%q is accepted as whole", body[:cut])
			}
		}
		if err != nil {
			return
		}
		var elements []json.RawMessage
		if err := json.Unmarshal(body, &elements); err != nil || len(elements) != len(rows) {
			t.Errorf("%d rows of %q, which has %d (%v)", len(rows), body, len(elements), err)
		}
	})
}

func FuzzOutput(f *testing.F) {
	for _, s := range []string{
		"", "[]", "null", "plain text", "\xff\x00\xfe", "grüße", "a\x00b", `[{"Code":200,"Severity":"error","Message":"boom"}]`, `[{"Code":1e9}]`,
		`[{"id":1}]`, "W10=", `[null]`, `[{"Message":"a"},{}]`,
	} {
		f.Add([]byte(s), int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, raw []byte, code int64) {
		encoded := ylem.LogRow{Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString(raw)}
		text, ok := encoded.DecodeOutput()
		if isText := utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0; ok != isText || ok && text != string(raw) || !ok && text != "" {
			t.Errorf("%q is %q, %t", raw, text, ok)
		}
		for _, row := range []ylem.LogRow{encoded, {Outcome: ylem.Failed, Output: string(raw)}} {
			if text, ok := row.DecodeOutput(); ok && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
				t.Errorf("%q is taken for text", text)
			}
			for _, fault := range row.TaskErrors() {
				if fault == (ylem.TaskError{}) {
					t.Errorf("%q shows an error that says nothing", row.Output)
				}
			}
			row.Outcome = ylem.Succeeded
			if got := row.TaskErrors(); got != nil {
				t.Errorf("a task that succeeded shows %+v", got)
			}
		}
		if utf8.Valid(raw) && len(raw) > 0 {
			want := []ylem.TaskError{{Code: code, Severity: "error", Message: string(raw)}}
			data, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			row := ylem.LogRow{Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString(data)}
			if got := row.TaskErrors(); !slices.Equal(got, want) {
				t.Errorf("%s shows %+v", data, got)
			}
		}
	})
}

// endlessLog sends a row over and over, and ends after that number.
type endlessLog struct {
	row  string
	rows int
	rest string
}

func (l *endlessLog) Read(b []byte) (int, error) {
	if l.rest == "" {
		switch l.rows--; {
		case l.rows > 0:
			l.rest = l.row + ","
		case l.rows == 0:
			l.rest = l.row + "]"
		default:
			return 0, io.EOF
		}
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// leastOfThree measures until it is no more than enough, three times at most, and returns the least.
func leastOfThree[T cmp.Ordered](enough T, measure func() T) T {
	least := measure()
	for again := 0; least > enough && again < 2; again++ {
		least = min(least, measure())
	}
	return least
}

// A row costs its texts and little more, and what is not kept is not held, however many rows come. It
// measures the heap of the process, so that no other test may run; what others have left behind is in some of three
// measurements only.
func TestPipelineLogsMemory(t *testing.T) {
	row := logRow(fake.RunUUID, strings.Repeat("W10=", 50))
	decode := func(rows int) {
		for _, err := range ylem.DecodeLogs(&endlessLog{row: row, rows: rows, rest: "["}, ylem.MaxRow) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Texts: run, task, type, output and time; the rest is what package json needs for a row.
	if perRow := leastOfThree(10, func() float64 { return testing.AllocsPerRun(5, func() { decode(2000) }) / 2000 }); perRow > 10 {
		t.Errorf("%.1f allocations for each row", perRow)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	growth := func() (most int64) {
		before, n := heap(), 0
		for _, err := range ylem.DecodeLogs(&endlessLog{row: row, rows: 20_000, rest: "["}, ylem.MaxRow) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n%5000 == 0 {
				most = max(most, int64(heap())-int64(before))
			}
		}
		if n != 20_000 {
			t.Errorf("%d rows", n)
		}
		return most
	}
	if held := leastOfThree(1<<20, growth); held > 1<<20 {
		t.Errorf("%d KB are held", held>>10)
	}
}

// manyRows is a log of 100,000 rows, 2,000 of which are of the run fake.RunUUID.
var manyRows = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range 100_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		run := fake.RunUUID
		if i%50 != 0 {
			run = fmt.Sprintf("e0000001-0000-4000-8000-%012d", i)
		}
		b.WriteString(logRow(run, "W3siaWQiOjEsIm5hbWUiOiLDnG7DryJ9LHsiaWQiOjIsIm5hbWUiOm51bGx9XQ=="))
	}
	b.WriteByte(']')
	return b.Bytes()
})

func BenchmarkDecodeLogs(b *testing.B) {
	body := manyRows()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var kept []ylem.LogRow
		for row, err := range ylem.DecodeLogs(bytes.NewReader(body), ylem.MaxRow) {
			if err != nil {
				b.Fatal(err)
			}
			if row.PipelineRunUUID == fake.RunUUID {
				kept = append(kept, row)
			}
		}
		if len(kept) != 2000 {
			b.Fatalf("%d rows kept", len(kept))
		}
	}
}

// What is shown of an answer is cut after the secrets are removed: a part of one is a secret as well.
func TestSecretsAreNotCut(t *testing.T) {
	t.Parallel()
	const door = "SUPERSECRETVALUE"
	for n := range 320 {
		body := strings.Repeat("x", n) + door + strings.Repeat("y", 400)
		client := fake.NewClientAt(t, "http://ylem.test", func(cfg *request.Config) {
			cfg.Headers, cfg.Transport = map[string]string{"X-Door": door}, inMemory{200, []byte(`{"access_token":"TOKEN"}`), []byte(body)}
		})
		if _, err := readLogs(t.Context(), client); err == nil || strings.Contains(err.Error(), "SUPER") {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}
