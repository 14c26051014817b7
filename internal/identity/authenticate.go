package identity

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// Authenticate says who sent a request to Resource Manager. The error is an *arm.Error with status 401 when the token
// is missing, forged, expired, for something else, or its account is gone; any other error is a failure of the store.
func (s *Service) Authenticate(r *http.Request) (arm.Caller, error) {
	rec, err := s.authenticate(r)
	return arm.Caller{Name: rec.PrincipalName(), ObjectID: rec.ID, TenantID: s.tenant}, err
}

// authenticate takes a token for Resource Manager.
func (s *Service) authenticate(r *http.Request) (Account, error) {
	return s.AuthenticateFor(r, func(audience string) bool { return forManagement(audience, r.Host) })
}

// AuthenticateFor is Authenticate for another service: audience says whether a token's audience is good for it.
func (s *Service) AuthenticateFor(r *http.Request, audience func(string) bool) (Account, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Account{}, refuse("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or has no bearer token.")
	}
	c, err := s.parse(strings.TrimSpace(token))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Account{}, refuse("ExpiredAuthenticationToken", "The access token expired at '%s' and it is now '%s'.", c.ExpiresAt.UTC().Format(time.RFC3339), s.now().UTC().Format(time.RFC3339))
	case err != nil:
		s.log.Info("token refused", "source", r.RemoteAddr, "reason", err)
		return Account{}, refuse("InvalidAuthenticationToken", "The access token is invalid: it was not made by this server.")
	case c.Use != useAccess || len(c.Audience) != 1 || !audience(c.Audience[0]):
		return Account{}, refuse("InvalidAuthenticationTokenAudience", "The access token has been obtained for audience '%s', which is not this service.", strings.Join(c.Audience, " "))
	}
	rec, err := s.account(r.Context(), c.Subject)
	if errors.Is(err, ErrNoAccount) || (err == nil && rec.Generation != c.Generation) {
		err = refuse("InvalidAuthenticationToken", "The access token is void: its account was removed or has a new password. Sign in again.")
	}
	return rec.Account, err
}

func refuse(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusUnauthorized, code, format, args...)
}

func (s *Service) account(ctx context.Context, id string) (rec record, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		rec, err = get(tx, id)
		return err
	})
	return rec, err
}

// Allowed says whether a caller may do an action: an Owner all, a Reader what ends in /read. Roles are of the whole
// subscription, so the id doesn't matter. The role is looked up anew each time: taking it away works at once.
func (s *Service) Allowed(ctx context.Context, c arm.Caller, action string, _ arm.ID) bool {
	rec, err := s.account(ctx, c.ObjectID)
	if err != nil {
		s.log.Warn("role not known", "account", c.Name, "error", err)
		return false
	}
	return rec.Role.allows(action)
}

func (r Role) allows(action string) bool {
	return r == Owner || (r == Reader && strings.HasSuffix(strings.ToLower(action), "/read"))
}

// azureManagement are Azure's own names of Resource Manager, which SDKs ask a token for when nobody tells them of another.
var azureManagement = strings.Fields("management.azure.com management.core.windows.net management.usgovcloudapi.net " +
	"management.core.usgovcloudapi.net management.chinacloudapi.cn management.core.chinacloudapi.cn")

// forManagement accepts what clients ask for when they want Resource Manager: this server by the name that the request
// calls it, or Azure's. A token for anything else is for that alone, and whoever was shown it must not use it here.
func forManagement(audience, host string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return false
	}
	return slices.Contains(azureManagement, strings.ToLower(u.Hostname())) || strings.EqualFold(withPort(u.Host), withPort(host))
}

// withPort adds the port of https where none is said.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "443")
}
