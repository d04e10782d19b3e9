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
	case s != strings.TrimSpace(s):
		return nil, errors.New("the URL begins or ends with white space, such as the line end of a file")
	case withoutScheme.MatchString(s):
		scheme := "https://"
		if host := withoutScheme.FindStringSubmatch(s); host[2] == ":7339" || loopback.MatchString(host[1]) {
			scheme = "http://" // as self-hosted Ylem listens
		}
		return nil, fmt.Errorf("the URL must begin with https:// or http://, as in %s%s", scheme, s)
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
	// What is escaped stays escaped: "team%2Fa" is one segment.
	u.RawPath = strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), "/v1")
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if _, err := url.Parse(u.String()); err != nil { // a host in brackets can hold what cannot be written
		return nil, errors.New("the URL names no host that can be reached")
	}
	return u, nil
}

// An address without a scheme, and the hosts of this machine. None of them can hold a password.
var (
	withoutScheme = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(?:/[A-Za-z0-9/._-]*)?$`)
	loopback      = regexp.MustCompile(`^(localhost|127\.[0-9.]+|\[::1\])$`)
)

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
			wrong[name] = fmt.Errorf("the header %s is set twice; names are case-insensitive", canonical)
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
