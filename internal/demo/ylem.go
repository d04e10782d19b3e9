package main

import (
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest/scenario"
)

// The UUIDs that the examples name.
const (
	ordersUUID = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
	queryUUID  = "449c3c47-427e-465e-b1d2-0bf257b714e4" // a task of it
)

// newYlem starts a Ylem with the sandbox's built-in pipelines and their past.
func newYlem(opts ...ylemtest.Option) (*ylemtest.Server, ylemtest.Client) {
	s := ylemtest.NewServer(opts...)
	scenario.BuiltIn().AddTo(s, time.Now())
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
