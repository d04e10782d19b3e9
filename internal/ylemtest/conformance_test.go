package ylemtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// manualClock moves only by advance.
type manualClock struct {
	mu   sync.Mutex
	time time.Time
}

func newClock() *manualClock {
	return &manualClock{time: time.Date(2026, 11, 23, 11, 5, 59, 0, time.UTC)}
}

func (c *manualClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// exchange is one recorded request and its answer. The files under testdata
// hold the answers of a real server, with secrets and dates taken out: a
// title after ###, the request after >, its body after >> (a Go string, or the
// number of bytes), the answer. {words} are filled in by the replay.
type exchange struct {
	title   string
	request []string // request line and headers
	body    string
	answer  string // "" = the connection is closed without one
}

func readExchanges(t *testing.T, file string) []exchange {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []exchange
	for part := range strings.SplitSeq("\n"+string(text), "\n### ") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		lines := strings.Split(part, "\n")
		e := exchange{title: lines[0]}
		lines = lines[1:]
		for ; strings.HasPrefix(lines[0], "> "); lines = lines[1:] {
			e.request = append(e.request, lines[0][2:])
		}
		if quoted, found := strings.CutPrefix(lines[0], ">> "); found {
			lines = lines[1:]
			if size, err := strconv.Atoi(quoted); err == nil {
				e.body = strings.Repeat("x", size)
			} else if e.body, err = strconv.Unquote(quoted); err != nil {
				t.Fatalf("%s: %s: body: %v", file, e.title, err)
			}
		}
		if lines[0] != "(connection closed)" {
			e.answer = strings.Join(lines, "\n") + "\n\n"
		}
		list = append(list, e)
	}
	return list
}

// leftovers are the numbers that the real server had left over from earlier
// requests when it answered.
var leftovers = map[string]counts{
	"pipeline stats: run 6 (two failed tasks in one run)": {failures: 1, average: 5},
	"agg month/12 from 2024-01-01 00:00:00":               {failures: 3000},
	"agg month/12 again (order stable?)":                  {failures: 3000},
	"agg month/1 2024-06 (only run 6: two failed tasks)":  {failures: 3000},
	"agg month/007":    {failures: 3000},
	"agg n=1000 days":  {failures: 21},
	"agg n=1000 weeks": {failures: 3000},
}

// troubles are what has happened to the server before the exchanges of a file.
var troubles = map[string]func(*testing.T, *world){
	"clickhouse-down": func(_ *testing.T, w *world) { w.StopClickHouse() },
	"sessions-lost":   func(_ *testing.T, w *world) { w.LoseSessions() },
	"deadlock": func(t *testing.T, w *world) {
		s := &testServer{Server: w.Server, token: w.words["token"]}
		s.hold(t, w.words["two"])
	},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no recorded exchanges", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := recordedWorld(t)
			if trouble := troubles[name]; trouble != nil {
				trouble(t, w)
			}
			for _, e := range readExchanges(t, file) {
				t.Run(e.title, func(t *testing.T) { w.replay(t, e) })
			}
		})
	}
}

// world is a server in the state of the recorded one.
type world struct {
	*Server
	clock *manualClock
	words map[string]string // what stands for {word} in a recorded request
}

