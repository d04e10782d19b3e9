package ylem

import "time"

// Period is the length of an element of aggregated statistics.
type Period string

// Periods are all that Ylem knows.
var Periods = []Period{"day", "week", "month", "quarter", "year"}

// CalendarPeriod is one day, week, month, quarter or year of the calendar: its first and its last second, UTC.
type CalendarPeriod struct{ From, To time.Time }

// Calendar returns the calendar periods that aggregated statistics have for number periods from the day of from on, in
// order. If from is within a period, that one is the first, and the last is one more than number.
func (p Period) Calendar(from time.Time, number int64) (list []CalendarPeriod) {
	end := p.End(from, number)
	for start := p.start(from); start.Before(end); {
		next := p.add(start, 1)
		list = append(list, CalendarPeriod{start, next.Add(-time.Second)})
		start = next
	}
	return list
}

// End is where number periods end that begin with the day of from: the first second that is no longer part of them. A number
// of more than 100,000 counts as that, which passes any end that Ylem knows even in days.
func (p Period) End(from time.Time, number int64) time.Time {
	return p.add(Period("day").start(from), int(min(number, 100_000)))
}

// start is the first second of the period that a time is in.
func (p Period) start(t time.Time) time.Time {
	year, month, day := t.UTC().Date()
	switch p {
	case "week": // from Monday on
		day -= (int(t.UTC().Weekday()) + 6) % 7
	case "month":
		day = 1
	case "quarter":
		month, day = month-(month-1)%3, 1
	case "year":
		month, day = time.January, 1
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// add goes n periods on. Where the month does not have the day, it is the month's last, as in Ylem: AddDate would run
// into the next month.
func (p Period) add(t time.Time, n int) time.Time {
	months := 0
	switch p {
	case "day":
		return t.AddDate(0, 0, n)
	case "week":
		return t.AddDate(0, 0, 7*n)
	case "month":
		months = n
	case "quarter":
		months = 3 * n
	default:
		months = 12 * n
	}
	first := Period("month").start(t).AddDate(0, months, 0)
	last := first.AddDate(0, 1, -1)
	return first.AddDate(0, 0, min(t.Day(), last.Day())-1)
}
