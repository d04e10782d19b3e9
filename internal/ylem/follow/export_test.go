package follow

import (
	"iter"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// FillLog is how many runs are held of a log, or why they are not.
func FillLog(rows iter.Seq2[ylem.LogRow, error]) (runs int, err error) {
	l := newSharedLog(window{})
	err = l.fill(rows, 0)
	return len(l.rows), err
}

// HeldLogs is how many logs are held.
func HeldLogs(f *Follower) int { return f.logs.Kept() }

// LimitHeld bounds what a follower holds of a log.
func LimitHeld(f *Follower, bytes int) { f.maxHeld = bytes }

// StartedWith is a run whose log was requested at a time.
func StartedWith(rows []ylem.LogRow, at time.Time) Started {
	return Started{Run: Run{KnownRows: rows}, at: at}
}
