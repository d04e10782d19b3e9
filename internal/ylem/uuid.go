package ylem

import (
	"fmt"
	"strings"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// ValidUUID reports whether s is a UUID in the form Ylem shows: 8-4-4-4-12 hexadecimal digits, in either case.
func ValidUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// lowerUUID brings a UUID into the form that every route takes: aggregated statistics refuse upper case.
func lowerUUID(op request.Op, uuid string) (string, error) {
	if !ValidUUID(uuid) {
		return "", &request.Error{Op: op, Err: fmt.Errorf("%q is not a UUID", request.Shorten(uuid))}
	}
	return strings.ToLower(uuid), nil
}
