package ylemtest

import (
	"html"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// call is a request on its way to an answer.
type call struct {
	*http.Request
	entry   *Request
	route   Route
	tasks   bool     // the subject is a task, not a pipeline
	subject string   // uuid of the subject, decoded, not yet validated
	args    []string // the path's segments after that, decoded
	body    []byte
	refusal *answer // what the router itself answers
	// contended is a first run that met another one on arrival.
	contended bool
	strict    bool // the route answers 405, not 404, to other methods
}

// arrive finds the route of a request and logs it.
func (s *Server) arrive(r *http.Request) *call {
	c := &call{Request: r, route: RouteOther}
	logged := r.URL.EscapedPath()
	escaped, inside := strings.CutPrefix(logged, s.prefix)
	decoded, _ := strings.CutPrefix(r.URL.Path, s.decodedPrefix)
	if inside && strings.HasPrefix(escaped, "/") {
		logged = escaped
		s.findRoute(c, escaped, decoded)
	} else {
		refusal := notFound.because("the path does not begin with the prefix %s/", s.prefix)
		c.refusal = &refusal
	}
	c.entry = &Request{
		Route:      c.route,
		Method:     r.Method,
		Path:       logged,
		Query:      r.URL.RawQuery,
		Header:     r.Header.Clone(),
		Proto:      r.Proto,
		At:         s.now(),
		RemoteAddr: r.RemoteAddr,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, c.entry)
	return c
}

var (
	notFound = textAnswer(http.StatusNotFound, "404 page not found\n")
	// The gateway answers these itself, with neither body nor Content-Type.
	unauthorized     = answer{status: http.StatusUnauthorized}
	scopeMissing     = answer{status: http.StatusForbidden}
	methodNotAllowed = answer{status: http.StatusMethodNotAllowed}
)

// findRoute fills in the route's fields. The real gateway has two routers in a
// row: the first cleans the escaped path, the second the decoded one.
func (s *Server) findRoute(c *call, escaped, decoded string) {
	if clean := cleanPath(escaped); clean != escaped {
		redirect := s.redirect(c.Request, clean).because("%s", unclean)
		c.refusal = &redirect
		return
	}
	if clean := cleanPath(decoded); clean != decoded {
		location := s.prefix + (&url.URL{Path: clean, RawQuery: c.URL.RawQuery}).String()
		c.refusal = &answer{status: http.StatusMovedPermanently, header: http.Header{"Location": {location}}, reason: unclean}
		return
	}

	method := c.fillRoute(decoded)
	if c.route == RouteLogs && c.strict && c.Method != http.MethodGet {
		refusal := methodNotAllowed.because("this route takes GET")
		c.refusal = &refusal
		return
	}
	if c.route == RouteOther || c.Method != method {
		refusal := notFound.because("%s", c.noRoute(decoded, method))
		c.route, c.refusal = RouteOther, &refusal
	}
}

// fillRoute finds the route of a decoded path, and returns the method that it
// takes.
func (c *call) fillRoute(decoded string) (method string) {
	method = http.MethodGet
	parts := strings.Split(strings.TrimPrefix(decoded, "/"), "/")
	switch {
	case decoded == "/v1/oauth/token":
		c.route = RouteToken
		if c.Method == http.MethodPost {
			method = http.MethodPost
		}
	case len(parts) == 5 && parts[0] == "v1" && parts[1] == "pipelines" && parts[3] == "runs" && parts[4] == "":
		c.route, c.subject, method = RouteRun, parts[2], http.MethodPost
	case len(parts) >= 6 && parts[0] == "v1" && parts[1] == "stats" && (parts[2] == "pipelines" || parts[2] == "tasks") && parts[len(parts)-1] != "":
		c.tasks = parts[2] == "tasks"
		c.subject, c.args = parts[3], parts[5:]
		switch name := parts[4]; {
		case name == "logs" && len(c.args) == 2 && !c.tasks:
			c.route, c.strict = RouteLogs, true
		case name == "last-runs-log" && len(c.args) == 2 && !c.tasks:
			c.route = RouteLogs
		case name == "stats" && len(c.args) == 2:
			c.route = RouteStats
		case name == "aggregated-stats" && len(c.args) == 3:
			c.route = RouteAggregatedStats
		case name == "last-run" && len(c.args) == 1 && c.args[0] == "stats":
			c.route = RouteLastRun
		}
	}
	return method
}

const unclean = "the path has duplicate slashes or dots; Ylem redirects, and escapes the new location twice"

// noRoute is why a request has no route.
func (c *call) noRoute(decoded, method string) string {
	if c.route != RouteOther {
		return "this route takes " + method
	}
	// A slash more or less, or the version missing: common enough to look for.
	for _, reason := range []struct{ path, text string }{
		{decoded + "/", "the path lacks the slash at its end"},
		{strings.TrimSuffix(decoded, "/"), "the path must not end with a slash"},
		{"/v1" + decoded, "the path does not begin with /v1"},
		{"/v1" + decoded + "/", "the path does not begin with /v1, and lacks the slash at its end"},
	} {
		if reason.path == decoded || cleanPath(reason.path) != reason.path {
			continue
		}
		probe := &call{Request: c.Request, route: RouteOther}
		probe.fillRoute(reason.path)
		if probe.route != RouteOther {
			return reason.text
		}
	}
	return "there is no such route"
}

// redirect leads to the clean path. As on the real server the escaped path is
// escaped once more, so that following it fails for paths with a date.
func (s *Server) redirect(r *http.Request, clean string) answer {
	location := s.prefix + (&url.URL{Path: clean, RawQuery: r.URL.RawQuery}).String()
	a := answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {location}}}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		a.header.Set("Content-Type", "text/html; charset=utf-8")
	}
	if r.Method == http.MethodGet {
		a.body = []byte(`<a href="` + html.EscapeString(location) + `">Temporary Redirect</a>.` + "\n\n")
	}
	return a
}

func cleanPath(p string) string {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// truth is the answer without faults. The order of the checks is the real
// server's: route, token, scope, and only then what the route itself wants.
func (s *Server) truth(c *call) answer {
	switch {
	case c.refusal != nil:
		return *c.refusal
	case c.route == RouteToken:
		return s.issueToken(c)
	}
	scope := scopeStats
	if c.route == RouteRun {
		scope = scopeRun
	}
	organization, refused := s.authorize(c.Header.Get("Authorization"), scope)
	if refused != nil {
		return *refused
	}
	switch c.route {
	case RouteRun:
		return s.startRun(c)
	case RouteLogs:
		return s.logs(c, organization)
	case RouteStats:
		return s.stats(c, organization)
	case RouteAggregatedStats:
		return s.aggregatedStats(c, organization)
	default:
		return s.lastRun(c, organization)
	}
}
