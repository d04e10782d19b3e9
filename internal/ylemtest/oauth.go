package ylemtest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	scopeRun   = "pipelines:run"
	scopeStats = "stats:read"
	// referenceScopeRun is what the published reference calls scopeRun.
	referenceScopeRun = "workflows:run"
)

// Client is an OAuth client of the API.
type Client struct {
	ID           string
	Secret       string
	Organization string   // whose pipelines its statistics may show
	Scopes       []string // what it may ask for: pipelines:run, stats:read
}

type client struct {
	Client
	deleted bool
}

type token struct {
	client  *client
	access  string
	refresh string
	scope   string // as echoed
	expires time.Time
	expired bool // by ExpireTokens
	// sessionLost is by LoseSessions.
	sessionLost bool
}

// AddClient adds an OAuth client. Empty fields are filled in: a random ID and
// secret, the organization "default", both scopes.
func (s *Server) AddClient(c Client) Client {
	if c.ID == "" {
		c.ID = NewUUID()
	}
	if c.Secret == "" {
		c.Secret = rand.Text()
	}
	if c.Organization == "" {
		c.Organization = defaultOrganization
	}
	if c.Scopes == nil {
		c.Scopes = []string{scopeRun, scopeStats}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := &client{Client: c}
	stored.Scopes = s.scopes(strings.Join(c.Scopes, ","))
	s.clients[clientKey(c.ID)] = stored
	return c
}

// DeleteClient removes an OAuth client. The token endpoint does not know it
// any more (500 server_error), and a request with one of its tokens has its
// connection closed without an answer, as on the real server.
func (s *Server) DeleteClient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[clientKey(id)]; c != nil {
		c.deleted = true
		delete(s.clients, clientKey(id))
	}
}

// ExpireTokens makes every access token issued so far an expired one. Refresh
// tokens stay good.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		t.expired = true
	}
}

// Tokens is every access and refresh token issued so far, for tests that look
// for them where they must not be.
func (s *Server) Tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var issued []string
	for _, t := range s.tokens {
		issued = append(issued, t.access, t.refresh)
	}
	return issued
}

// clientKey makes the spellings of a UUID that the real server accepts equal.
func clientKey(id string) string {
	if canonical, err := parseUUID(id); err == nil {
		return canonical
	}
	return id
}

// authorize finds the organization of a request's token, or the refusal.
func (s *Server) authorize(header, scope string) (organization string, refused *answer) {
	now := s.now()
	// The gateway looks for "Bearer " anywhere, in this case only, and its
	// database compares the rest without regard to case.
	_, access, _ := strings.Cut(header, "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[strings.ToUpper(access)]
	var a answer
	switch {
	case t == nil:
		a = unauthorized.because("%s", unknownToken(header, access))
	case t.client.deleted:
		a = dropped.because("the OAuth client of this token was deleted")
	case t.expired || !now.Before(t.expires):
		a = unauthorized.because("the token has expired")
	case !slices.Contains(s.scopes(t.scope), scope):
		a = scopeMissing.because("the token lacks the scope %s; it has %q", scope, t.scope)
	case t.sessionLost && scope == scopeStats:
		a = forbidden().because("the session of this token was lost")
	default:
		return t.client.Organization, nil
	}
	return "", &a
}

func unknownToken(header, access string) string {
	switch {
	case header == "":
		return "there is no Authorization header"
	case access == "":
		return "the Authorization header is not \"Bearer TOKEN\""
	}
	return "the token is not one of this server, or not since it was started"
}

// scopes splits the value of a scope parameter. Only commas separate.
func (s *Server) scopes(value string) []string {
	parts := strings.Split(value, ",")
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
		if s.dialect == Reference && parts[i] == referenceScopeRun {
			parts[i] = scopeRun
		}
	}
	return parts
}

// The errors of the token endpoint.
var (
	errInvalidClient = oauthError(http.StatusUnauthorized, "invalid_client",
		"Client authentication failed")
	errInvalidGrant = oauthError(http.StatusUnauthorized, "invalid_grant",
		"The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client")
	errInvalidRequest = oauthError(http.StatusBadRequest, "invalid_request",
		"The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed")
	errInvalidScope = oauthError(http.StatusBadRequest, "invalid_scope",
		"The requested scope is invalid, unknown, or malformed")
	errAccessDenied = oauthError(http.StatusForbidden, "access_denied",
		"The resource owner or authorization server denied the request")
	errServerError = oauthError(http.StatusInternalServerError, "server_error",
		"The authorization server encountered an unexpected condition that prevented it from fulfilling the request")
	errUnsupportedGrantType = oauthError(http.StatusUnauthorized, "unsupported_grant_type",
		"The authorization grant type is not supported by the authorization server")
)