func recordedWorld(t *testing.T) *world {
	t.Helper()
	clock := newClock()
	s := NewServer(WithClock(clock.now), WithDeadlocks(0))
	t.Cleanup(s.Close)
	w := &world{Server: s, clock: clock, words: map[string]string{}}

	addClient := func(prefix string, c Client) Client {
		c.Organization = "a"
		c = s.AddClient(c)
		w.words[prefix+"id"] = c.ID
		w.words[prefix+"secret"] = url.QueryEscape(c.Secret)
		return c
	}
	both := addClient("", Client{})
	runOnly := addClient("run-only-", Client{Scopes: []string{scopeRun}})
	gone := addClient("gone-", Client{})
	addClient("odd-", Client{Secret: "a+b/c&d=e%f gé"})
	w.words["id-upper"] = strings.ToUpper(both.ID)
	w.words["id-plain"] = strings.ReplaceAll(both.ID, "-", "")
	w.words["basic"] = base64.StdEncoding.EncodeToString([]byte(both.ID + ":" + both.Secret))

	w.words["expired"], _ = getToken(t, s, both, "")
	w.words["expired-run-only"], _ = getToken(t, s, runOnly, "")
	clock.advance(11 * time.Second)
	w.words["expiring"], _ = getToken(t, s, both, "")
	clock.advance(24*time.Hour - 10*time.Second)
	w.words["token"], w.words["refresh"] = getToken(t, s, both, "")
	w.words["token-lower"] = strings.ToLower(w.words["token"])
	w.words["stats-only"], _ = getToken(t, s, both, scopeStats)
	w.words["old"], w.words["old-refresh"] = getToken(t, s, both, scopeStats)
	w.words["run-only"], _ = getToken(t, s, runOnly, "")
	w.words["orphan"], _ = getToken(t, s, gone, "")
	s.DeleteClient(gone.ID)

	s.AddPipeline(Pipeline{UUID: "10000000-0000-4000-8000-00000000000a", Organization: "a", Tasks: []Task{{Type: triggerTaskType}}})
	for word, p := range map[string]Pipeline{
		"two":             {Tasks: []Task{{}, {}}},
		"paused":          {Paused: true},
		"template":        {Template: true},
		"paused-template": {Paused: true, Template: true},
		"no-tasks":        {Tasks: []Task{}},
		"inactive":        {Tasks: []Task{{Inactive: true}}},
		"deleted":         {Deleted: true},
		"never":           {},
		"failed":          {},
		"future":          {},
		"other":           {Organization: "b"},
	} {
		if p.Organization == "" {
			p.Organization = "a"
		}
		p = s.AddPipeline(p)
		w.words[word] = p.UUID
		if len(p.Tasks) > 0 {
			w.words[word+"-task"] = p.Tasks[0].UUID
		}
	}
	w.addRecordedRows()
	return w
}

const recordedPipeline = "10000000-0000-4000-8000-0000000000aa"

// addRecordedRows gives the recorded pipeline its seven runs, and others one.
func (w *world) addRecordedRows() {
	const (
		query  = "30000000-0000-4000-8000-0000000000aa"
		filter = "30000000-0000-4000-8000-0000000000ab"
	)
	w.AddPipeline(Pipeline{UUID: recordedPipeline, Organization: "a"})
	for _, r := range []struct {
		run      int
		task     string
		ok       bool
		duration int64
		output   string
		end      string
	}{
		{1, query, true, 120, `[{"id":1,"name":"Ünï"},{"id":2,"name":null}]`, "2024-01-10T10:00:00.123456Z"},
		{1, filter, true, 30, `[]`, "2024-01-10T10:00:05.5Z"},
		{2, query, true, 200, ``, "2024-01-20T23:59:58.999999Z"},
		{2, filter, false, 50, `[{"Code":1,"Severity":"error","Message":"boom"}]`, "2024-01-20T23:59:59.999999Z"},
		{3, query, true, 10, "\xff\x00\xfe\x01\xc3\x28\x80\x41", "2024-02-01T00:00:00Z"},
		{3, filter, true, 11, `plain text, not json`, "2024-02-01T00:00:01Z"},
		{4, query, false, 5, `null`, "2024-03-15T12:00:00Z"},
		{5, query, true, 1000, `{}`, "2024-03-31T23:59:59Z"},
		{5, filter, true, 2000, `[1,2,3]`, "2024-04-01T00:00:02Z"},
		{6, query, false, 7, `[{"Code":2,"Severity":"error","Message":"a"}]`, "2024-06-05T08:00:00Z"},
		{6, filter, false, 9, `[{"Code":2,"Severity":"error","Message":"b"}]`, "2024-06-05T08:00:00Z"},
		{7, query, true, 3, `x`, "2025-12-31T23:59:59.999999Z"},
		{7, filter, true, 4, `"<b>&</b>"`, "2025-12-31T23:59:59.999999Z"},
	} {
		taskType := "query"
		if r.task == filter {
			taskType = "filter"
		}
		w.AddRows(Row{
			PipelineRunUUID: fmt.Sprintf("e%07d-0000-4000-8000-%012d", r.run, r.run),
			PipelineUUID:    recordedPipeline,
			TaskUUID:        r.task,
			TaskType:        taskType,
			IsSuccessful:    r.ok,
			Duration:        r.duration,
			Output:          []byte(r.output),
			ExecutedAt:      parseRFC3339(r.end),
		})
	}
	row := func(word string, ok bool, duration int64, end string) Row {
		return Row{
			PipelineUUID: w.words[word],
			TaskUUID:     w.words[word+"-task"],
			IsSuccessful: ok,
			Duration:     duration,
			ExecutedAt:   parseRFC3339(end),
		}
	}
	w.AddRows(
		row("failed", false, 77, "2024-05-01T00:00:00Z"),
		row("future", true, 78, "2030-05-01T00:00:00Z"),
		row("other", true, 1, "2024-01-10T10:00:00Z"),
	)
}

