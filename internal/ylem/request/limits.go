package request

import (
	"errors"
	"fmt"
	"io"
)

// What a server can make the provider hold, in bytes.
const (
	MaxBody      = 8 << 20   // of an answer: 80 years of days, the largest of statistics, have half of it
	MaxRunBody   = 1 << 20   // of the answer to a run request
	maxErrorBody = 1 << 20   // of an error; Ylem's own are below one kilobyte
	maxHeader    = 256 << 10 // of an answer's headers
	maxTokens    = 16 << 10  // of an access token and its refresh token; Ylem's have 96
)

// ReadAll reads a whole body, or fails if it is longer than limit. What was read before an error is returned with it.
func ReadAll(body io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("it is longer than %d MiB", limit>>20)
	}
	return data, err
}

// Answer is a successful answer while its body is read.
type Answer struct {
	Status int
	body   io.Reader
	broken bool // reading failed, which a decoder cannot distinguish from what it cannot decode
	used   bool
}

// Read reads the body.
func (a *Answer) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	a.broken = a.broken || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// Use notes that something of the answer was handed out, which cannot be taken back: if the rest breaks off, the request
// is not sent again.
func (a *Answer) Use() { a.used = true }
