package request

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// DefaultBaseURL is the address of the hosted service.
const DefaultBaseURL = "https://api.datamin.io"

// ParseBaseURL checks the address of a Ylem instance and brings it into the form [New] works with: a trailing
// slash or /v1 is dropped, an empty address is [DefaultBaseURL].
func ParseBaseURL(s string) (*url.URL, error) {
	if s == "" {
		s = DefaultBaseURL
	}
	u, err := url.Parse(s)
	switch {
	case err != nil && strings.Contains(s, "@"): // the error may repeat a password
		return nil, errors.New("not a URL; a user name or password has no place in it")
	case err != nil:
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the whole address
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the URL must begin with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, errors.New("the URL must not hold a query or fragment")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1")
	u.RawPath = ""
	if _, err := url.Parse(u.String()); err != nil { // a host in brackets can hold what cannot be written
		return nil, errors.New("the URL names no host that can be reached")
	}
	return u, nil
}

// CheckHeaders finds the headers that must not be added to requests: those that the client or net/http sets itself, those
// that would change what an answer is, those that make net/http send a POST again, and of two names of one header the second.
// It returns what is wrong by name.
func CheckHeaders(names []string) map[string]error {
	wrong, seen := map[string]error{}, map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !headerName.MatchString(name):
			wrong[name] = fmt.Errorf("%q is not the name of a header", name)
		case strings.HasPrefix(canonical, "Content-"), strings.HasPrefix(canonical, "If-"), slices.Contains(ownHeaders, canonical):
			wrong[name] = fmt.Errorf("the header %s must not be set", canonical)
		case seen[canonical]:
			wrong[name] = fmt.Errorf("the header %s is set twice; upper and lower case are the same", canonical)
		}
		seen[canonical] = true
	}
	return wrong
}

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	ownHeaders = []string{
		"Accept", "Accept-Encoding", "Authorization", "Connection", "Expect", "Host", "Idempotency-Key", "Range",
		"Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key",
	}
)
