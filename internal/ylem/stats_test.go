package ylem_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

func TestStats(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want ylem.Stats
	}{
		"open source": {
			`{"num_of_successes":2,"num_of_failures":4,"average_duration":573,"is_last_run_successful":false,"last_run_duration":16,"last_run_executed_at":"2024-06-05 08:00:00"}`,
			ylem.Stats{NumOfSuccesses: 2, NumOfFailures: 4, AverageDuration: 573, LastRunDuration: 16, LastRunExecutedAt: time.Date(2024, 6, 5, 8, 0, 0, 0, time.UTC)},
		},
		"open source, the last run before the window": {
			`{"num_of_successes":0,"num_of_failures":0,"average_duration":0,"is_last_run_successful":true,"last_run_duration":1,"last_run_executed_at":"2024-01-10 10:00:00"}`,
			ylem.Stats{IsLastRunSuccessful: true, LastRunDuration: 1, LastRunExecutedAt: fake.Day(10, 10, 0, 0)},
		},
		"open source, never ran": {
			`{"num_of_successes":0,"num_of_failures":0,"average_duration":0,"is_last_run_successful":false,"last_run_duration":0,"last_run_executed_at":"0001-01-01 00:00:00"}`,
			ylem.Stats{},
		},
		"reference": {
			fake.Fixture(t, "reference_stats.json"),
			ylem.Stats{
				NumOfSuccesses: 12, NumOfFailures: 3, AverageDuration: 573, IsLastRunSuccessful: true,
				LastRunDuration: 105, LastRunExecutedAt: time.Date(2024, 3, 22, 12, 57, 49, 0, time.UTC),
			},
		},
		"reference, never ran": {
			`{"num_of_successes":0,"num_of_failures":0,"average_duration":0,"is_last_run_successful":false,"last_run_executed_at":null,"last_run_duration":0}`,
			ylem.Stats{},
		},
	} {
		for _, subject := range []ylem.Subject{ylem.Pipelines, ylem.Tasks} {
			t.Run(name+", "+string(subject), func(t *testing.T) {
				t.Parallel()
				f := fake.New(t, fake.AnswerJSON(test.body))
				got, err := fake.NewClient(t, f).Stats(t.Context(), subject, strings.ToUpper(fake.TaskUUID), fake.Day(1, 14, 23, 1), fake.Day(31, 23, 59, 59).In(time.FixedZone("west", -3600)))
				if err != nil {
					t.Fatal(err)
				}
				if got != test.want {
					t.Errorf("got %+v, want %+v", got, test.want)
				}
				if got.LastRunExecutedAt.IsZero() != test.want.LastRunExecutedAt.IsZero() {
					t.Errorf("last run at %v", got.LastRunExecutedAt)
				}
				want := "/v1/stats/" + string(subject) + "/" + fake.TaskUUID + "/stats/2024-01-01%2014:23:01/2024-01-31%2023:59:59"
				if r := f.Calls()[0]; r.Method != http.MethodGet || r.Path != want || r.Query != "" {
					t.Errorf("request is %s %s?%s, want GET %s", r.Method, r.Path, r.Query, want)
				}
			})
		}
	}
}

func TestLastRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want ylem.LastRun
	}{
		"open source": {fake.LastRun, ylem.LastRun{IsSuccessful: true, Duration: 7, ExecutedAt: time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)}},
		"open source, failed": {
			`{"is_successful":false,"duration":77,"executed_at":"2024-05-01 00:00:00"}`,
			ylem.LastRun{Duration: 77, ExecutedAt: time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)},
		},
		"reference": {fake.Fixture(t, "reference_last_run.json"), ylem.LastRun{IsSuccessful: true, Duration: 105, ExecutedAt: time.Date(2024, 3, 22, 12, 57, 49, 0, time.UTC)}},
		"never":     {`{"is_successful":false,"duration":0,"executed_at":"0001-01-01 00:00:00"}`, ylem.LastRun{}},
	} {
		for _, subject := range []ylem.Subject{ylem.Pipelines, ylem.Tasks} {
			t.Run(name+", "+string(subject), func(t *testing.T) {
				t.Parallel()
				f := fake.New(t, fake.AnswerJSON(test.body))
				got, err := fake.NewClient(t, f).LastRun(t.Context(), subject, strings.ToUpper(fake.TaskUUID))
				if err != nil || got != test.want {
					t.Errorf("got %+v (%v), want %+v", got, err, test.want)
				}
				if r := f.Calls()[0]; r.Method != http.MethodGet || r.Path != "/v1/stats/"+string(subject)+"/"+fake.TaskUUID+"/last-run/stats" {
					t.Errorf("request is %s %s", r.Method, r.Path)
				}
			})
		}
	}
}

