package identity

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
)

// AccountsPath is the API behind `lido user`: GET and POST on it, DELETE on .../NAME, POST on .../NAME/password.
const AccountsPath = "/lido/v1/accounts"

// AccountRequest is the body of a POST to AccountsPath, and with passwords alone of one to .../NAME/password.
type AccountRequest struct {
	Name     string `json:"name,omitempty"`
	Kind     Kind   `json:"kind,omitempty"`     // User when empty
	Role     Role   `json:"role,omitempty"`     // Reader when empty
	Password string `json:"password,omitempty"` // empty: a random one is made
	Current  string `json:"current,omitempty"`  // the present password, asked of those who change their own
}

// AccountAnswer is the answer to both: the only time that a password is shown.
type AccountAnswer struct {
	Account
	Password string `json:"password"`
}

// AccountList is the answer to GET.
type AccountList struct {
	Value []Account `json:"value"`
}

func (s *Service) serveAccounts(w http.ResponseWriter, r *http.Request) {
	caller, err := s.authenticate(r)
	if err != nil {
		s.answerAccounts(w, 0, nil, err)
		return
	}
	s.serveAccountsAs(w, r, caller)
}

// ControlHandler serves AccountsPath without asking for a token, to whoever may reach it: for the control socket,
// which only root can open.
func (s *Service) ControlHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serveAccountsAs(w, r, Account{Name: "(control socket)", Role: Owner})
	})
}

func (s *Service) serveAccountsAs(w http.ResponseWriter, r *http.Request, caller Account) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	status, body, err := s.doAccounts(r, caller)
	s.answerAccounts(w, status, body, err)
}

func (s *Service) answerAccounts(w http.ResponseWriter, status int, body any, err error) {
	switch {
	case err != nil:
		e := s.asError(err)
		if e.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		answer(w, e.Status, map[string]any{"error": e})
	case body == nil:
		w.WriteHeader(status)
	default:
		w.Header().Set("Cache-Control", "no-store")
		answer(w, status, body)
	}
}

func (s *Service) doAccounts(r *http.Request, caller Account) (status int, body any, err error) {
	name, verb, _ := strings.Cut(strings.Trim(r.URL.Path[len(AccountsPath):], "/"), "/")
	own := name != "" && plainName(name) == caller.Name
	if caller.Role != Owner && !(own && verb == "password") {
		return 0, nil, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' is a %s and may not manage accounts; an Owner may.", caller.PrincipalName(), caller.Role)
	}
	ctx := r.Context()
	switch {
	case name == "" && r.Method == http.MethodGet:
		accounts, err := s.Accounts(ctx)
		return http.StatusOK, AccountList{Value: accounts}, err
	case name == "" && r.Method == http.MethodPost:
		return s.addAccount(r)
	case name != "" && verb == "" && r.Method == http.MethodDelete:
		return http.StatusNoContent, nil, s.Remove(ctx, name)
	case name != "" && verb == "password" && r.Method == http.MethodPost:
		return s.changePassword(r, caller, name)
	}
	return 0, nil, arm.Errorf(http.StatusNotFound, "NotFound", "There is no such operation on accounts.")
}

func (s *Service) addAccount(r *http.Request) (int, any, error) {
	var req AccountRequest
	if err := decode(r, &req); err != nil {
		return 0, nil, err
	}
	n := NewAccount{Kind: req.Kind, Name: req.Name, Role: req.Role, Password: req.Password}
	if n.Kind == "" {
		n.Kind = User
	}
	if n.Role == "" {
		n.Role = Reader
	}
	account, password, err := s.Add(r.Context(), n)
	return http.StatusCreated, AccountAnswer{account, password}, err
}

// changePassword is open to Owners, and to everyone who knows the present password of their own account: a stolen
// token must not be enough to keep it.
func (s *Service) changePassword(r *http.Request, c Account, name string) (int, any, error) {
	var req AccountRequest
	if err := decode(r, &req); err != nil {
		return 0, nil, err
	}
	if c.Role != Owner {
		if _, err := s.signIn(r.Context(), c.Name, req.Current, source(r), c.Kind); err != nil {
			return 0, nil, arm.Errorf(http.StatusForbidden, "WrongPassword", "The present password is needed to change it: %v", err)
		}
	}
	password, err := s.SetPassword(r.Context(), name, req.Password)
	return http.StatusOK, AccountAnswer{Account{Name: plainName(name)}, password}, err
}

func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return arm.BadRequest("InvalidRequestContent", "", "The body is not as expected: %v", err)
	}
	return nil
}

var accountErrors = []struct {
	err    error
	status int
	code   string
}{
	{ErrNoAccount, http.StatusNotFound, "AccountNotFound"},
	{ErrExists, http.StatusConflict, "AccountExists"},
	{ErrLastOwner, http.StatusConflict, "LastOwner"},
	{ErrBadAccount, http.StatusBadRequest, "InvalidAccount"},
}

func (s *Service) asError(err error) *arm.Error {
	for _, e := range accountErrors {
		if errors.Is(err, e.err) {
			return arm.Errorf(e.status, e.code, "%v", err)
		}
	}
	if known := new(arm.Error); !errors.As(err, &known) {
		s.log.Error("accounts request failed", "error", err)
	}
	return arm.AsError(err)
}
