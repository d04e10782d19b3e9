package ylem

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// dateTimeLayout is the form of dates in paths, and in most answers of the open-source server. It is UTC.
const dateTimeLayout = time.DateTime

// ParseTime reads a time in any form that either dialect uses: RFC 3339 with any offset and any fraction,
// "2006-01-02 15:04:05" and "2006-01-02", both UTC. The result is UTC. Ylem writes "never" as year 1, which is
// Go's zero time.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, dateTimeLayout, time.DateOnly} {
		t, err := time.Parse(layout, s)
		if year := t.UTC().Year(); err == nil && 0 <= year && year <= 9999 { // others cannot be written again
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf(`%q is not a time: write it as "2024-01-31T14:23:01Z", "2024-01-31 14:23:01" or "2024-01-31"`, request.Shorten(s))
}

// wireTime is a time in an answer; null and "" are the zero time.
type wireTime struct{ time.Time }

func (t *wireTime) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s == "" {
		t.Time = time.Time{}
		return nil
	}
	var err error
	t.Time, err = ParseTime(s)
	return err
}
