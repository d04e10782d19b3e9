package ylem_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

func TestCalendar(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from   string
		period ylem.Period
		number int64
		want   []string // the first days
		last   string   // the last second of all
	}{
		"days, end of a leap February":       {"2024-02-28", "day", 3, []string{"2024-02-28", "2024-02-29", "2024-03-01"}, "2024-03-01T23:59:59Z"},
		"days, end of another February":      {"2023-02-28", "day", 2, []string{"2023-02-28", "2023-03-01"}, "2023-03-01T23:59:59Z"},
		"days, 2100 is no leap year":         {"2100-02-28", "day", 2, []string{"2100-02-28", "2100-03-01"}, "2100-03-01T23:59:59Z"},
		"days, end of a year":                {"2023-12-31", "day", 2, []string{"2023-12-31", "2024-01-01"}, "2024-01-01T23:59:59Z"},
		"the time of day does not count":     {"2024-01-01T23:59:59.999Z", "day", 1, []string{"2024-01-01"}, "2024-01-01T23:59:59Z"},
		"the day in UTC counts":              {"2024-01-01T23:30:00-05:00", "day", 1, []string{"2024-01-02"}, "2024-01-02T23:59:59Z"},
		"weeks from a Monday":                {"2024-01-01", "week", 2, []string{"2024-01-01", "2024-01-08"}, "2024-01-14T23:59:59Z"},
		"a week from a Sunday":               {"2024-01-07", "week", 1, []string{"2024-01-01", "2024-01-08"}, "2024-01-14T23:59:59Z"},
		"a week from a Wednesday, last year": {"2025-01-01", "week", 1, []string{"2024-12-30", "2025-01-06"}, "2025-01-12T23:59:59Z"},
		"months, whole":                      {"2024-01-01", "month", 2, []string{"2024-01-01", "2024-02-01"}, "2024-02-29T23:59:59Z"},
		"a month from the 15th":              {"2024-01-15", "month", 1, []string{"2024-01-01", "2024-02-01"}, "2024-02-29T23:59:59Z"},
		"a month from the 31st":              {"2023-01-31", "month", 1, []string{"2023-01-01", "2023-02-01"}, "2023-02-28T23:59:59Z"},
		"two months from the 31st":           {"2023-12-31", "month", 2, []string{"2023-12-01", "2024-01-01", "2024-02-01"}, "2024-02-29T23:59:59Z"},
		"quarters into the next year":        {"2023-10-01", "quarter", 2, []string{"2023-10-01", "2024-01-01"}, "2024-03-31T23:59:59Z"},
		"a quarter from the 30th of a month": {"2023-11-30", "quarter", 1, []string{"2023-10-01", "2024-01-01"}, "2024-03-31T23:59:59Z"},
		"years":                              {"2023-01-01", "year", 2, []string{"2023-01-01", "2024-01-01"}, "2024-12-31T23:59:59Z"},
		"a year from a leap day":             {"2024-02-29", "year", 1, []string{"2024-01-01", "2025-01-01"}, "2025-12-31T23:59:59Z"},
		"before the statistics know a time":  {"1959-12-31", "day", 2, []string{"1959-12-31", "1960-01-01"}, "1960-01-01T23:59:59Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, err := ylem.ParseTime(test.from)
			if err != nil {
				t.Fatal(err)
			}
			calendar := test.period.Calendar(from, test.number)
			var got []string
			for i, p := range calendar {
				got = append(got, p.From.Format(time.DateOnly))
				if !p.From.Equal(p.From.Truncate(24 * time.Hour)) {
					t.Errorf("%s does not begin a day", p.From)
				}
				if i > 0 && !calendar[i-1].To.Add(time.Second).Equal(p.From) {
					t.Errorf("a gap: %s, then %s", calendar[i-1].To, p.From)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			if last := calendar[len(calendar)-1].To.Format(time.RFC3339); last != test.last {
				t.Errorf("ends at %s, want %s", last, test.last)
			}
		})
	}
}
