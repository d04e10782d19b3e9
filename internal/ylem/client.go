// Package ylem is what Ylem's API can be asked: it starts runs of pipelines and reads what runs did. How the requests are
// sent is package request's.
//
// It understands both dialects of the API without knowing which one it talks to: the published reference of the hosted
// service (https://docs.ylem.co/api/api-reference) and the open-source server (https://github.com/ylem-co/ylem). Where they
// exclude each other, it tries the one and then the other.
//
// All times are UTC, all durations that Ylem reports are milliseconds. Every error that concerns a request is a
// [*request.Error].
package ylem

import (
	"sync/atomic"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Client talks to one Ylem instance. It is safe for concurrent use, and sends nothing before its first call.
type Client struct {
	*request.Client
	dayForm atomic.Int32 // one more than the index into dayForms of the form that worked; 0: not known
}

// New builds a client. It sends nothing; it fails if the configuration cannot work.
func New(cfg request.Config) (*Client, error) {
	c, err := request.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{Client: c}, nil
}
