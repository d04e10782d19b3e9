package ylem_test

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	utc := func(nanoseconds int) time.Time { return time.Date(2024, 1, 31, 14, 23, 1, nanoseconds, time.UTC) }
	for s, want := range map[string]time.Time{
		"2024-01-31T14:23:01Z":           utc(0),
		"2024-01-31T14:23:01.5Z":         utc(500_000_000),
		"2024-01-31T14:23:01.123456Z":    utc(123_456_000),
		"2024-01-31T14:23:01.123456789Z": utc(123_456_789),
		"2024-01-31T15:23:01+01:00":      utc(0),
		"2024-01-31T00:53:01-13:30":      utc(0),
		"2024-01-31 14:23:01":            utc(0),
		"2024-01-31":                     time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC),
		"2024-02-29":                     time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"2024-12-31T23:59:59-01:00":      time.Date(2025, 1, 1, 0, 59, 59, 0, time.UTC),
		"0001-01-01 00:00:00":            {},
		"0001-01-01T00:00:00Z":           {},
		"9999-12-31 23:59:59":            time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		got, err := ylem.ParseTime(s)
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v (%v), want %v", s, got, err, want)
		}
		if got.IsZero() != want.IsZero() {
			t.Errorf("%q: IsZero is %t", s, got.IsZero())
		}
	}
	for _, s := range []string{
		"", " ", "now", "2024", "2024-01", "31.01.2024", "01/31/2024", "2024-01-31T14:23:01", "2024-01-31 14:23",
		"2024-02-30", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-31 24:00:00", "2024-01-31 14:60:00",
		"2024-01-31 14:23:60", " 2024-01-31", "2024-01-31 ", "2024-01-31Z", "2024-1-31", "20240131", "1706711000",
		"2024-01-31+14:23:01", "2024-01-31 14:23:01 UTC", "-2024-01-31", "10000-01-01", "2024-01-31\n",
	} {
		got, err := ylem.ParseTime(s)
		if err == nil {
			t.Errorf("%q is accepted as %v", s, got)
		} else if !got.IsZero() {
			t.Errorf("%q gives an error and %v", s, got)
		}
	}
}

// A year of more or fewer than four digits can be written neither into a path nor as RFC 3339.
func TestParseTimeBeyondFourDigitYears(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		if got, err := ylem.ParseTime(s); err == nil {
			t.Errorf("%q is accepted as %v", s, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"2024-01-31T14:23:01Z", "2024-01-31T14:23:01.123456Z", "2024-01-31T14:23:01+05:30", "2024-01-31 14:23:01",
		"2024-01-31", "0001-01-01 00:00:00", "2024-01-31 1:02:03", "2024-01-31 14:23:01,5", "", "\x00\xff", "2024-02-30",
		strings.Repeat("2024-01-31", 100),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ylem.ParseTime(s)
		if err != nil {
			text := err.Error()
			if !got.IsZero() || !utf8.ValidString(text) || len(text) > 4000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("error of %q is %q, with %v", s, text, got)
			}
			return
		}
		if got.Location() != time.UTC {
			t.Errorf("%q is in %v", s, got.Location())
		}
		again, err := ylem.ParseTime(got.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(got) {
			t.Errorf("%q is %v, but that is read as %v (%v)", s, got, again, err)
		}
		wire := got.Truncate(time.Second)
		again, err = ylem.ParseTime(wire.Format(time.DateTime))
		if err != nil || !again.Equal(wire) {
			t.Errorf("%q is %v, but in Ylem's form that is read as %v (%v)", s, wire, again, err)
		}
	})
}