func TestLastRunForbidden(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler              http.HandlerFunc
		noData, missingScope bool
	}{
		"never ran, unknown or another organization's": {fake.Answer(403, fake.Forbidden, "Content-Type", fake.TypeJSON, "X-Content-Type-Options", "nosniff"), true, false},
		"without the scope":                            {fake.Answer(403, ""), false, true},
		"a firewall's":                                 {fake.Answer(403, `{"message":"Request blocked by rule 942100"}`, "Content-Type", fake.TypeJSON), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, test.handler)
			run, err := fake.NewClient(t, f).LastRun(t.Context(), ylem.Pipelines, fake.PipelineUUID)
			if e := fake.AsError(t, err); e.NoData() != test.noData || e.MissingScope() != test.missingScope || run != (ylem.LastRun{}) {
				t.Errorf("NoData %t, MissingScope %t, %+v, %v", e.NoData(), e.MissingScope(), run, err)
			}
			if got := len(f.Calls()); got != 1 {
				t.Errorf("%d calls, want 1", got)
			}
		})
	}
}

// An answer that holds nothing of what was asked must not pass for "nothing failed".
func TestForeignStatsAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"null":         "null",
		"empty object": "{}",
		"other object": `{"status":"ok"}`,
		"empty":        "",
		"HTML":         "<html><title>Log in</title></html>",
		"an array":     "[]",
		"a string":     `"ok"`,
		"cut":          fake.LastRun[:30],
		"more after":   fake.LastRun + "{}",
		"other types":  `{"num_of_successes":"many","duration":"long"}`,
		"bad time":     `{"executed_at":"yesterday","last_run_executed_at":"yesterday"}`,
		"number time":  `{"executed_at":1706711000,"last_run_executed_at":1706711000}`,
	} {
		for _, call := range []string{"stats", "last run"} {
			t.Run(name+", "+call, func(t *testing.T) {
				t.Parallel()
				err := fake.Calls[call](t.Context(), fake.NewClient(t, fake.New(t, fake.AnswerJSON(body))), fake.PipelineUUID)
				if err == nil {
					t.Fatal("accepted")
				}
				if e := fake.AsError(t, err); e.StatusCode != http.StatusOK || e.Err == nil || e.NoData() || e.MissingScope() {
					t.Errorf("error is %+v", e)
				}
				fake.CheckText(t, err.Error())
			})
		}
	}
}

const notADateTime = `{"code":400,"message":"Bad Request","errors":["parsing time \"2024-01-01\" as \"2006-01-02 15:04:05\": cannot parse \"\" as \"15\""]}` + "\n"

const aggregatedPath = "/v1/stats/pipelines/" + fake.PipelineUUID + "/aggregated-stats/"

// dateServer answers only the one form of the date.
func dateServer(t *testing.T, scope, accepts, body string) *fake.Server {
	t.Helper()
	f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.EscapedPath(), "/aggregated-stats/"+accepts+"/") {
			fake.AnswerJSON(body)(w, r)
			return
		}
		fake.Answer(http.StatusBadRequest, notADateTime, "Content-Type", fake.TypeJSON)(w, r)
	})
	f.Token = func(w http.ResponseWriter, _ *http.Request) { fake.Grant(w, 1, 86400, scope) }
	return f
}

const (
	dateTimeForm = "2024-01-01%2000:00:00"
	dateForm     = "2024-01-01"
)