func oauthError(status int, code, description string) answer {
	return oauthAnswer(status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func oauthAnswer(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	return answer{
		status: status,
		header: http.Header{
			"Cache-Control": {"no-store"},
			"Content-Type":  {"application/json;charset=UTF-8"},
			"Pragma":        {"no-cache"},
		},
		body: append(body, '\n'),
	}
}

// issueToken is the token endpoint. It never looks at HTTP Basic credentials.
func (s *Server) issueToken(c *call) answer {
	now := s.now()
	c.Request.Body = io.NopCloser(bytes.NewReader(c.body))
	// FormValue reads the query and, of a POST, the body by its Content-Type;
	// the body wins. What it cannot parse counts as not sent.
	grant := c.FormValue("grant_type")
	id, secret := c.FormValue("client_id"), c.FormValue("client_secret")
	scope := c.FormValue("scope")

	switch grant {
	case "client_credentials", "refresh_token", "password", "authorization_code":
	default:
		return errUnsupportedGrantType.because("%s", c.formFault("grant_type is %q, not client_credentials", grant))
	}
	if id == "" || secret == "" {
		return errInvalidClient.because("%s", c.formFault("client_id or client_secret is missing"))
	}
	switch {
	case grant == "password":
		return errAccessDenied.because("grant_type is password, not client_credentials")
	case grant == "authorization_code" && c.FormValue("code") == "",
		grant == "refresh_token" && c.FormValue("refresh_token") == "":
		return errInvalidRequest.because("grant_type %s lacks its code or token", grant)
	case grant == "authorization_code":
		return errServerError.because("grant_type is authorization_code, not client_credentials")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.clients[clientKey(id)]
	if owner == nil {
		return errServerError.because("there is no OAuth client %q", id)
	}
	if scope != "" {
		for _, asked := range s.scopes(scope) {
			if !slices.Contains(owner.Scopes, asked) {
				return errInvalidScope.because("the client does not have the scope %q; it has %s, and commas separate scopes", asked, strings.Join(owner.Scopes, ","))
			}
		}
	}
	if secret != owner.Secret {
		return errInvalidClient.because("the client secret is wrong")
	}
	if grant == "refresh_token" {
		old := s.refreshes[c.FormValue("refresh_token")]
		if old == nil {
			return errInvalidGrant.because("the refresh token is unknown or was used before")
		}
		delete(s.refreshes, old.refresh)
		delete(s.tokens, old.access)
		// The new pair stays with the client of the old one, whoever asked.
		owner = old.client
		if scope == "" {
			scope = old.scope
		}
	}
	if scope == "" {
		scope = s.allScopes(owner)
	}
	t := &token{client: owner, access: newToken(), refresh: newToken(), scope: scope, expires: now.Add(s.tokenLifetime)}
	s.tokens[t.access] = t
	s.refreshes[t.refresh] = t
	return oauthAnswer(http.StatusOK, struct {
		AccessToken  string `json:"access_token"`
		ExpiresIn    int64  `json:"expires_in"`
		RefreshToken string `json:"refresh_token"`
		Scope        string `json:"scope"`
		TokenType    string `json:"token_type"`
	}{t.access, int64(s.tokenLifetime / time.Second), t.refresh, t.scope, "Bearer"})
}

// formFault is what is wrong with a token request whose form lacks something.
func (c *call) formFault(format string, args ...any) string {
	contentType, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type"))
	switch {
	case c.Header.Get("Authorization") != "":
		return "credentials belong in the form: Ylem ignores the Authorization header here"
	case len(c.body) > 0 && contentType != "application/x-www-form-urlencoded":
		return fmt.Sprintf("the body is not a form: its Content-Type is %q", c.Header.Get("Content-Type"))
	}
	return fmt.Sprintf(format, args...)
}

// allScopes is what a client gets that asks for nothing: all it may have, in
// an order that varies from call to call.
func (s *Server) allScopes(c *client) string {
	scopes := slices.Clone(c.Scopes)
	for i, scope := range scopes {
		if s.dialect == Reference && scope == scopeRun {
			scopes[i] = referenceScopeRun
		}
	}
	mathrand.Shuffle(len(scopes), func(i, j int) { scopes[i], scopes[j] = scopes[j], scopes[i] })
	return strings.Join(scopes, ",")
}

// newToken is 48 capital letters and digits.
func newToken() string {
	return strings.ToUpper(base64.RawURLEncoding.EncodeToString([]byte(NewUUID())))
}

var uuidForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)
