package main

import (
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// The UUIDs that the examples name.
const (
	ordersUUID    = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
	queryUUID     = "449c3c47-427e-465e-b1d2-0bf257b714e4" // a task of it
	reportUUID    = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
	customersUUID = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
	importedUUID  = "95295cbc-cee7-49cc-a11a-2f1788423934" // a run of the orders, to import
)

var pipelineNames = map[string]string{
	ordersUUID:    "imports orders",
	reportUUID:    "sends a report",
	customersUUID: "imports customers",
}

// pipelines are those of the examples. Their tasks are over before a person would wait for them.
func pipelines() []ylemtest.Pipeline {
	const (
		trigger = "7c1d0b9e-6a42-4f35-b8d7-2e9f1a3c5b60"
		post    = "d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"
		totals  = "1f8b6c3d-9e25-4a70-8c5f-b4d3e2a1f069"
		mail    = "92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25"
		begin   = "3a95f7d4-0b1e-4c82-96e3-5d8f2a7c4b19"
		fetch   = "8e1c6b47-92da-4f05-b3a6-70d4e9f81c2b"
		load    = "a4f09d63-5c7e-4b18-8f2d-e6b13c97a058"
		notify  = "6e0c2b91-4f7d-4d3a-8b15-c9a27e84d360"
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
	}, {
		UUID: customersUUID,
		Tasks: []ylemtest.Task{
			{UUID: begin, Type: "external_trigger"},
			{UUID: fetch, Type: "query", Duration: quick, After: []string{begin}, Output: []byte(`[{"customers":41}]`)},
			{UUID: load, Type: "api_call", Duration: quick, After: []string{fetch}, Output: []byte(`{"imported":41}`)},
			{UUID: notify, Type: "notification", Duration: 2 * quick, After: []string{fetch}},
		},
	}}
}

// newYlem starts a Ylem with the pipelines and a past: orders are imported every night of the first quarter of
// 2024, more slowly each month and with three failures, and all pipelines ran on each of the last seven days.
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
	s.AddRows(ylemtest.Row{
		PipelineUUID: ordersUUID, PipelineRunUUID: importedUUID, TaskUUID: queryUUID, IsSuccessful: true, Duration: 34_000,
		ExecutedAt: time.Now().Add(-6 * time.Hour),
	})
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