func parseRFC3339(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

var (
	element     = regexp.MustCompile(`\{[^}]*\}`)
	word        = regexp.MustCompile(`\{([a-z-]+)\}`)
	tokenFields = regexp.MustCompile(`"(access|refresh)_token":"[A-Z0-9]{48}"`)
	runBody     = regexp.MustCompile(`^\{"pipeline_run_uuid":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"\}$`)
)

// replay sends a recorded request byte for byte and compares all that comes
// back.
func (w *world) replay(t *testing.T, e exchange) {
	fill := func(s string) string {
		return word.ReplaceAllStringFunc(s, func(placeholder string) string {
			value, known := w.words[strings.Trim(placeholder, "{}")]
			if !known {
				t.Fatalf("nothing to fill in for %s", placeholder)
			}
			return value
		})
	}
	left := leftovers[e.title]
	w.SetLeftovers(left.failures, left.average)
	body := fill(e.body)
	line := e.request[0]
	if !strings.Contains(line, " HTTP/") {
		line += " HTTP/1.1"
	}
	request := line + "\r\nHost: sandbox\r\n" + strings.Join(e.request[1:], "\r\n")
	if len(e.request) > 1 {
		request += "\r\n"
	}
	if body != "" && !strings.Contains(request, "chunked") {
		request += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, fill(request)+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	got, err := readAnswer(bufio.NewReader(conn), method)
	if e.answer == "" {
		if err == nil {
			t.Fatalf("answer %s, want the connection closed", got.status)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAnswer(bufio.NewReader(strings.NewReader(e.answer)), method)
	if err != nil {
		t.Fatal("recorded answer: ", err)
	}

	if strings.HasPrefix(want.body, `[{"date_from"`) {
		got.body, want.body = sortElements(got.body), sortElements(want.body)
	}
	if runBody.MatchString(got.body) && runBody.MatchString(want.body) {
		got.body = want.body
	}
	tokens := `"${1}_token":"` + strings.Repeat("T", 48) + `"`
	got.body = tokenFields.ReplaceAllString(got.body, tokens)
	if !strings.Contains(strings.Join(e.request, "")+body, "scope=stats:read,") {
		got.body, want.body = sortScopes(got.body), sortScopes(want.body)
	}

	// What net/http refuses by itself has no date, here and there.
	if date := got.header.Get("Date"); date != w.clock.now().Format(http.TimeFormat) && e.title != "invalid percent escape" {
		t.Errorf("Date: %q", date)
	}
	got.header.Del("Date")
	if got.status != want.status {
		t.Errorf("status %s, want %s", got.status, want.status)
	}
	if !maps.EqualFunc(got.header, want.header, slices.Equal) {
		t.Errorf("header %v\n  want %v", got.header, want.header)
	}
	if got.body != want.body {
		t.Errorf("body %q\nwant %q", got.body, want.body)
	}
}

type wireAnswer struct {
	status string
	header textproto.MIMEHeader
	body   string
}

func readAnswer(r *bufio.Reader, method string) (wireAnswer, error) {
	text := textproto.NewReader(r)
	status, err := text.ReadLine()
	if err != nil {
		return wireAnswer{}, err
	}
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return wireAnswer{}, err
	}
	if strings.Contains(status, " 100 ") {
		return readAnswer(r, method)
	}
	a := wireAnswer{status: status, header: header}
	length := header.Get("Content-Length")
	switch {
	case method == http.MethodHead:
		return a, nil
	case length == "":
		rest, err := io.ReadAll(r)
		a.body = string(bytes.TrimRight(rest, "\n"))
		return a, err
	}
	n, err := strconv.Atoi(length)
	if err != nil {
		return a, err
	}
	buffer := make([]byte, n)
	_, err = io.ReadFull(r, buffer)
	a.body = string(buffer)
	return a, err
}

func sortElements(list string) string {
	elements := element.FindAllString(list, -1)
	slices.Sort(elements)
	return "[" + strings.Join(elements, ",") + "]"
}

// sortScopes undoes the random order of the scopes of a token.
func sortScopes(body string) string {
	return strings.Replace(body, `"stats:read,pipelines:run"`, `"pipelines:run,stats:read"`, 1)
}