func TestAggregatedStatsOpenSource(t *testing.T) {
	t.Parallel()
	f := dateServer(t, "stats:read,pipelines:run", dateTimeForm, fake.Fixture(t, "open_source_aggregated_stats.json"))
	got, err := fake.NewClient(t, f).AggregatedStats(t.Context(), ylem.Pipelines, strings.ToUpper(fake.PipelineUUID), fake.Day(1, 0, 0, 0), "day", 1000)
	if err != nil {
		t.Fatal(err)
	}
	var days []string
	for _, s := range got {
		days = append(days, s.DateFrom.Format(time.DateOnly))
		if s.DateTo.Sub(s.DateFrom) != 24*time.Hour-time.Second || s.DateFrom.Location() != time.UTC {
			t.Errorf("period is %v to %v", s.DateFrom, s.DateTo)
		}
	}
	if want := []string{"2024-01-10", "2024-01-20", "2024-02-01", "2024-03-15", "2024-04-01", "2024-06-05", "2025-12-31"}; !slices.Equal(days, want) {
		t.Errorf("days are %v, want %v", days, want)
	}
	if want := (ylem.AggregatedStats{
		DateFrom: fake.Day(20, 0, 0, 0), DateTo: fake.Day(20, 23, 59, 59), NumOfSuccesses: 0, NumOfFailures: 1, AverageDuration: 250,
	}); got[1] != want {
		t.Errorf("got %+v, want %+v", got[1], want)
	}
	if len(f.Calls()) != 1 || f.Calls()[0].Path != aggregatedPath+dateTimeForm+"/day/1000" {
		t.Errorf("calls are %+v", f.Calls())
	}
}

func TestAggregatedStatsReference(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON(fake.Fixture(t, "reference_aggregated_stats.json")))
	got, err := fake.NewClient(t, f).AggregatedStats(t.Context(), ylem.Tasks, fake.TaskUUID, time.Date(2020, 1, 1, 5, 0, 0, 0, time.UTC), "month", 12)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v (%v)", got, err)
	}
	date := func(m time.Month, d int) time.Time { return time.Date(2020, m, d, 0, 0, 0, 0, time.UTC) }
	if want := (ylem.AggregatedStats{DateFrom: date(1, 1), DateTo: date(1, 31), NumOfSuccesses: 30, NumOfFailures: 1, AverageDuration: 120}); got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if r := f.Calls()[0]; !strings.HasPrefix(r.Path, "/v1/stats/tasks/"+fake.TaskUUID+"/aggregated-stats/2020-01-01%20") || !strings.HasSuffix(r.Path, "/month/12") {
		t.Errorf("request is %s", r.Path)
	}
}

func TestAggregatedStatsBodies(t *testing.T) {
	t.Parallel()
	for body, ok := range map[string]bool{
		"null": true, "[]": true, " [ ]\n": true,
		"": false, "{}": false, "<html>": false, "[": false, `[{"date_from":"yesterday"}]`: false, "[]x": false, `"x"`: false,
	} {
		f := fake.New(t, fake.AnswerJSON(body))
		got, err := fake.NewClient(t, f).AggregatedStats(t.Context(), ylem.Pipelines, fake.PipelineUUID, fake.Day(1, 0, 0, 0), "day", 1)
		if ok && (err != nil || len(got) != 0 || got == nil) {
			t.Errorf("%q: %#v (%v), want an empty list", body, got, err)
		}
		if !ok && (err == nil || fake.AsError(t, err).StatusCode != http.StatusOK || len(f.Calls()) != 1) {
			t.Errorf("%q: %#v (%v) after %d calls", body, got, err, len(f.Calls()))
		}
	}
}

