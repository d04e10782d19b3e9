package main

import (
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// The UUIDs that examples/demo names.
const (
	ordersUUID = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
	queryUUID  = "449c3c47-427e-465e-b1d2-0bf257b714e4"
	reportUUID = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
)

var pipelineNames = map[string]string{
	ordersUUID: "imports orders",
	reportUUID: "sends a report",
}

// pipelines are the two of examples/demo. Their tasks are over before a person would wait for them.
func pipelines() []ylemtest.Pipeline {
	const (
		trigger = "7c1d0b9e-6a42-4f35-b8d7-2e9f1a3c5b60"
		post    = "d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"
		totals  = "1f8b6c3d-9e25-4a70-8c5f-b4d3e2a1f069"
		mail    = "92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25"
	)
	const quick = 50 * time.Millisecond
	return []ylemtest.Pipeline{{
		UUID: ordersUUID,
		Tasks: []ylemtest.Task{
			{UUID: trigger, Type: "external_trigger"},
			{UUID: queryUUID, Type: "query", Duration: quick, After: []string{trigger}, Output: []byte(`[{"orders":128,"amount":10496.5}]`)},
			{UUID: post, Type: "api_call", Duration: quick, After: []string{queryUUID}, Output: []byte(`{"imported":128}`)},
		},
	}, {
		UUID: reportUUID,
		Tasks: []ylemtest.Task{
			{UUID: totals, Type: "query", Duration: quick, Output: []byte(`[{"total":73475.5}]`)},
			{UUID: mail, Type: "notification", Duration: quick, After: []string{totals}},
		},
	}}
}

// newYlem starts a Ylem with the pipelines and a past: orders are imported every night of the first quarter of
// 2024, slower from month to month and three times in vain, and both pipelines ran on the last seven days.
func newYlem(opts ...ylemtest.Option) (*ylemtest.Server, ylemtest.Client) {
	s := ylemtest.NewServer(opts...)
	for _, p := range pipelines() {
		s.AddPipeline(p)
	}
	failed := map[string]string{
		"2024-01-17": "dial tcp 10.0.3.7:3306: connection refused",
		"2024-02-09": "Lock wait timeout exceeded",
		"2024-02-10": "Lock wait timeout exceeded",
	}
	firstNight := time.Date(2024, time.January, 1, 2, 0, 0, 0, time.UTC)
	for night := firstNight; night.Month() < time.April; night = night.AddDate(0, 0, 1) {
		changeQuery(s, func(query *ylemtest.Task) {
			query.Duration = time.Duration(20+10*int(night.Month())+night.Day()/4) * time.Second
			query.Errors = nil
			if message := failed[night.Format(time.DateOnly)]; message != "" {
				query.Errors = []ylemtest.TaskError{{Message: message}}
			}
		})
		s.AddRun(ordersUUID, night)
	}
	for _, p := range pipelines() {
		s.AddPipeline(p) // as they were
		for days := range 7 {
			s.AddRun(p.UUID, time.Now().Add(-time.Duration(days)*24*time.Hour-12*time.Hour))
		}
	}
	return s, s.AddClient(ylemtest.Client{})
}

// changeQuery changes the task that asks the shop's database.
func changeQuery(s *ylemtest.Server, change func(*ylemtest.Task)) {
	s.UpdatePipeline(ordersUUID, func(p *ylemtest.Pipeline) {
		for i := range p.Tasks {
			if p.Tasks[i].UUID == queryUUID {
				change(&p.Tasks[i])
			}
		}
	})
}
