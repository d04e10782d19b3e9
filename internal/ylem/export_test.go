package ylem

import (
	"io"
	"iter"
)

// DecodeRun is for tests and fuzzing.
var DecodeRun = decodeRun

// MaxRow is the length of the longest row of a log.
const MaxRow = maxRow

// DecodeLogs decodes a log whose rows have at most limit bytes.
func DecodeLogs(body io.Reader, limit int) iter.Seq2[LogRow, error] { return decodeLogs(body, limit) }