// Each call names the forms of the date that were sent for it.
func TestAggregatedStatsDateForms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scope, accepts string
		want           [3][]string
	}{
		"open source":                    {"stats:read,pipelines:run", dateTimeForm, [3][]string{{dateTimeForm}, {dateTimeForm}, {dateTimeForm}}},
		"bare dates":                     {"stats:read", dateForm, [3][]string{{dateTimeForm, dateForm}, {dateForm}, {dateForm}}},
		"bare dates, no scope given":     {"", dateForm, [3][]string{{dateTimeForm, dateForm}, {dateForm}, {dateForm}}},
		"reference":                      {"workflows:run", dateForm, [3][]string{{dateForm}, {dateForm}, {dateForm}}},
		"reference's scope, other dates": {"workflows:run", dateTimeForm, [3][]string{{dateForm, dateTimeForm}, {dateTimeForm}, {dateTimeForm}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := dateServer(t, test.scope, test.accepts, "[]")
			client := fake.NewClient(t, f)
			seen := 0
			for i, want := range test.want {
				if _, err := client.AggregatedStats(t.Context(), ylem.Pipelines, fake.PipelineUUID, fake.Day(1, 0, 0, 0), "day", 7); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, r := range f.Calls()[seen:] {
					got = append(got, strings.TrimSuffix(strings.TrimPrefix(r.Path, aggregatedPath), "/day/7"))
				}
				seen = len(f.Calls())
				if !slices.Equal(got, want) {
					t.Errorf("call %d sent %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

func TestAggregatedStatsRefusedForAnotherReason(t *testing.T) {
	t.Parallel()
	const reason = `{"code":400,"message":"Bad Request","errors":["must be a valid value"]}`
	api := func(second http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.EscapedPath(), dateTimeForm) {
				fake.Answer(400, reason, "Content-Type", fake.TypeJSON)(w, r)
				return
			}
			second(w, r)
		}
	}
	read := func(ctx context.Context, client *ylem.Client) error {
		_, err := client.AggregatedStats(ctx, ylem.Pipelines, fake.PipelineUUID, fake.Day(1, 0, 0, 0), "hour", 1)
		return err
	}

	t.Run("both are refused: the first answer says why", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, api(fake.Answer(400, notADateTime, "Content-Type", fake.TypeJSON)))
		client := fake.NewClient(t, f)
		for range 2 {
			if e := fake.AsError(t, read(t.Context(), client)); e.StatusCode != 400 || e.Message != "Bad Request: must be a valid value" {
				t.Errorf("error is %+v", e)
			}
		}
		if got := f.Calls(); len(got) != 4 || got[2].Path != got[0].Path {
			t.Errorf("calls are %+v", got)
		}
	})

	t.Run("other refusals are no question of dates", func(t *testing.T) {
		t.Parallel()
		for _, status := range []int{403, 404} {
			f := fake.New(t, fake.Answer(status, ""))
			if e := fake.AsError(t, read(t.Context(), fake.NewClient(t, f))); e.StatusCode != status || len(f.Calls()) != 1 {
				t.Errorf("%d calls, %+v", len(f.Calls()), e)
			}
		}
	})

	t.Run("canceled during the second", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, _ := fake.NewPipeClient(t, fake.New(t, api(fake.Stall)))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := read(ctx, client); !errors.Is(err, context.Canceled) {
				t.Errorf("error: %v", err)
			}
		})
	})

	t.Run("the second is answered by a server in trouble", func(t *testing.T) {
		t.Parallel()
		client := fake.NewClient(t, fake.New(t, api(fake.Answer(503, ""))))
		if e := fake.AsError(t, read(t.Context(), client)); e.StatusCode != 503 {
			t.Errorf("error is %v, and does not say that the other form was never judged", e)
		}
	})
}

// roundTripper answers without a network.
type roundTripper func(*http.Request) string

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(f(r))), Header: http.Header{"Content-Type": {"application/json"}},
	}, nil
}

func BenchmarkDecodeStats(b *testing.B) {
	const body = `{"num_of_successes":2,"num_of_failures":4,"average_duration":573,"is_last_run_successful":false,"last_run_duration":16,"last_run_executed_at":"2024-06-05 08:00:00"}`
	client, err := ylem.New(request.Config{ClientID: "client-id", ClientSecret: "client-secret", Transport: roundTripper(func(r *http.Request) string {
		if r.Method == http.MethodPost {
			return `{"access_token":"TOKEN-1","token_type":"Bearer"}`
		}
		return body
	})})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		stats, err := client.Stats(b.Context(), ylem.Pipelines, fake.PipelineUUID, fake.Day(1, 0, 0, 0), fake.Day(31, 0, 0, 0))
		if err != nil || stats.NumOfFailures != 4 {
			b.Fatal(stats, err)
		}
	}
}
