package identity

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// Handler serves the login authority (/adfs/...), the cloud's description (/metadata/endpoints) and the accounts
// (/lido/v1/accounts...). Owns says which requests to send there.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Owns says whether a URL's path belongs to Handler.
func Owns(path string) bool {
	path = strings.ToLower(path)
	return under(path, authorityPath) || path == "/metadata/endpoints" || under(path, AccountsPath)
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(strings.TrimRight(r.URL.Path, "/"))
	switch {
	case path == "/metadata/endpoints":
		s.serveMetadata(w, r)
	case under(path, AccountsPath):
		s.serveAccounts(w, r)
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		s.serveConfiguration(w, r)
	default:
		s.serveAuthority(w, r, path)
	}
}

// serveAuthority finds the endpoint by its last words: clients put a tenant between /adfs and the rest, or do not.
func (s *Service) serveAuthority(w http.ResponseWriter, r *http.Request, path string) {
	endpoint := path[strings.LastIndexByte(path, '/')+1:]
	if endpoint == "keys" {
		s.serveKeys(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		if err := r.ParseForm(); err != nil {
			answerOAuth(w, oauthError{http.StatusBadRequest, "invalid_request", "the body is not a form: " + err.Error()})
			return
		}
	}
	switch endpoint {
	case "token":
		s.serveToken(w, r)
	case "devicecode":
		s.serveDeviceCode(w, r)
	case "deviceauth":
		s.serveDevicePage(w, r)
	case "authorize":
		s.serveAuthorize(w, r)
	case "logout":
		answer(w, http.StatusOK, map[string]string{"message": "Signed out."})
	default:
		http.NotFound(w, r)
	}
}

func (s *Service) serveConfiguration(w http.ResponseWriter, r *http.Request) {
	base, err := baseURL(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := base + authorityPath
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                a,
		"authorization_endpoint":                a + "/oauth2/authorize",
		"token_endpoint":                        a + "/oauth2/token",
		"device_authorization_endpoint":         a + "/oauth2/devicecode",
		"end_session_endpoint":                  a + "/oauth2/logout",
		"jwks_uri":                              a + "/discovery/keys",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query", "form_post"},
		"grant_types_supported":                 []string{"authorization_code", "refresh_token", "client_credentials", "password", grantDeviceCode},
		"subject_types_supported":               []string{"public"},
		"scopes_supported":                      []string{"openid", "profile", "offline_access"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"code_challenge_methods_supported":      []string{"S256"},
		"claims_supported":                      []string{"aud", "iss", "iat", "exp", "sub", "oid", "tid", "upn", "appid"},
		"tenant_region_scope":                   nil,
	})
}

func (s *Service) serveKeys(w http.ResponseWriter) {
	type jwk struct {
		Kty string `json:"kty"`
		Use string `json:"use"`
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
	}
	keys := []jwk{}
	for _, k := range s.keys.published() {
		point, err := k.key.PublicKey.Bytes()
		if err != nil {
			continue // a P-256 key always has its point
		}
		b64 := base64.RawURLEncoding
		keys = append(keys, jwk{"EC", "sig", "ES256", k.ID, "P-256", b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])})
	}
	answer(w, http.StatusOK, map[string]any{"keys": keys})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
